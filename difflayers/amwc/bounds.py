"""A lower bound of asymmetric multiway cut by moving costs to where they cannot be avoided.

All node costs at their cheapest and all repulsive edges cut is a bound that ignores every constraint of
Eq. 2. Three steps raise it. None changes what any solution costs by more than it adds to the bound.

- Cycles: no cycle has exactly one cut edge, so where a path of attractive edges leads round a repulsive one,
  one of them has to give in, and the least of their costs is paid.
- Labels: an attractive edge of cost w is cut where its ends have different labels. So one end may pay up to w
  for any label less, and the other as much for it more, as in a forward pass of min-sum message passing.
- Repulsion: where both ends of a repulsive edge want the same label, and it may not be split, either the edge
  is not cut or one of them gives in.
"""

import math
from dataclasses import replace

import numpy as np
from numba import njit

from difflayers.amwc.constraints import Reduction
from difflayers.amwc.level import NO_NAN, cheapest_labels
from difflayers.amwc.problem import AMWC, check_problem
from difflayers.amwc.solution import Solution
from difflayers.amwc.units import exponent, is_ordinary, scaled_down
from difflayers.graph.kernels import compressed_rows

# A repulsive edge looks this often for another path round it.
_PATHS_PER_EDGE = 8
# A search gives up after so many edges; two steps from both ends of a grid edge take about a thousand.
_EDGES_PER_PATH = 4000


def lower_bound(problem: AMWC) -> float:
    """A number that no solution of the problem costs less than, in O((n + m) K) time."""
    check_problem(problem)
    if not is_ordinary(problem.largest_cost):
        power = exponent(problem.largest_cost)
        return math.ldexp(lower_bound(scaled_down(problem, power)), power)
    if problem.constrained:
        reduction = Reduction(problem)
        return lower_bound(reduction.plain) + reduction.offset
    by_edge = compressed_rows(
        problem.num_nodes, problem.edges, np.arange(len(problem.edges)).astype(np.int32)
    )
    remaining = problem.edge_costs.astype(np.float64)
    costs = problem.node_costs.astype(np.float64)
    bound = float(np.minimum(remaining, 0.0).sum())
    # Cycles and labels compete for the same attractive edges; cycles make more of them.
    bound += pack_cycles(*by_edge, problem.edges, remaining, _PATHS_PER_EDGE, _EDGES_PER_PATH)
    pass_on_labels(*by_edge, remaining, costs)
    least = costs.min(axis=1)
    bound += least.sum() + pack_repulsion(problem.edges, remaining, costs, problem.partitionable)
    # Room for the rounding of some million additions, so that the bound holds in floating point too.
    magnitude = np.abs(problem.edge_costs).sum(dtype=np.float64) + np.abs(least).sum() + abs(bound)
    return bound - 1e-12 * float(magnitude)


def certify(problem: AMWC, solution: Solution) -> Solution:
    """The solution with its ``lower_bound``, and ``proven_optimal`` where the two agree to rounding."""
    bound = min(lower_bound(problem), solution.cost)
    tight = solution.cost - bound <= 1e-9 * (problem.largest_cost + abs(solution.cost))
    return replace(solution, lower_bound=bound, proven_optimal=solution.proven_optimal or tight)


@njit(nogil=True, cache=True, fastmath=NO_NAN)
def pass_on_labels(
    indptr: np.ndarray, neighbours: np.ndarray, edge_of: np.ndarray, remaining: np.ndarray, costs: np.ndarray
) -> None:
    """Let every node pass on to later neighbours what its labels cost more than its cheapest, O((n + m) K).

    Each attractive edge takes a share as large as its part in the attraction by later neighbours, but for no
    label more than its own cost. Changes ``costs`` (n, K), and lowers ``remaining`` by the most that an edge
    took for a label.
    """
    num_nodes, num_labels = costs.shape
    excess = np.empty(num_labels, np.float64)
    for v in range(num_nodes):
        attraction = 0.0
        for i in range(indptr[v], indptr[v + 1]):
            if neighbours[i] > v:
                attraction += max(remaining[edge_of[i]], 0.0)
        lowest = costs[v, 0]
        for k in range(1, num_labels):
            lowest = min(lowest, costs[v, k])
        for k in range(num_labels):
            excess[k] = costs[v, k] - lowest
        for i in range(indptr[v], indptr[v + 1]):
            u, weight = neighbours[i], remaining[edge_of[i]]
            if u < v or weight <= 0.0:
                continue
            share, most = weight / attraction, 0.0
            for k in range(num_labels):
                passed = min(share * excess[k], weight)
                costs[u, k] += passed
                costs[v, k] -= passed
                most = max(most, passed)
            remaining[edge_of[i]] -= most


@njit(nogil=True, cache=True)
def pack_repulsion(
    edges: np.ndarray, remaining: np.ndarray, costs: np.ndarray, partitionable: np.ndarray
) -> float:
    """Amount packed in repulsive edges inside a label that may not be split, O(n K + m)."""
    favourite, _, gap = cheapest_labels(costs)
    total = 0.0
    for e in range(edges.shape[0]):
        u, v = edges[e, 0], edges[e, 1]
        if remaining[e] < 0.0 and favourite[u] == favourite[v] and not partitionable[favourite[u]]:
            amount = min(-remaining[e], gap[u], gap[v])
            gap[u] -= amount
            gap[v] -= amount
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
