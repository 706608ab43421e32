"""Exact lifted multicut: an integer program with its inequalities added as they are violated."""

import time
from dataclasses import replace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, dijkstra, maximum_flow

from difflayers._arguments import deadline_after
from difflayers.amwc.units import is_ordinary
from difflayers.lifted_multicut.problem import (
    LiftedMulticut,
    Solution,
    solution_from_clusters,
    solve_scaled,
)
from difflayers.lifted_multicut.search import solve

_TOLERANCE = 1e-6
# Capacity of an edge that is not cut at all.
_UNIT = 10**6


def solve_exact(problem: LiftedMulticut, time_limit: float | None = None) -> Solution:
    """Solve a lifted multicut to proven optimality (Horňáková et al. 2017).

    A variable a pair says whether its ends are in different segments. Three kinds of inequality tie them
    together: no cycle of edges has exactly one cut, no lifted pair is cut that a path of uncut edges joins,
    and none is uncut whose ends a set of cut edges separates.

    Args:
        problem: the problem; some dozens to a hundred nodes are within reach, depending on the noise.
        time_limit: seconds after which the best solution known is returned, unlimited if None. The solver
            looks at the clock between rounds and inside the integer program.

    Returns:
        The solution with a valid ``lower_bound``; ``proven_optimal`` says whether it is optimal, to rounding.

    Raises:
        ValueError: if the time limit is no number of at least 0.
    """
    if not is_ordinary(problem.largest_cost):
        return solve_scaled(problem, lambda scaled: solve_exact(scaled, time_limit))
    deadline = deadline_after(time_limit)
    best = solve(problem, "best")
    program = _Program(problem)
    bound = -np.inf
    for integral in (False, True):
        while True:
            point, dual_bound, finished = program.minimise(integral, deadline)
            bound = max(bound, dual_bound)
            if bound >= best.cost - _TOLERANCE * (1.0 + abs(best.cost)):
                return replace(best, lower_bound=min(bound, best.cost), proven_optimal=True)
            if point is None or not finished:
                return replace(best, lower_bound=bound)
            if program.add_violated(point) == 0:
                break
    assert point is not None
    optimum = solution_from_clusters(problem, program.parts(point))
    return replace(optimum, lower_bound=min(bound, optimum.cost), proven_optimal=True)


class _Program:
    """A variable for every pair, the rows found so far, and the search for more of them."""

    def __init__(self, problem: LiftedMulticut) -> None:
        self.n = n = problem.num_nodes
        pairs = np.sort(np.concatenate([problem.edges, problem.lifted_edges]), axis=1).astype(np.int64)
        keys, number = np.unique(pairs[:, 0] * n + pairs[:, 1], return_inverse=True)
        costs = np.concatenate([problem.edge_costs, problem.lifted_costs])
        self.costs = np.bincount(number.reshape(-1), costs, len(keys)).astype(np.float64)
        self.tails, self.heads = np.divmod(keys, n)
        self.base = np.zeros(len(keys), bool)
        self.base[number.reshape(-1)[: len(problem.edges)]] = True
        ends = zip(self.tails.tolist(), self.heads.tolist(), strict=True)
        self.number = {pair: i for i, pair in enumerate(ends)}
        self.rows: dict[tuple[int, ...], tuple[list[int], list[float], float]] = {}

    def minimise(self, integral: bool, deadline: float) -> tuple[np.ndarray | None, float, bool]:
        """Optimal point of the rows so far, a lower bound on the optimum, and whether time was enough."""
        if len(self.costs) == 0:
            return np.empty(0), 0.0, True
        options: dict[str, float] = {"mip_rel_gap": 0.0}
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return None, -np.inf, False
        if np.isfinite(remaining):
            options["time_limit"] = remaining
        rows = list(self.rows.values())
        # In older releases of SciPy, its solver and its graph algorithms take no index but int32.
        index = np.repeat(np.arange(len(rows), dtype=np.int32), [len(columns) for columns, _, _ in rows])
        columns = np.array([column for row in rows for column in row[0]], np.int32)
        values = [value for row in rows for value in row[1]]
        matrix = coo_array((values, (index, columns)), shape=(len(rows), len(self.costs)))
        least = np.array([row[2] for row in rows])
        result = milp(
            self.costs,
            integrality=np.full(len(self.costs), int(integral)),
            bounds=Bounds(0, 1),
            constraints=[LinearConstraint(csr_array(matrix), least, np.inf)] if rows else None,
            options=options,
        )
        finished = result.status == 0
        bound = result.fun if finished and not integral else result.mip_dual_bound
        return result.x, -np.inf if bound is None else bound, finished

    def add_violated(self, point: np.ndarray) -> int:
        """Add the violated inequalities and return their number."""
        before = len(self.rows)
        for pair, path in self._short_paths(point):
            self._add([pair, *path], [-1.0] + [1.0] * len(path), 0.0)
        for pair, border in self._thin_borders(point):
            self._add([pair, *border], [1.0] + [-1.0] * len(border), 1.0 - len(border))
        return len(self.rows) - before

    def _add(self, columns: list[int], values: list[float], least: float) -> None:
        self.rows.setdefault((int(values[0]), columns[0], *sorted(columns[1:])), (columns, values, least))

    def _ends(self, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.tails[edges].astype(np.int32), self.heads[edges].astype(np.int32)

    def _short_paths(self, point: np.ndarray) -> list[tuple[int, list[int]]]:
        """Pairs with a path of edges between their ends that is shorter than the pair, by ``point``."""
        edges = np.flatnonzero(self.base)
        pairs = np.flatnonzero(point > _TOLERANCE)
        if len(edges) == 0 or len(pairs) == 0:
            return []
        tails, heads = self._ends(edges)
        # A little length for every edge prefers short paths, whose inequalities are the strong ones.
        length = np.maximum(point[edges], 0.0) + 1e-7
        ends = (np.r_[tails, heads], np.r_[heads, tails])
        graph = csr_array((np.tile(length, 2), ends), shape=(self.n, self.n))
        sources, row_of = np.unique(self.tails[pairs], return_inverse=True)
        distance, before = dijkstra(graph, indices=sources, return_predecessors=True)
        found = []
        for pair, row in zip(pairs.tolist(), row_of.tolist(), strict=True):
            u, v = int(self.tails[pair]), int(self.heads[pair])
            if distance[row, v] >= point[pair] - 10 * _TOLERANCE:
                continue
            path = []
            while v != u:
                w = int(before[row, v])
                path.append(self.number[min(v, w), max(v, w)])
                v = w
            found.append((pair, path))
        return found

    def _thin_borders(self, point: np.ndarray) -> list[tuple[int, list[int]]]:
        """Lifted pairs that are less cut than a set of edges between their ends, by ``point``."""
        edges = np.flatnonzero(self.base)
        tails, heads = self._ends(edges)
        # Flows are of integers; a little capacity for every edge prefers borders of few edges.
        capacity = np.round((1.0 - np.clip(point[edges], 0.0, 1.0)) * _UNIT).astype(np.int32) + 1
        ends = (np.r_[tails, heads], np.r_[heads, tails])
        graph = csr_array((np.tile(capacity, 2), ends), shape=(self.n, self.n))
        found = []
        for pair in np.flatnonzero((point < 1.0 - _TOLERANCE) & ~self.base).tolist():
            u, v = int(self.tails[pair]), int(self.heads[pair])
            result = maximum_flow(graph, u, v)
            residual = graph - result.flow
            residual.eliminate_zeros()
            side = np.zeros(self.n, bool)
            side[breadth_first_order(residual, u, return_predecessors=False)] = True
            border = edges[side[tails] != side[heads]]
            if point[pair] < 1.0 - (1.0 - point[border]).sum() - 10 * _TOLERANCE:
                found.append((pair, border.tolist()))
        return found

    def parts(self, point: np.ndarray) -> np.ndarray:
        """The part (n,) of every node that an integral point describes."""
        uncut = np.flatnonzero(self.base & (point < 0.5))
        graph = coo_array((np.ones(len(uncut)), self._ends(uncut)), shape=(self.n, self.n))
        return connected_components(graph)[1]
