"""Travelling salesman: the cheapest round tour through all nodes of a complete graph."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numba import njit

from difflayers._arguments import count
from difflayers.solver import Array
from difflayers.solvers.batch import check_threads, solve_batch, spend
from difflayers.solvers.tour_search import fill_matrix, improved_tours, mark_tour

# The table of Held and Karp has 2^(n - 1) (n - 1) entries, 229 376 at this size.
MAX_EXACT = 15


@dataclass(frozen=True, eq=False)
class TravellingSalesman:
    """The round tour of least cost that visits every node once, in either direction.

    Exact up to 15 nodes, by the dynamic programme of Held and Karp in O(2^n n²) per instance. Beyond that, a
    nearest-neighbour tour is improved by 2-opt and Or-opt, and so are starts · n² / 200 perturbed tours, each
    of which starts from the best tour so far. The result is deterministic.

    Args:
        num_nodes: number n ≥ 3 of nodes.
        starts: effort beyond 15 nodes; the time grows in proportion.
        n_threads: number of threads that share a batch.

    Attributes:
        edges: (m, 2) int32, the m = n (n - 1) / 2 pairs of nodes (0, 1), (0, 2), … to which the costs belong.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> solver = TravellingSalesman(4)
        >>> solver.edges.tolist()
        [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
        >>> solver(np.array([[1.0, 9.0, 1.0, 1.0, 9.0, 1.0]]))
        array([[1., 0., 1., 1., 0., 1.]])
    """

    sense: ClassVar[str] = "minimize"
    num_nodes: int
    starts: int = 10
    n_threads: int = 1
    edges: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_nodes", count("num_nodes", self.num_nodes, least=3))
        object.__setattr__(self, "starts", count("starts", self.starts))
        check_threads(self.n_threads)
        edges = np.stack(np.triu_indices(self.num_nodes, 1), axis=1).astype(np.int32)
        object.__setattr__(self, "edges", edges)

    @property
    def exact(self) -> bool:
        """Whether solutions are proven optimal."""
        return self.num_nodes <= MAX_EXACT

    def __call__(self, costs: Any) -> Array:
        """Solve a batch.

        Args:
            costs: (B, m) numbers, in the order of `edges`; infinity forbids an edge.

        Returns:
            (B, m) in the costs' dtype: 1 for the n edges of the tour, 0 for the others.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or minus infinity.
            InfeasibleError: an instance has no tour of finite cost, or beyond 15 nodes none was found.
        """
        return solve_batch(
            _shortest_tours if self.exact else improved_tours,
            costs,
            (len(self.edges),),
            (self.num_nodes, self.starts),
            failure="no tour of finite cost" + ("" if self.exact else " was found"),
            n_threads=self.n_threads,
        )


@njit(nogil=True, cache=True)
def _shortest_tours(
    costs: np.ndarray, solutions: np.ndarray, meter: np.ndarray, num_nodes: int, starts: int
) -> int:
    """Held and Karp: the cheapest path from the last node through any set of nodes to one, O(2^n n²)."""
    others = num_nodes - 1
    between = np.empty((num_nodes, num_nodes))
    path = np.empty((1 << others, others))
    tour = np.empty(num_nodes, np.int64)
    for row in range(len(costs)):
        if spend(meter, (num_nodes * num_nodes) << others):
            return row
        fill_matrix(costs[row], between)
        path[:] = np.inf
        for v in range(others):
            path[1 << v, v] = between[others, v]
        for nodes in range(1, 1 << others):
            for v in range(others):
                if path[nodes, v] == np.inf:
                    continue
                for w in range(others):
                    if not nodes >> w & 1:
                        through = path[nodes, v] + between[v, w]
                        if through < path[nodes | 1 << w, w]:
                            path[nodes | 1 << w, w] = through
        nodes, after, best = (1 << others) - 1, others, np.inf
        tour[0] = others
        for place in range(1, num_nodes):
            # The same sums as above, so that the cheapest is the one that made the table.
            best, at = np.inf, -1
            for v in range(others):
                if nodes >> v & 1 and path[nodes, v] + between[v, after] < best:
                    best, at = path[nodes, v] + between[v, after], v
            if at < 0:
                return row
            tour[place] = after = at
            nodes ^= 1 << at
        mark_tour(solutions[row], tour)
    return -1
