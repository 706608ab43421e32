"""Matchings of least cost: bipartite, and perfect on any graph."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numba import njit

from difflayers._arguments import count, counts
from difflayers.graph.checks import checked_edges
from difflayers.solver import Array
from difflayers.solvers.batch import check_threads, solve_batch, spend
from difflayers.solvers.blossom import perfect_matchings


@dataclass(frozen=True, eq=False)
class BipartiteMatching:
    """The cheapest matching of the rows of a matrix to different columns.

    All rows are matched, or all columns if there are fewer columns than rows. Exact, by shortest augmenting
    paths (the Hungarian method) in O(r² c) per instance, where r ≤ c are the numbers of rows and columns.

    Args:
        shape: number of rows and number of columns.
        n_threads: number of threads that share a batch.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> BipartiteMatching((2, 2))(np.array([[[4.0, 1.0], [2.0, 0.0]]]))
        array([[[0., 1.],
                [1., 0.]]])
    """

    sense: ClassVar[str] = "minimize"
    shape: tuple[int, int]
    n_threads: int = 1

    def __post_init__(self) -> None:
        shape = counts("shape", self.shape, "two positive integers (rows, columns)", length=2)
        object.__setattr__(self, "shape", shape)
        check_threads(self.n_threads)
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))

    def __call__(self, costs: Any) -> Array:
        """Solve a batch.

        Args:
            costs: (B, rows, columns) numbers; infinity forbids a pair.

        Returns:
            (B, rows, columns) in the costs' dtype: 1 for matched pairs, 0 elsewhere.

        Raises:
            ValueError: the costs have a wrong shape or a NaN.
            InfeasibleError: an instance has no matching of finite cost.
        """
        rows, columns = self.shape
        strides = (columns, 1) if rows <= columns else (1, columns)
        return solve_batch(
            _assignments,
            costs,
            self.shape,
            (min(self.shape), max(self.shape), *strides),
            failure="no matching of finite cost",
            n_threads=self.n_threads,
        )


@dataclass(frozen=True, eq=False)
class PerfectMatching:
    """The cheapest set of edges of a graph that meets every node once.

    Exact, by Edmonds' blossom algorithm in O(n² m) per instance. The algorithm computes with integers, so
    that equal costs remain equal. The costs are rounded to 2^-(58 - b) of the range of the costs that an
    optimal matching can contain, where b is the number of bits of n: 2^-53 for 30 nodes, 2^-48 for 1000.

    Args:
        num_nodes: number n of nodes, even.
        edges: (m, 2) integers, pairs of different nodes.
        n_threads: number of threads that share a batch.

    Raises:
        TypeError, ValueError: an argument has the wrong form or is out of range.

    Examples:
        >>> import numpy as np
        >>> solver = PerfectMatching(4, [[0, 1], [1, 2], [2, 3], [0, 3]])
        >>> solver(np.array([[1.0, 2.0, 3.0, 1.0]]))
        array([[0., 1., 0., 1.]])
    """

    sense: ClassVar[str] = "minimize"
    num_nodes: int
    edges: Array
    n_threads: int = 1
    _endpoints: tuple[Array, Array] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_nodes", count("num_nodes", self.num_nodes, least=0))
        if self.num_nodes % 2:
            raise ValueError(f"num_nodes must be even for a perfect matching, got {self.num_nodes}")
        check_threads(self.n_threads)
        edges = checked_edges(self.edges, self.num_nodes)
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "_endpoints", (edges[:, 0].copy(), edges[:, 1].copy()))

    def __call__(self, costs: Any) -> Array:
        """Solve a batch.

        Args:
            costs: (B, m) numbers; infinity forbids an edge.

        Returns:
            (B, m) in the costs' dtype: 1 for the edges of the matching, 0 for the others.

        Raises:
            ValueError: the costs have a wrong shape or a NaN.
            InfeasibleError: an instance has no perfect matching of finite cost.
        """
        return solve_batch(
            perfect_matchings,
            costs,
            (len(self.edges),),
            (self.num_nodes, *self._endpoints),
            failure="no perfect matching of finite cost",
            n_threads=self.n_threads,
        )


@njit(nogil=True, cache=True)
def _assignments(
    costs: np.ndarray,
    solutions: np.ndarray,
    meter: np.ndarray,
    num_rows: int,
    num_columns: int,
    row_stride: int,
    column_stride: int,
) -> int:
    """Match one row after the other along the shortest augmenting path, O(rows² columns) per instance.

    The strides say where the entry of a row and a column is, so that a transposed matrix needs no copy.
    """
    row_price = np.empty(num_rows)
    column_price = np.empty(num_columns)
    owner = np.empty(num_columns, np.int32)  # row matched to a column, or -1
    partner = np.empty(num_rows, np.int32)
    distance = np.empty(num_columns)
    via = np.empty(num_columns, np.int32)  # row from which a column was reached
    columns = np.empty(num_columns, np.int32)  # columns of known distance first
    for instance in range(len(costs)):
        cost = costs[instance]
        column_price[:] = 0
        owner[:] = -1
        partner[:] = -1
        for i in range(num_rows):
            best, at = np.inf, -1
            for j in range(num_columns):
                if cost[i * row_stride + j * column_stride] < best:
                    best, at = cost[i * row_stride + j * column_stride], j
            if at < 0:
                return instance
            row_price[i] = best
            if owner[at] < 0:
                owner[at], partner[i] = i, at
        for start in range(num_rows):
            if partner[start] >= 0:
                continue
            if spend(meter, num_rows * num_columns):
                return instance
            for j in range(num_columns):
                distance[j] = np.inf
                columns[j] = j
            row, reached, known, end = start, 0.0, 0, -1
            while True:
                nearest, at = np.inf, -1
                for k in range(known, num_columns):
                    j = columns[k]
                    through = (
                        reached
                        + cost[row * row_stride + j * column_stride]
                        - row_price[row]
                        - column_price[j]
                    )
                    if through < distance[j]:
                        distance[j] = through
                        via[j] = row
                    # Of equally near columns prefer a free one, which ends the search.
                    if distance[j] < nearest or (distance[j] == nearest and owner[j] < 0 and at >= 0):
                        nearest, at = distance[j], k
                if at < 0:
                    return instance
                reached, end = nearest, columns[at]
                if owner[end] < 0:
                    break
                columns[at], columns[known] = columns[known], columns[at]
                known += 1
                row = owner[end]
            row_price[start] += reached
            for k in range(known):
                j = columns[k]
                row_price[owner[j]] += reached - distance[j]
                column_price[j] -= reached - distance[j]
            while True:
                row = via[end]
                owner[end] = row
                partner[row], end = end, partner[row]
                if row == start:
                    break
        for j in range(num_columns):
            if owner[j] >= 0:
                solutions[instance, owner[j] * row_stride + j * column_stride] = 1
    return -1
