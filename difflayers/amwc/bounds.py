"""A lower bound of asymmetric multiway cut by moving costs to where they cannot be avoided.

The cheapest label of every node and a cut of every repulsive edge cost a lower bound, because they ignore
every constraint of Eq. 2. Three steps move costs so that this bound rises, and no step makes any solution
dearer.

- Cycles: no cycle has exactly one cut edge. If a path of attractive edges leads round a repulsive edge,
  either one of the path is cut or the repulsive edge is not, so the least of their costs is paid.
- Labels: an attractive edge of cost w is cut if its ends have different labels. So a label may cost up to w
  less at one end and as much more at the other, as in min-sum message passing.
- Repulsion: if both ends of a repulsive edge want the same label, and the label may not be split, either
  the edge is not cut or one end takes another label.

In a multicut there are only cycles, and `difflayers.graph.packing` pays for nearly as many as is possible.

Cycles and labels compete for the same attractive edges. A good solution says where they are needed: an
optimal solution pays whatever raises a tight bound (complementary slackness). So repulsive edges inside a
label are served first, and cycles stay in the two segments that their repulsive edge joins.
"""

from dataclasses import replace

import numpy as np

from difflayers.amwc.constraints import Penalized
from difflayers.amwc.cycles import pack_cycles
from difflayers.amwc.hardening import Hardened, harden
from difflayers.amwc.passing import pack_repulsion, pass_on_labels
from difflayers.amwc.problem import AMWC
from difflayers.amwc.search import solve
from difflayers.amwc.solution import Solution, evaluate
from difflayers.graph.checks import check_problem
from difflayers.graph.conflicted_cycles import NO_CYCLES, Cycles, OpenCycles
from difflayers.graph.packing import left_of, pack_fractionally
from difflayers.graph.rows import INDEX, compressed_rows
from difflayers.graph.units import quantum_of, sum_down, times_down, whole_sum

# A search ends after so many edges; two steps from both ends of a grid edge take about a thousand.
_EDGES_PER_PATH = 4000
# The same for edges between labels, and the share of an attractive edge that these may use: labels need it
# too.
_EDGES_BETWEEN, _SHARE_BETWEEN = 150, 0.7
# The share of an edge that labels may use on the way there; the rest is left for the way back.
_FIRST_SHARE = 0.5


def lower_bound(problem: AMWC) -> float:
    """Return a number that no solution of the problem costs less than, in O((n + m) K) time.

    Args:
        problem: the problem.

    Returns:
        The bound, which holds for costs of solutions as float64 sums them up.

    Raises:
        TypeError: if the problem is no AMWC.
        ValueError: if constraints contradict each other.

    ```python
    >>> from difflayers import amwc
    >>> things = [True, False]  # cars may be split into several, the road may not
    >>> problem = amwc.AMWC([[0, 2], [0, 2], [3, 0]], [[0, 1], [1, 2]], [-1, 1], things)
    >>> amwc.lower_bound(problem)
    0.0

    ```
    """
    check_problem(problem, AMWC)
    hardened = harden(problem)
    return original_bound(hardened, hardened_bound(hardened))


def certify(problem: AMWC, solution: Solution) -> Solution:
    """Return the solution with its `lower_bound`, and `proven_optimal` if the two differ by rounding only.

    Args:
        problem: the problem.
        solution: a solution of it.

    Raises:
        TypeError: if the problem is no AMWC or the solution no Solution.
        ValueError: if the solution does not fit the problem, or constraints contradict each other.

    ```python
    >>> from difflayers import amwc
    >>> things = [True, False]  # cars may be split into several, the road may not
    >>> problem = amwc.AMWC([[0, 2], [0, 2], [3, 0]], [[0, 1], [1, 2]], [-1, 1], things)
    >>> solution = amwc.certify(problem, amwc.solve(problem))
    >>> solution.proven_optimal, solution.gap
    (True, 0.0)

    ```
    """
    check_problem(problem, AMWC)
    if not isinstance(solution, Solution):
        raise TypeError(f"solution must be a Solution of the problem, got a {type(solution).__name__}")
    hardened = harden(problem)
    bound = hardened_bound(hardened)
    cost = evaluate(hardened.problem, solution.labels, solution.cuts)
    proven = solution.proven_optimal or hardened.sums.closes(cost, bound)
    bound = min(original_bound(hardened, bound), solution.cost)
    return replace(solution, lower_bound=bound, proven_optimal=proven)


def original_bound(hardened: Hardened, bound: float) -> float:
    """Return the bound of the original problem that one of the hardened problem gives.

    Costs of solutions are sums in float64, so the bound goes below what these may lose by rounding.
    """
    problem, offsets = hardened.problem, hardened.offsets
    return hardened.original_sums.below(
        sum_down(bound, offsets), problem.node_costs.min(axis=1), problem.edge_costs, offsets
    )


def hardened_bound(hardened: Hardened) -> float:
    """Return a lower bound of the hardened problem."""
    return bound_and_cycles(hardened)[0]


def bound_and_cycles(hardened: Hardened) -> tuple[float, Cycles]:
    """Return a lower bound of the hardened problem, and cycles of its edges that the bound pays for.

    Only multicuts without constraints give cycles.
    """
    problem = hardened.problem
    if problem.constrained:
        penalized = Penalized(problem)
        bound, cycles = sum_down(_bound(penalized.plain)[0], penalized.offset), NO_CYCLES
    else:
        bound, cycles = _bound(problem)
    return hardened.sums.raised(bound), cycles


def _bound(problem: AMWC) -> tuple[float, Cycles]:
    guide = solve(problem, "fast")
    by_edge = compressed_rows(problem.num_nodes, problem.edges, np.arange(len(problem.edges)).astype(INDEX))
    # In whole multiples of a quantum that no sum of the costs of a node and its edges outgrows, nothing
    # rounds.
    quantum = quantum_of(2.0 * _largest_sum(problem))
    remaining, costs = (
        np.divide(part, quantum, dtype=np.float64) for part in (problem.edge_costs, problem.node_costs)
    )
    np.floor(remaining, out=remaining)
    np.floor(costs, out=costs)
    if problem.num_labels == 1 and problem.partitionable[0]:
        goal = (guide.cost - float(problem.node_costs.sum(dtype=np.float64))) / quantum
        remaining, cycles = _left_by_cycles(by_edge, problem.edges, remaining, goal)
        return times_down(whole_sum(costs) + whole_sum(np.minimum(remaining, 0.0)), quantum), cycles
    ends = guide.labels[problem.edges]
    between = ends[:, 0] != ends[:, 1]
    pack_cycles(by_edge, problem.edges, remaining, guide.segments, ~between, _EDGES_PER_PATH)
    # Between labels, a cycle is of use only where it has an attractive edge that is cut as well.
    near = np.zeros(problem.num_nodes, bool)
    near[problem.edges[(guide.cuts == 1) & (remaining > 0.0)]] = True
    between &= near[problem.edges].any(axis=1)
    kept = np.ceil((1.0 - _SHARE_BETWEEN) * np.maximum(remaining, 0.0))
    remaining -= kept
    pack_cycles(by_edge, problem.edges, remaining, guide.segments, between, _EDGES_BETWEEN)
    remaining += kept
    pass_on_labels(by_edge, remaining, costs, guide.labels, _FIRST_SHARE, False)
    pass_on_labels(by_edge, remaining, costs, guide.labels, 1.0, True)
    # What is left goes to cycles of any edges.
    anywhere, everything = np.zeros(problem.num_nodes, np.int64), np.ones(len(remaining), bool)
    pack_cycles(by_edge, problem.edges, remaining, anywhere, everything, _EDGES_BETWEEN)
    pack_repulsion(problem.edges, remaining, costs, problem.partitionable)
    bound = times_down(whole_sum(costs.min(axis=1)) + whole_sum(np.minimum(remaining, 0.0)), quantum)
    return bound, NO_CYCLES


def _left_by_cycles(
    by_edge: tuple[np.ndarray, np.ndarray, np.ndarray], edges: np.ndarray, costs: np.ndarray, goal: float
) -> tuple[np.ndarray, Cycles]:
    """What is left of the costs (m,) of a multicut once cycles are paid for, and the cycles.

    A solution costs `goal`. Greedy packing returns no cycles.
    """
    num_nodes = len(by_edge[0]) - 1
    anywhere, everything = np.zeros(num_nodes, np.int64), np.ones(len(costs), bool)
    greedy = costs.copy()
    pack_cycles(by_edge, edges, greedy, anywhere, everything, _EDGES_PER_PATH)
    attained = float(np.minimum(greedy, 0.0).sum())
    # Each cost may have been rounded down by one.
    if attained >= goal - len(costs):
        return greedy, NO_CYCLES
    lacking = goal - float(np.minimum(costs, 0.0).sum())
    cycles, amounts = pack_fractionally(OpenCycles(num_nodes, edges, costs), np.abs(costs), lacking)
    packed = left_of(costs, cycles, amounts)
    pack_cycles(by_edge, edges, packed, anywhere, everything, _EDGES_PER_PATH)
    return (packed, cycles) if float(np.minimum(packed, 0.0).sum()) > attained else (greedy, cycles)


def _largest_sum(problem: AMWC) -> float:
    """The most that a node and all its edges can cost or save."""
    strength = np.abs(problem.node_costs).max(axis=1).astype(np.float64)
    for end in (0, 1):
        strength += np.bincount(problem.edges[:, end], np.abs(problem.edge_costs), problem.num_nodes)
    return float(strength.max())
