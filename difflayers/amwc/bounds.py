"""A lower bound of asymmetric multiway cut by packing conflicts.

All node costs at their cheapest and all repulsive edges cut is a bound that ignores every constraint of
Eq. 2. A conflict is a small set of such choices that cannot all hold at once. Paying for it once, at an
amount that every member of the set can afford, raises the bound by the amount and lowers what the members
cost from then on by as much; as long as no remaining cost changes its sign the sum stays a bound. Three kinds
are packed:

- an attractive edge whose one end has its cheapest label where the other end does not want that label;
- a repulsive edge whose ends both have the same cheapest label, and that label may not be split;
- a repulsive edge round which a path of attractive edges leads (no cycle has exactly one cut edge).
"""

from dataclasses import replace

import numpy as np
from numba import njit

from difflayers.amwc.constraints import Reduction
from difflayers.amwc.problem import AMWC
from difflayers.amwc.solution import Solution
from difflayers.graph.kernels import compressed_rows

# A repulsive edge looks this often for another path round it.
_PATHS_PER_EDGE = 8
# A search gives up after so many edges; two steps from both ends of a grid edge take about a thousand.
_EDGES_PER_PATH = 4000


def lower_bound(problem: AMWC) -> float:
    """A number that no solution of the problem costs less than, in O(n K + m) time."""
    if problem.constrained:
        reduction = Reduction(problem)
        return lower_bound(reduction.plain) + reduction.offset
    by_edge = compressed_rows(
        problem.num_nodes, problem.edges, np.arange(len(problem.edges)).astype(np.int32)
    )
    remaining = problem.edge_costs.astype(np.float64)
    regrets = problem.node_costs.astype(np.float64)
    least = regrets.min(axis=1)
    regrets -= least[:, None]
    bound = float(np.minimum(remaining, 0.0).sum() + least.sum())
    # Cycles and labels compete for the same attractive edges; cycles make more of them.
    bound += pack_cycles(*by_edge, problem.edges, remaining, _PATHS_PER_EDGE, _EDGES_PER_PATH)
    bound += pack_labels(problem.edges, remaining, regrets, problem.partitionable)
    # Room for the rounding of some million additions, so that the bound holds in floating point too.
    return bound - 1e-12 * float(np.abs(problem.edge_costs).sum(dtype=np.float64) + abs(bound))


def certify(problem: AMWC, solution: Solution) -> Solution:
    """The solution with its ``lower_bound``, and ``proven_optimal`` where the two agree to rounding."""
    bound = min(lower_bound(problem), solution.cost)
    proven = solution.proven_optimal or solution.cost - bound <= 1e-9 * (1.0 + abs(solution.cost))
    return replace(solution, lower_bound=bound, proven_optimal=proven)


@njit(nogil=True, cache=True)
def pack_labels(
    edges: np.ndarray, remaining: np.ndarray, regrets: np.ndarray, partitionable: np.ndarray
) -> float:
    """Amount packed in conflicts of edges with labels; lowers ``remaining`` and ``regrets``, O(n K + m)."""
    num_nodes, num_labels = regrets.shape
    favourite = np.zeros(num_nodes, np.int32)
    gap = np.full(num_nodes, np.inf)
    # What every label but the favourite has paid already; one number instead of K.
    paid = np.zeros(num_nodes, np.float64)
    for v in range(num_nodes):
        for k in range(1, num_labels):
            if regrets[v, k] < regrets[v, favourite[v]]:
                favourite[v] = k
        for k in range(num_labels):
            if k != favourite[v]:
                gap[v] = min(gap[v], regrets[v, k])
    total = 0.0
    for e in range(edges.shape[0]):
        for side in range(2):
            v, u = edges[e, side], edges[e, 1 - side]
            label = favourite[v]
            if remaining[e] > 0.0 and favourite[u] != label:
                amount = min(remaining[e], gap[v], regrets[u, label] - paid[u])
                if amount > 0.0:
                    paid[v] += amount
                    gap[v] -= amount
                    regrets[u, label] -= amount
                    gap[u] = min(gap[u], regrets[u, label] - paid[u])
                    remaining[e] -= amount
                    total += amount
        u, v = edges[e, 0], edges[e, 1]
        if remaining[e] < 0.0 and favourite[u] == favourite[v] and not partitionable[favourite[u]]:
            amount = min(-remaining[e], gap[u], gap[v])
            if amount > 0.0:
                paid[u] += amount
                gap[u] -= amount
                paid[v] += amount
                gap[v] -= amount
                remaining[e] += amount
                total += amount
    return total


@njit(nogil=True, cache=True)
def pack_cycles(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    edge_of: np.ndarray,
    edges: np.ndarray,
    remaining: np.ndarray,
    paths_per_edge: int,
    edges_per_path: int,
) -> float:
    """Amount packed in cycles of at most five edges with one repulsive edge; lowers ``remaining``.

    Both ends of a repulsive edge search two steps, at most ``edges_per_path`` edges in all: O(m) with a large
    factor.
    """
    num_nodes = indptr.size - 1
    stamp = np.zeros((2, num_nodes), np.int32)
    step_edge = np.empty((2, num_nodes), np.int32)
    reached = np.empty((2, num_nodes), np.int32)
    first, last = np.zeros(2, np.int32), np.zeros(2, np.int32)
    now = 0
    total = 0.0
    for e in range(edges.shape[0]):
        for _ in range(paths_per_edge):
            if remaining[e] >= 0.0:
                break
            now += 1
            for side in range(2):
                stamp[side, edges[e, side]] = now
                step_edge[side, edges[e, side]] = -1
                reached[side, 0] = edges[e, side]
                first[side], last[side] = 0, 1
            middle = -1
            budget = edges_per_path
            for step in range(4):
                side = step % 2
                end = last[side]
                for j in range(first[side], end):
                    v = reached[side, j]
                    for i in range(indptr[v], min(indptr[v + 1], indptr[v] + budget)):
                        budget -= 1
                        u = neighbours[i]
                        if stamp[side, u] != now and remaining[edge_of[i]] > 0.0:
                            stamp[side, u] = now
                            step_edge[side, u] = edge_of[i]
                            reached[side, last[side]] = u
                            last[side] += 1
                            if stamp[1 - side, u] == now:
                                middle = u
                                break
                    if middle >= 0 or budget == 0:
                        break
                first[side] = end
                if middle >= 0 or budget == 0:
                    break
            if middle < 0:
                break
            amount = -remaining[e]
            for lower in range(2):
                for side in range(2):
                    v = middle
                    while step_edge[side, v] >= 0:
                        f = step_edge[side, v]
                        if lower:
                            remaining[f] -= amount
                        else:
                            amount = min(amount, remaining[f])
                        v = edges[f, 0] + edges[f, 1] - v
            remaining[e] += amount
            total += amount
    return total
