"""Exact lifted multicut: an integer program whose inequalities are added as they are violated."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from difflayers._arguments import deadline_after
from difflayers.graph.checks import check_problem
from difflayers.graph.components import components
from difflayers.graph.cutting_planes import TOLERANCE, Row, minimize
from difflayers.graph.rows import INDEX
from difflayers.graph.short_paths import short_paths
from difflayers.graph.units import resolution
from difflayers.lifted_multicut.bounds import lower_bound
from difflayers.lifted_multicut.hardening import certain_pairs
from difflayers.lifted_multicut.problem import LiftedMulticut, Solution, solution_from_clusters
from difflayers.lifted_multicut.search import best_known

# Capacity of an edge that is not cut at all.
_UNIT = 10**6


def solve_exact(problem: LiftedMulticut, time_limit: float | None = None) -> Solution:
    """Solve a lifted multicut to proven optimality (Horňáková et al. 2017).

    A variable per pair says whether its ends are in different segments. Three kinds of inequality tie them
    together: no cycle of edges has exactly one cut, no lifted pair is cut that a path of uncut edges joins,
    and none is uncut whose ends a set of cut edges separates.

    Args:
        problem: the problem; some dozens to a hundred nodes are within reach, depending on the noise.
        time_limit: seconds after which the best solution known is returned, unlimited if None. What
            `solve(problem, "best")` and `lower_bound(problem)` take is spent in any case.

    Returns:
        The solution with a valid `lower_bound`; `proven_optimal` says whether it is optimal.

    Raises:
        TypeError: if the problem is no LiftedMulticut.
        ValueError: if the time limit is no number of at least 0, or constraints contradict each other.

    ```python
    >>> from difflayers import lifted_multicut
    >>> path, far = [[0, 1], [1, 2]], [[0, 2]]
    >>> problem = lifted_multicut.LiftedMulticut(3, path, [-1.0, 1.0], far, [3.0])
    >>> solution = lifted_multicut.solve_exact(problem)
    >>> solution.cost, solution.lower_bound, solution.proven_optimal
    (0.0, 0.0, True)

    ```
    """
    check_problem(problem, LiftedMulticut)
    deadline = deadline_after(time_limit)
    known, bound = best_known(problem, "best"), lower_bound(problem)
    proof = minimize(_Program(problem), known, bound, deadline)
    if proof.solution.cost == np.inf:
        doubt = "" if proof.proven else "undecided within the time limit whether "
        raise ValueError(f"{doubt}the constraints contradict each other")
    costs = problem.edge_costs, problem.lifted_costs
    bound = max(bound, resolution(*costs).below(proof.bound, *costs))
    bound = min(bound, proof.solution.cost)
    return replace(proof.solution, lower_bound=bound, proven_optimal=proof.proven)


class _Program:
    """A variable per pair of nodes with an edge or lifted edge: 1 if they are in different segments."""

    def __init__(self, problem: LiftedMulticut) -> None:
        self.problem = problem
        n = problem.num_nodes
        ends = np.sort(np.concatenate([problem.edges, problem.lifted_edges]), axis=1).astype(np.int64)
        keys, pair = np.unique(ends[:, 0] * n + ends[:, 1], return_inverse=True)
        costs = np.concatenate([problem.edge_costs, problem.lifted_costs])
        self.tails, self.heads = np.divmod(keys, n)
        self.base = np.zeros(len(keys), bool)
        self.base[pair[: len(problem.edges)]] = True
        finite = np.isfinite(costs)
        self.costs = np.bincount(pair, np.where(finite, costs, 0.0), len(keys)).astype(np.float64)
        self.lower, self.upper = np.zeros(len(keys)), np.ones(len(keys))
        self.lower[pair[costs == -np.inf]] = 1.0
        self.upper[pair[costs == np.inf]] = 0.0
        certain = certain_pairs(problem)
        self.lower[pair[certain.cut]] = 1.0
        self.upper[pair[certain.uncut]] = 0.0
        self.equalities = csr_array((0, len(keys)))

    def violated(self, point: np.ndarray, late: Callable[[], bool]) -> list[Row]:
        """Inequalities that the point violates."""
        edges, pairs = np.flatnonzero(self.base), np.arange(len(point))
        rows = []
        arguments = (self.problem.num_nodes, self.tails, self.heads, point, edges, pairs, TOLERANCE, late)
        for pair, path in short_paths(*arguments):
            rows.append(Row([pair, *path], [-1.0] + [1.0] * len(path), 0.0))
        for pair, border in self._thin_borders(point, late):
            rows.append(Row([pair, *border], [1.0] + [-1.0] * len(border), 1.0 - len(border)))
        return rows

    def _thin_borders(self, point: np.ndarray, late: Callable[[], bool]) -> Iterator[tuple[int, list[int]]]:
        """Lifted pairs that are less cut than a set of edges between their ends, and the set."""
        edges, n = np.flatnonzero(self.base), self.problem.num_nodes
        # In older releases of SciPy, graph algorithms take no index but int32.
        tails, heads = self.tails[edges].astype(np.int32), self.heads[edges].astype(np.int32)
        # Flows are of integers; a little capacity for every edge prefers borders of few edges.
        capacity = np.round((1.0 - np.clip(point[edges], 0.0, 1.0)) * _UNIT).astype(np.int32) + 1
        ends = (np.r_[tails, heads], np.r_[heads, tails])
        graph = csr_array((np.tile(capacity, 2), ends), shape=(n, n))
        for pair in np.flatnonzero((point < 1.0 - TOLERANCE) & ~self.base).tolist():
            if late():
                return
            u, v = int(self.tails[pair]), int(self.heads[pair])
            residual = graph - maximum_flow(graph, u, v).flow
            residual.eliminate_zeros()
            side = np.zeros(n, bool)
            side[breadth_first_order(residual, u, return_predecessors=False)] = True
            border = edges[side[tails] != side[heads]]
            if point[pair] < 1.0 - (1.0 - point[border]).sum() - 10 * TOLERANCE:
                yield pair, border.tolist()

    def solution(self, point: np.ndarray) -> Solution:
        """The solution whose segments are joined by the uncut edges of an integral point."""
        uncut = self.base & (point < 0.5)
        pairs = np.stack([self.tails[uncut], self.heads[uncut]], axis=1).astype(INDEX)
        return solution_from_clusters(self.problem, components(self.problem.num_nodes, pairs))
