"""Exact asymmetric multiway cut: an integer program (Eq. 2) whose constraints are added where violated."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.sparse import csr_array

from difflayers._arguments import deadline_after
from difflayers.amwc.bounds import bound_and_cycles, original_bound
from difflayers.amwc.hardening import harden
from difflayers.amwc.problem import AMWC
from difflayers.amwc.search import solve
from difflayers.amwc.solution import Solution, solution_from_clusters
from difflayers.graph.checks import check_problem
from difflayers.graph.components import components
from difflayers.graph.conflicted_cycles import Cycles, OpenCycles
from difflayers.graph.cutting_planes import TOLERANCE, Row, minimize
from difflayers.graph.rows import INDEX
from difflayers.graph.short_paths import short_paths
from difflayers.graph.stars import pair_numbers, violated_stars

# Conflicted cycles are searched for while some are violated by so much.
_OPEN = 1e-3
# Stars are searched for if there are so many pairs for each pair of nodes, counted both ways.
_DENSE = 0.25


def solve_exact(problem: AMWC, time_limit: float | None = None) -> Solution:
    """Solve an asymmetric multiway cut (Eq. 2) to proven optimality.

    Args:
        problem: the problem; some hundred nodes are within reach, or some thousand of a region graph,
            depending on the noise.
        time_limit: seconds after which the best solution known is returned, unlimited if None. What
            `solve(problem, "best")` and `lower_bound(problem)` take is spent in any case.

    Returns:
        The solution, no worse than that of `solve(problem, "best")`, with a valid `lower_bound`, no lower
        than
            that of `lower_bound(problem)`; `proven_optimal` says whether it is optimal.

    Raises:
        TypeError: if the problem is no AMWC.
        ValueError: if the time limit is no number of at least 0, or constraints contradict each other.

    ```python
    >>> from difflayers import amwc
    >>> things = [True, False]  # cars may be split into several, the road may not
    >>> problem = amwc.AMWC([[0, 2], [0, 2], [3, 0]], [[0, 1], [1, 2]], [-1, 1], things)
    >>> solution = amwc.solve_exact(problem)
    >>> solution.cost, solution.proven_optimal
    (0.0, True)

    ```
    """
    check_problem(problem, AMWC)
    deadline = deadline_after(time_limit)
    best = solve(problem, "best")
    hardened = harden(problem)
    known = solution_from_clusters(hardened.problem, best.labels, best.segments)
    if known.cost == np.inf:
        known = solve(hardened.problem, "best")
    program = _Program(hardened.problem)
    bound, cycles = bound_and_cycles(hardened)
    proof = minimize(program, known, bound, deadline, program.rows_of(cycles))
    found = solution_from_clusters(problem, proof.solution.labels, proof.solution.segments)
    best = found if found.cost <= best.cost or proof.proven else best
    bound = min(original_bound(hardened, proof.bound), best.cost)
    return replace(best, lower_bound=bound, proven_optimal=proof.proven)


class _Program:
    """Variables x (n K), one per node and label, and y (p), one per pair of nodes with an edge."""

    def __init__(self, problem: AMWC) -> None:
        self.problem = problem
        n, num_labels = problem.node_costs.shape
        ends = np.sort(problem.edges, axis=1).astype(np.int64)
        keys, pair = np.unique(ends[:, 0] * n + ends[:, 1], return_inverse=True)
        self.pair_of_edge: np.ndarray = pair
        self.tails, self.heads = np.divmod(keys, n)
        finite = np.isfinite(problem.edge_costs)
        pair_costs = np.bincount(pair, np.where(finite, problem.edge_costs, 0.0), len(keys))
        allowed = np.isfinite(problem.node_costs).ravel()
        self.costs = np.concatenate([np.where(allowed, problem.node_costs.ravel(), 0.0), pair_costs])
        self.costs = self.costs.astype(np.float64)
        self.lower, self.upper = np.zeros(len(self.costs)), np.ones(len(self.costs))
        self.upper[: n * num_labels] = allowed
        self.lower[n * num_labels + pair[np.isneginf(problem.edge_costs)]] = 1.0
        self.upper[n * num_labels + pair[np.isposinf(problem.edge_costs)]] = 0.0
        signs = np.where(self.upper == 0.0, 1.0, np.where(self.lower == 1.0, -1.0, self.costs))
        self.signs: np.ndarray = signs[n * num_labels :]
        rows = (np.ones(n * num_labels), np.arange(n * num_labels), np.arange(n + 1) * num_labels)
        self.equalities = csr_array(rows, shape=(n, len(self.costs)))

    def rows_of(self, cycles: Cycles) -> list[Row]:
        """The rows of cycles of edges, which may be parallel."""
        kept = []
        for i, j in pairwise(cycles.start.tolist()):
            pair, *path = self.pair_of_edge[cycles.members[i:j]].tolist()
            if pair not in path:
                kept.append(self._cycle(pair, path))
        return kept

    def violated(self, point: np.ndarray, late: Callable[[], bool]) -> list[Row]:
        """Rows of Eq. 2 that the point violates."""
        found: list[Row] = []
        for row in self._violated(point, late):
            found.append(row)
            if len(found) % 1024 == 0 and late():
                break
        return found

    def _violated(self, point: np.ndarray, late: Callable[[], bool]) -> Iterator[Row]:
        problem, tails, heads = self.problem, self.tails, self.heads
        n, num_labels = problem.node_costs.shape
        x, first_y = point[: n * num_labels].reshape(n, num_labels), n * num_labels
        y = point[first_y:]
        gap = x[tails] - x[heads]
        # A node with one of some labels and a neighbour with none of them are cut. Labels are taken of which
        # the tail holds more than the head; for the others, the same follows with both ends swapped.
        for e in np.flatnonzero(np.maximum(gap, 0.0).sum(axis=1) > y + TOLERANCE).tolist():
            more = np.flatnonzero(gap[e] > 0.0)
            u, v = int(tails[e]) * num_labels + more, int(heads[e]) * num_labels + more
            signs = [1.0] + [-1.0] * len(more) + [1.0] * len(more)
            yield Row([first_y + e, *u.tolist(), *v.tolist()], signs, 0.0)
        # Equal labels that may not be split are uncut: y <= 2 - x_u - x_v.
        both = x[tails] + x[heads] + y[:, None] - 2.0
        both[:, problem.partitionable] = 0.0
        for e, k in np.argwhere(both > TOLERANCE).tolist():
            u, v = int(tails[e]), int(heads[e])
            yield Row([first_y + e, u * num_labels + k, v * num_labels + k], [-1.0, -1.0, -1.0], -2.0)
        # Cuts are those of a partition: no cycle has exactly one cut edge.
        if problem.partitionable.any():
            yield from self._broken_cycles(y, late)
            yield from self._broken_stars(y)

    def _broken_cycles(self, y: np.ndarray, late: Callable[[], bool]) -> Iterator[Row]:
        """Rows of cycles: of conflicted ones, and of those by which an integral point is no partition.

        The program of a multicut is as tight with conflicted cycles as with all; other programs get all.
        """
        n, pairs = self.problem.num_nodes, np.arange(len(y))
        shares = np.where(self.signs < 0.0, 1.0 - y, y)
        ends = np.stack([self.tails, self.heads], axis=1)
        conflicted = OpenCycles(n, ends.astype(np.int32), self.signs).find(shares, _OPEN)
        for i, j in pairwise(conflicted.start.tolist()):
            pair, *path = conflicted.members[i:j].tolist()
            yield self._cycle(pair, path)
        uncut = pairs[y <= TOLERANCE]
        part = components(n, ends[uncut].astype(INDEX))
        inside = pairs[part[self.tails] == part[self.heads]]
        found = len(conflicted.members) > 0
        for pair, path in short_paths(n, self.tails, self.heads, y, uncut, inside, TOLERANCE, late):
            found = True
            yield self._cycle(pair, path)
        if not found and self.problem.num_labels > 1:
            for pair, path in short_paths(n, self.tails, self.heads, y, pairs, pairs, TOLERANCE, late):
                yield self._cycle(pair, path)

    def _broken_stars(self, y: np.ndarray) -> Iterator[Row]:
        """Rows of stars, of graphs with an edge for most pairs; others hold few stars."""
        n, first = self.problem.num_nodes, self.problem.node_costs.size
        if len(y) < _DENSE * n * n:
            return
        for rays, between in violated_stars(pair_numbers(n, self.tails, self.heads), y):
            values = [1.0] * len(rays) + [-1.0] * len(between)
            yield Row([first + f for f in rays + between], values, len(rays) - 1.0 - len(between))

    def _cycle(self, pair: int, path: list[int]) -> Row:
        """A pair is cut only if its path is."""
        first = self.problem.node_costs.size
        return Row([first + f for f in (pair, *path)], [-1.0] + [1.0] * len(path), 0.0)

    def solution(self, point: np.ndarray) -> Solution:
        """The solution of an integral point, or one near to any other point, improved by moves."""
        n, num_labels = self.problem.node_costs.shape
        labels = point[: n * num_labels].reshape(n, num_labels).argmax(axis=1)
        uncut = point[n * num_labels :] < 0.5
        pairs = np.stack([self.tails[uncut], self.heads[uncut]], axis=1).astype(INDEX)
        near = solution_from_clusters(self.problem, labels, components(n, pairs))
        if near.cost == np.inf:
            return near
        return min(near, solve(self.problem, "best", start=near), key=lambda found: found.cost)
