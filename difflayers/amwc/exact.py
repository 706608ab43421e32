"""Exact asymmetric multiway cut: an integer program (Eq. 2) with constraints added as needed."""

import time
from dataclasses import replace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array, vstack
from scipy.sparse.csgraph import dijkstra

from difflayers._arguments import deadline_after
from difflayers.amwc.constraints import solve_constrained
from difflayers.amwc.problem import AMWC, check_problem
from difflayers.amwc.search import solve
from difflayers.amwc.solution import Solution, solution_from_clusters
from difflayers.amwc.units import is_ordinary, solve_scaled
from difflayers.graph.components import components
from difflayers.graph.rows import INDEX

_TOLERANCE = 1e-6


def solve_exact(problem: AMWC, time_limit: float | None = None) -> Solution:
    """Solve an asymmetric multiway cut (Eq. 2) to proven optimality.

    Args:
        problem: the problem; some hundred nodes are within reach, depending on the noise.
        time_limit: seconds after which the best solution known is returned, unlimited if None. The solver
            looks at the clock between rounds and inside the integer program.

    Returns:
        The solution with a valid ``lower_bound``; ``proven_optimal`` says whether it is optimal, to rounding.

    Raises:
        TypeError: if the problem is no AMWC.
        ValueError: if the time limit is no number of at least 0, or constraints contradict each other.
    """
    check_problem(problem)
    if not is_ordinary(problem.largest_cost):
        return solve_scaled(problem, lambda scaled: solve_exact(scaled, time_limit))
    if problem.constrained:
        return solve_constrained(problem, lambda finite, _: _solve(finite.plain, time_limit, finite.offset))
    return _solve(problem, time_limit, 0.0)


def _solve(problem: AMWC, time_limit: float | None, offset: float) -> Solution:
    deadline = deadline_after(time_limit)
    known = solve(problem, "best")
    program = _Program(problem)
    bound = -np.inf
    for integral in (False, True):
        while True:
            point, dual_bound, finished = program.minimise(integral, deadline)
            bound = max(bound, dual_bound)
            if bound >= known.cost - _slack(known.cost + offset):
                return replace(known, lower_bound=min(bound, known.cost), proven_optimal=True)
            if point is None or not finished:
                return replace(known, lower_bound=bound)
            if program.add_violated(point) == 0:
                break
    assert point is not None
    optimum = program.rounded(point)
    best = optimum if optimum.cost < known.cost else known
    proven = bound >= best.cost - _slack(best.cost + offset)
    return replace(best, lower_bound=min(bound, best.cost), proven_optimal=proven)


def _slack(cost: float) -> float:
    return _TOLERANCE * (1.0 + abs(cost))


class _Program:
    """Variables x (n K) and y (m), the rows found so far, and the search for more of them."""

    def __init__(self, problem: AMWC) -> None:
        ends = np.sort(problem.edges, axis=1).astype(np.int64)
        keys = ends[:, 0] * problem.num_nodes + ends[:, 1]
        unique, inverse = np.unique(keys, return_inverse=True)
        self.problem = problem
        self.tails, self.heads = np.divmod(unique, problem.num_nodes)
        costs = np.bincount(inverse, problem.edge_costs, len(unique)).astype(np.float64)
        self.costs = np.concatenate([problem.node_costs.ravel().astype(np.float64), costs])
        n, num_labels = problem.node_costs.shape
        one_label = csr_array(
            (np.ones(n * num_labels), np.arange(n * num_labels), np.arange(n + 1) * num_labels),
            shape=(n, len(self.costs)),
        )
        self.rows = [one_label]
        self.lower = [np.ones(n)]
        self.seen: set[tuple[int, ...]] = set()

    def minimise(self, integral: bool, deadline: float) -> tuple[np.ndarray | None, float, bool]:
        """Optimal point of the rows so far, a lower bound on the optimum, and whether time was enough."""
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return None, -np.inf, False
        options: dict[str, float] = {"mip_rel_gap": 0.0}
        if np.isfinite(remaining):
            options["time_limit"] = remaining
        upper = np.full(sum(len(part) for part in self.lower), np.inf)
        upper[: self.problem.num_nodes] = 1.0
        result = milp(
            self.costs,
            integrality=np.full(len(self.costs), int(integral)),
            bounds=Bounds(0, 1),
            constraints=LinearConstraint(vstack(self.rows, format="csr"), np.concatenate(self.lower), upper),
            options=options,
        )
        finished = result.status == 0
        bound = result.fun if finished and not integral else result.mip_dual_bound
        return result.x, -np.inf if bound is None else bound, finished

    def add_violated(self, point: np.ndarray) -> int:
        """Add the violated rows of Eq. 2 and return their number."""
        problem, tails, heads = self.problem, self.tails, self.heads
        n, num_labels = problem.node_costs.shape
        x = point[: n * num_labels].reshape(n, num_labels)
        y = point[n * num_labels :]
        found: list[tuple[list[int], list[float], float]] = []
        first_y = n * num_labels
        gap = x[tails] - x[heads]
        # A node with this label and a neighbour without it are cut: y >= x_u - x_v, either way round.
        for sign, ends in ((1, (tails, heads)), (-1, (heads, tails))):
            for e, k in np.argwhere(sign * gap > y[:, None] + _TOLERANCE).tolist():
                u, v = int(ends[0][e]), int(ends[1][e])
                found.append(([first_y + e, u * num_labels + k, v * num_labels + k], [1.0, -1.0, 1.0], 0.0))
        # Equal labels that may not be split are uncut: y <= 2 - x_u - x_v.
        both = x[tails] + x[heads] + y[:, None] - 2.0
        both[:, problem.partitionable] = 0.0
        for e, k in np.argwhere(both > _TOLERANCE).tolist():
            u, v = int(tails[e]), int(heads[e])
            found.append(([first_y + e, u * num_labels + k, v * num_labels + k], [-1.0, -1.0, -1.0], -2.0))
        # Cuts are those of a partition: no cycle has exactly one cut edge.
        if problem.partitionable.any():
            for cycle in self._violated_cycles(y):
                found.append(([first_y + e for e in cycle], [-1.0] + [1.0] * (len(cycle) - 1), 0.0))
        found = [row for row in found if (*row[0], int(row[1][0])) not in self.seen]
        self.seen.update((*row[0], int(row[1][0])) for row in found)
        if found:
            index = np.repeat(np.arange(len(found)), [len(columns) for columns, _, _ in found])
            columns = np.concatenate([columns for columns, _, _ in found])
            values = np.concatenate([values for _, values, _ in found])
            shape = (len(found), len(self.costs))
            self.rows.append(csr_array(coo_array((values, (index, columns)), shape=shape)))
            self.lower.append(np.array([least for _, _, least in found]))
        return len(found)

    def _violated_cycles(self, y: np.ndarray) -> list[list[int]]:
        """For every edge the shortest path round it, if that is shorter than the edge: [edge, *path]."""
        n = self.problem.num_nodes
        # A little length for every edge prefers short cycles, whose inequalities are the strong ones.
        length = np.maximum(y, 0.0) + 1e-7
        # In older releases of SciPy, graph algorithms take no index but int32.
        tails, heads = self.tails.astype(np.int32), self.heads.astype(np.int32)
        graph = csr_array((np.tile(length, 2), (np.r_[tails, heads], np.r_[heads, tails])), shape=(n, n))
        number = {
            ends: e for e, ends in enumerate(zip(self.tails.tolist(), self.heads.tolist(), strict=True))
        }
        cycles = []
        sources, row_of = np.unique(self.tails[y > _TOLERANCE], return_inverse=True)
        if len(sources) == 0:
            return []
        distance, before = dijkstra(graph, indices=sources, return_predecessors=True, limit=1.0 + 1e-3)
        for e, row in zip(np.flatnonzero(y > _TOLERANCE).tolist(), row_of.tolist(), strict=True):
            u, v = int(self.tails[e]), int(self.heads[e])
            if distance[row, v] >= y[e] - 10 * _TOLERANCE:
                continue
            cycle = [e]
            while v != u:
                w = int(before[row, v])
                cycle.append(number[min(v, w), max(v, w)])
                v = w
            cycles.append(cycle)
        return cycles

    def rounded(self, point: np.ndarray) -> Solution:
        """The solution that an integral point describes."""
        n, num_labels = self.problem.node_costs.shape
        labels = point[: n * num_labels].reshape(n, num_labels).argmax(axis=1)
        uncut = point[n * num_labels :] < 0.5
        pairs = np.stack([self.tails[uncut], self.heads[uncut]], axis=1).astype(INDEX)
        return solution_from_clusters(self.problem, labels, components(n, pairs))
