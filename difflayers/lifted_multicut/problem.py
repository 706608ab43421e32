"""The lifted multicut problem, its solutions, and the objective."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from difflayers._arguments import as_array
from difflayers.amwc.solution import checked_labels
from difflayers.graph.checks import (
    MOST,
    check_length,
    check_problem,
    checked_costs,
    checked_edges,
    checked_nodes,
)
from difflayers.graph.components import connected_segments, cut_edges
from difflayers.graph.rows import INDEX
from difflayers.graph.units import exponent


@dataclass(frozen=True, eq=False)
class LiftedMulticut:
    """Partition a graph into connected segments; pairs in different segments cost, neighbours or not.

    A segment is connected by `edges`. Lifted edges connect nothing. Their cost is paid if their ends lie in
    different segments, which says of far pairs what no local evidence can say (Keuper et al. 2015).

    Args:
        num_nodes: number n of nodes.
        edges: (m, 2) integers, pairs of different nodes. Parallel edges add up.
        edge_costs: (m,) float, cost of cutting; positive attracts, negative repels.
        lifted_edges: (l, 2) integers, pairs of different nodes, which may have an edge as well.
        lifted_costs: (l,) float, cost of having the ends in different segments.

    Infinite costs are hard constraints: +inf demands that the ends of the edge or lifted edge are in one
    segment, and -inf that they are not. A kept constraint adds nothing to the cost of a solution; a broken
    one makes it +inf.

    The problem copies its arrays. If both costs are float32, they stay float32; everything else becomes
    float64.

    Raises:
        TypeError, ValueError: as `difflayers.multicut.Multicut` does.

    ```python
    >>> from difflayers import lifted_multicut
    >>> path, far = [[0, 1], [1, 2]], [[0, 2]]
    >>> problem = lifted_multicut.LiftedMulticut(3, path, [-1.0, 1.0], far, [3.0])
    >>> lifted_multicut.solve(problem).segments.tolist()
    [0, 0, 0]

    ```
    """

    num_nodes: int
    edges: np.ndarray
    edge_costs: np.ndarray
    lifted_edges: np.ndarray
    lifted_costs: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_nodes", checked_nodes(self.num_nodes))
        sizes = [as_array(name, getattr(self, name)).shape[:1] for name in ("edges", "lifted_edges")]
        if sum(sum(size) for size in sizes) >= MOST:
            raise ValueError("edges and lifted_edges must have fewer than 2**30 rows together")
        dtype: type[np.floating] = np.float32
        for edges_name, costs_name in (("edges", "edge_costs"), ("lifted_edges", "lifted_costs")):
            edges = checked_edges(getattr(self, edges_name), self.num_nodes, edges_name)
            costs = getattr(self, costs_name)
            costs, _, _ = checked_costs(costs_name, costs, 1, f"({len(edges)},)")
            check_length(costs_name, costs, edges_name, edges)
            dtype = np.float64 if costs.dtype == np.float64 else dtype
            object.__setattr__(self, edges_name, edges)
            object.__setattr__(self, costs_name, costs)
        object.__setattr__(self, "edge_costs", self.edge_costs.astype(dtype, copy=False))
        object.__setattr__(self, "lifted_costs", self.lifted_costs.astype(dtype, copy=False))

    @property
    def largest_cost(self) -> float:
        """Largest absolute value among the finite costs."""
        both = (np.abs(costs) for costs in (self.edge_costs, self.lifted_costs))
        return max(float(costs.max(initial=0, where=np.isfinite(costs))) for costs in both)

    @property
    def constrained(self) -> bool:
        """Whether any cost is infinite."""
        return any(np.isinf(costs).any() for costs in (self.edge_costs, self.lifted_costs))


@dataclass(frozen=True, eq=False)
class Solution:
    """A partition into segments that are connected by edges.

    Args:
        segments: (n,) int64, the segment of every node, contiguous from 0 in the order of first nodes.
        cuts: (m,) uint8, 1 where the two ends of an edge lie in different segments.
        lifted_cuts: (l,) uint8, the same for the lifted edges.
        cost: the sum of the costs where these are 1, in the unit of the costs, summed in float64.
        lower_bound: no solution costs less than this, if known.
        proven_optimal: whether the cost is proven to be the least possible, as in `difflayers.amwc.Solution`.

    ```python
    >>> from difflayers import lifted_multicut
    >>> path, far = [[0, 1], [1, 2]], [[0, 2]]
    >>> problem = lifted_multicut.LiftedMulticut(3, path, [-1.0, 1.0], far, [3.0])
    >>> solution = lifted_multicut.solve_exact(problem)
    >>> solution.cuts.tolist(), solution.lifted_cuts.tolist(), solution.cost
    ([0, 0], [0], 0.0)

    ```
    """

    segments: np.ndarray
    cuts: np.ndarray
    lifted_cuts: np.ndarray
    cost: float
    lower_bound: float | None = None
    proven_optimal: bool = False

    @property
    def gap(self) -> float | None:
        """The most by which the cost can exceed the least possible cost; None without a bound."""
        return None if self.lower_bound is None else self.cost - self.lower_bound


def evaluate(problem: LiftedMulticut, segments: np.ndarray) -> float:
    """Return the cost of segments (n,), connected or not, summed in float64; +inf if a constraint is broken.

    Raises:
        TypeError, ValueError: if the problem is no LiftedMulticut, or the segments do not fit it.

    ```python
    >>> from difflayers import lifted_multicut
    >>> path, far = [[0, 1], [1, 2]], [[0, 2]]
    >>> problem = lifted_multicut.LiftedMulticut(3, path, [-1.0, 1.0], far, [3.0])
    >>> lifted_multicut.evaluate(problem, [0, 1, 1])
    2.0

    ```
    """
    check_problem(problem, LiftedMulticut)
    segments = checked_labels("segments", segments, problem.num_nodes, problem.num_nodes)
    return _cost(problem, _differ(segments, problem.edges), _differ(segments, problem.lifted_edges))


def is_feasible(problem: LiftedMulticut, segments: np.ndarray) -> bool:
    """Return whether edges connect every one of the segments (n,), and all constraints are kept.

    Raises:
        TypeError, ValueError: if the problem is no LiftedMulticut, or the segments do not fit it.

    ```python
    >>> from difflayers import lifted_multicut
    >>> path, far = [[0, 1], [1, 2]], [[0, 2]]
    >>> problem = lifted_multicut.LiftedMulticut(3, path, [-1.0, 1.0], far, [3.0])
    >>> lifted_multicut.is_feasible(problem, [0, 1, 1]), lifted_multicut.is_feasible(problem, [0, 1, 0])
    (True, False)

    ```
    """
    check_problem(problem, LiftedMulticut)
    segments = checked_labels("segments", segments, problem.num_nodes, problem.num_nodes)
    solution = solution_from_clusters(problem, segments)
    return solution.cost < np.inf and int(solution.segments.max()) + 1 == len(np.unique(segments))


def solution_from_clusters(problem: LiftedMulticut, cluster: np.ndarray) -> Solution:
    """Return the solution whose segments are the parts of equal `cluster` (n,) that edges connect."""
    edges, thing, labels = problem.edges.view(INDEX), np.ones(1, bool), np.zeros(problem.num_nodes, np.int32)
    segments = connected_segments(edges, thing, labels, np.asarray(cluster, INDEX))
    cuts = cut_edges(edges, segments)
    lifted_cuts = cut_edges(problem.lifted_edges.view(INDEX), segments)
    return Solution(segments, cuts, lifted_cuts, _cost(problem, cuts.astype(bool), lifted_cuts.astype(bool)))


def solve_scaled(problem: LiftedMulticut, solver: Callable[[LiftedMulticut], Solution]) -> Solution:
    """Return the problem's solution by a solver that is given costs of less than 1."""
    power = exponent(problem.largest_cost)
    costs, lifted_costs = np.ldexp(problem.edge_costs, -power), np.ldexp(problem.lifted_costs, -power)
    solution = solver(replace(problem, edge_costs=costs, lifted_costs=lifted_costs))
    return replace(solution, cost=evaluate(problem, solution.segments))


def _differ(segments: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return segments[pairs[:, 0]] != segments[pairs[:, 1]]


def _cost(problem: LiftedMulticut, cuts: np.ndarray, lifted_cuts: np.ndarray) -> float:
    total = 0.0
    for costs, cut in ((problem.edge_costs, cuts), (problem.lifted_costs, lifted_cuts)):
        if (costs[~cut] == -np.inf).any():
            return float(np.inf)
        paid = costs[cut]
        total += float(paid.sum(dtype=np.float64, where=paid > -np.inf))
    return total
