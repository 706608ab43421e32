"""Maximum cut: split the nodes of a graph in two so that the edges in between cost least."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from difflayers._arguments import count
from difflayers.graph.checks import checked_edges
from difflayers.solver import Array
from difflayers.solvers.batch import check_threads, solve_batch
from difflayers.solvers.cut_search import enumerate_sides, search_sides
from difflayers.solvers.shortest_path import compressed_arcs

# Enumeration takes 2^(n - 1) flips, about a millisecond at this size.
MAX_EXACT = 16


@dataclass(frozen=True, eq=False)
class MaxCut:
    """Two sides for the nodes of a graph so that the edges between the sides cost least.

    An edge pays its cost when it is cut, so −weight as cost gives the heaviest cut. Exact up to 16 nodes, by
    enumeration in O(2^n n). Beyond that, it is the best cut that simulated annealing finds with fixed random
    numbers, in about O(restarts (n + m)) per instance.

    Args:
        num_nodes: number n of nodes.
        edges: (m, 2) integers, pairs of different nodes.
        restarts: how often the annealing is repeated.
        n_threads: number of threads that share a batch.

    Raises:
        TypeError, ValueError: an argument has the wrong form or is out of range.

    Examples:
        >>> import numpy as np
        >>> solver = MaxCut(3, [[0, 1], [1, 2], [0, 2]])
        >>> solver(-np.array([[2.0, 3.0, 4.0]]))
        array([[0., 1., 1.]])
    """

    sense: ClassVar[str] = "minimize"
    num_nodes: int
    edges: Array
    restarts: int = 20
    n_threads: int = 1
    _graph: tuple[Array, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_nodes", count("num_nodes", self.num_nodes))
        object.__setattr__(self, "restarts", count("restarts", self.restarts))
        check_threads(self.n_threads)
        edges = checked_edges(self.edges, self.num_nodes)
        object.__setattr__(self, "edges", edges)
        arcs = compressed_arcs(self.num_nodes, edges, directed=False)
        object.__setattr__(self, "_graph", (edges[:, 0].copy(), edges[:, 1].copy(), *arcs))

    @property
    def exact(self) -> bool:
        """Whether solutions are proven optimal."""
        return self.num_nodes <= MAX_EXACT

    def __call__(self, costs: Any) -> Array:
        """Solve a batch.

        Args:
            costs: (B, m) finite numbers.

        Returns:
            (B, m) in the costs' dtype: 1 for the edges that are cut, 0 for the others.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or an infinite value.
        """
        return solve_batch(
            enumerate_sides if self.exact else search_sides,
            costs,
            (len(self.edges),),
            (self.num_nodes, 0 if self.exact else self.restarts, *self._graph),
            failure="no solution",
            n_threads=self.n_threads,
            domain="finite",
        )
