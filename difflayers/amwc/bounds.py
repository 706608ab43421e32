"""A lower bound of asymmetric multiway cut by moving costs to where they cannot be avoided.

All node costs at their cheapest and all repulsive edges cut is a bound that ignores every constraint of
Eq. 2. Three steps move costs so that it rises, and none of them makes any solution dearer.

- Cycles: no cycle has exactly one cut edge, so where a path of attractive edges leads round a repulsive one,
  one of them has to give in, and the least of their costs is paid.
- Labels: an attractive edge of cost w is cut where its ends have different labels. So one end may pay up to w
  for any label less, and the other as much for it more, as in min-sum message passing.
- Repulsion: where both ends of a repulsive edge want the same label, and it may not be split, either the edge
  is not cut or one of them gives in.

Cycles and labels compete for the same attractive edges. A good solution says where they are needed: whatever
raises a tight bound is paid by an optimal solution too (complementary slackness). So repulsive edges inside a
label are served first, and cycles stay in the two segments that their repulsive edge joins.
"""

from dataclasses import replace

import numpy as np
from numba import njit

from difflayers.amwc.constraints import Reduction
from difflayers.amwc.hardening import harden
from difflayers.amwc.level import cheapest_labels
from difflayers.amwc.problem import AMWC, check_problem
from difflayers.amwc.search import solve
from difflayers.amwc.solution import Solution, evaluate
from difflayers.graph.minimum import greater, lesser
from difflayers.graph.rows import INDEX, compressed_rows
from difflayers.graph.units import Resolution, quantum_of, resolution, sum_down, times_down, whole_sum

# A repulsive edge looks this often for another path round it.
_PATHS_PER_EDGE = 8
# A search gives up after so many edges; two steps from both ends of a grid edge take about a thousand.
_EDGES_PER_PATH = 4000
# The same for edges between labels, and how much of an attractive edge they may use: labels need it too.
_EDGES_BETWEEN, _SHARE_BETWEEN = 150, 0.7
# How much of an edge labels may use on the way there, which leaves the rest for the way back.
_FIRST_SHARE = 0.5


def lower_bound(problem: AMWC) -> float:
    """Return a number that no solution of the problem costs less than, in O((n + m) K) time."""
    check_problem(problem)
    hardened, offsets = harden(problem)
    return sum_down(hardened_bound(hardened), offsets)


def certify(problem: AMWC, solution: Solution) -> Solution:
    """Return the solution with its `lower_bound`, and `proven_optimal` if the two differ by rounding only."""
    check_problem(problem)
    hardened, offsets = harden(problem)
    bound = hardened_bound(hardened)
    cost = evaluate(hardened, solution.labels, solution.cuts)
    proven = solution.proven_optimal or _resolution(hardened).closes(cost, bound)
    return replace(solution, lower_bound=min(sum_down(bound, offsets), solution.cost), proven_optimal=proven)


def _resolution(problem: AMWC) -> Resolution:
    return resolution(problem.node_costs.astype(np.float64), problem.edge_costs.astype(np.float64))


def hardened_bound(problem: AMWC) -> float:
    """Return a lower bound, without regard to what cannot be paid."""
    if problem.constrained:
        reduction = Reduction(problem)
        bound = sum_down(_bound(reduction.plain), reduction.offset)
    else:
        bound = _bound(problem)
    return _resolution(problem).raised(bound)


def _bound(problem: AMWC) -> float:
    guide = solve(problem, "fast")
    by_edge = compressed_rows(problem.num_nodes, problem.edges, np.arange(len(problem.edges)).astype(INDEX))
    # In whole multiples of a quantum that no sum of the costs of a node and its edges outgrows, nothing
    # rounds.
    quantum = quantum_of(2.0 * _largest_sum(problem))
    remaining = np.floor(problem.edge_costs.astype(np.float64) / quantum)
    costs = np.floor(problem.node_costs.astype(np.float64) / quantum)
    ends = guide.labels[problem.edges]
    between = ends[:, 0] != ends[:, 1]
    pack_cycles(*by_edge, problem.edges, remaining, guide.segments, ~between, _EDGES_PER_PATH)
    # Between labels, a cycle is of use only where it has an attractive edge that is cut as well.
    near = np.zeros(problem.num_nodes, bool)
    near[problem.edges[(guide.cuts == 1) & (remaining > 0.0)]] = True
    between &= near[problem.edges].any(axis=1)
    kept = np.ceil((1.0 - _SHARE_BETWEEN) * np.maximum(remaining, 0.0))
    remaining -= kept
    pack_cycles(*by_edge, problem.edges, remaining, guide.segments, between, _EDGES_BETWEEN)
    remaining += kept
    pass_on_labels(*by_edge, remaining, costs, guide.labels, _FIRST_SHARE, False)
    pass_on_labels(*by_edge, remaining, costs, guide.labels, 1.0, True)
    # What is left goes to cycles of any edges.
    anywhere, everything = np.zeros(problem.num_nodes, np.int64), np.ones(len(remaining), bool)
    pack_cycles(*by_edge, problem.edges, remaining, anywhere, everything, _EDGES_BETWEEN)
    pack_repulsion(problem.edges, remaining, costs, problem.partitionable)
    return times_down(whole_sum(costs.min(axis=1)) + whole_sum(np.minimum(remaining, 0.0)), quantum)


def _largest_sum(problem: AMWC) -> float:
    """The most that a node and all its edges can cost or save."""
    strength = np.abs(problem.node_costs).max(axis=1).astype(np.float64)
    for end in (0, 1):
        strength += np.bincount(problem.edges[:, end], np.abs(problem.edge_costs), problem.num_nodes)
    return float(strength.max())


@njit(nogil=True, cache=True)
def pass_on_labels(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    edge_of: np.ndarray,
    remaining: np.ndarray,
    costs: np.ndarray,
    labels: np.ndarray,
    share: float,
    backwards: bool,
) -> None:
    """Let every node pass on to later neighbours what its labels cost more than its cheapest, O((n + m) K).

    Or to earlier ones, ``backwards``. A neighbour of another label comes first: the edge between them is cut
    in the solution that guides, whose ``labels`` (n,) are given, and is paid for in full if that makes the
    neighbour's label dearer by the whole edge, and leaves no other label cheaper than it. What is left goes
    to all of them in proportion to their edges, up to a ``share`` of each. Changes ``costs`` (n, K), and
    lowers ``remaining`` by the most that an edge took for a label.
    """
    num_nodes, num_labels = costs.shape
    excess = np.empty(num_labels, np.float64)
    for step in range(num_nodes):
        v = num_nodes - 1 - step if backwards else step
        least = costs[v, 0]
        for k in range(num_labels):
            least = lesser(least, costs[v, k])
        for k in range(num_labels):
            excess[k] = costs[v, k] - least
        attraction = 0.0
        for i in range(indptr[v], indptr[v + 1]):
            u, e = neighbours[i], edge_of[i]
            if (u < v) != backwards or remaining[e] <= 0.0:
                continue
            weight, label, most = remaining[e], labels[u], 0.0
            if label != labels[v]:
                goal = costs[u, label] + lesser(weight, excess[label])
                for k in range(num_labels):
                    passed = greater(lesser(lesser(excess[k], weight), goal - costs[u, k]), 0.0)
                    costs[u, k] += passed
                    costs[v, k] -= passed
                    excess[k] -= passed
                    most = greater(most, passed)
                remaining[e] -= most
            attraction += remaining[e]
        most = 0.0
        for k in range(num_labels):
            most = greater(most, excess[k])
        for i in range(indptr[v], indptr[v + 1]):
            u, e = neighbours[i], edge_of[i]
            if (u < v) != backwards or remaining[e] <= 0.0:
                continue
            part, weight = remaining[e] / attraction, np.floor(share * remaining[e])
            for k in range(num_labels):
                passed = lesser(np.floor(part * excess[k]), weight)
                costs[u, k] += passed
                costs[v, k] -= passed
            remaining[e] -= lesser(np.floor(part * most), weight)


@njit(nogil=True, cache=True)
def pack_repulsion(
    edges: np.ndarray, remaining: np.ndarray, costs: np.ndarray, partitionable: np.ndarray
) -> None:
    """Pay what repulsive edges inside a label that may not be split cost more than all cut, O(n K + m).

    Raises ``remaining`` of these edges.
    """
    favourite, _, gap = cheapest_labels(costs)
    for e in range(edges.shape[0]):
        u, v = edges[e, 0], edges[e, 1]
        if remaining[e] < 0.0 and favourite[u] == favourite[v] and not partitionable[favourite[u]]:
            amount = min(-remaining[e], gap[u], gap[v])
            gap[u] -= amount
            gap[v] -= amount
            remaining[e] += amount


@njit(nogil=True, cache=True)
def pack_cycles(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    edge_of: np.ndarray,
    edges: np.ndarray,
    remaining: np.ndarray,
    segments: np.ndarray,
    chosen: np.ndarray,
    edges_per_path: int,
) -> None:
    """Pay for cycles of at most five edges with one repulsive edge.

    Raises ``remaining`` of that edge and lowers that of the others, by as much. The repulsive edges are those
    ``chosen`` (m,), and cycles stay in the ``segments`` (n,) of their two ends. Both ends search two steps,
    at most ``edges_per_path`` edges in all: O(m) with a large factor.
    """
    num_nodes = indptr.size - 1
    stamp = np.zeros((2, num_nodes), np.int32)
    step_edge = np.empty((2, num_nodes), np.int32)
    reached = np.empty((2, num_nodes), INDEX)
    first, last = np.zeros(2, INDEX), np.zeros(2, INDEX)
    now = 0
    for e in range(edges.shape[0]):
        if not chosen[e]:
            continue
        tail, head = segments[edges[e, 0]], segments[edges[e, 1]]
        for _ in range(_PATHS_PER_EDGE):
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
                        inside = segments[u] == tail or segments[u] == head
                        if inside and stamp[side, u] != now and remaining[edge_of[i]] > 0.0:
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
