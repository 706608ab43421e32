"""Minimum spanning tree."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numba import njit

from difflayers._arguments import count
from difflayers.graph.checks import checked_edges
from difflayers.solver import Array
from difflayers.solvers.batch import check_threads, solve_batch, spend


@dataclass(frozen=True, eq=False)
class MinimumSpanningTree:
    """The cheapest edges that connect all nodes of a graph without a cycle.

    Exact, by Kruskal's algorithm in O(m log m) per instance. Of equal edges, the first one is taken.

    Args:
        num_nodes: number n of nodes.
        edges: (m, 2) integers, pairs of different nodes.
        n_threads: number of threads that share a batch.

    Raises:
        TypeError, ValueError: an argument has the wrong form or is out of range.

    Examples:
        >>> import numpy as np
        >>> MinimumSpanningTree(3, [[0, 1], [1, 2], [0, 2]])(np.array([[1.0, 3.0, 2.0]]))
        array([[1., 0., 1.]])
    """

    sense: ClassVar[str] = "minimize"
    num_nodes: int
    edges: Array
    n_threads: int = 1
    _endpoints: tuple[Array, Array] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_nodes", count("num_nodes", self.num_nodes))
        check_threads(self.n_threads)
        edges = checked_edges(self.edges, self.num_nodes)
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "_endpoints", (edges[:, 0].copy(), edges[:, 1].copy()))

    def __call__(self, costs: Any) -> Array:
        """Solve a batch.

        Args:
            costs: (B, m) numbers; infinity forbids an edge.

        Returns:
            (B, m) in the costs' dtype: 1 for the n - 1 edges of the tree, 0 for the others.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or minus infinity.
            InfeasibleError: the edges of finite cost do not connect all nodes of an instance.
        """
        return solve_batch(
            _spanning_trees,
            costs,
            (len(self.edges),),
            (self.num_nodes, *self._endpoints),
            failure="the edges of finite cost do not connect all nodes",
            n_threads=self.n_threads,
        )


@njit(nogil=True, cache=True)
def _spanning_trees(
    costs: np.ndarray,
    solutions: np.ndarray,
    meter: np.ndarray,
    num_nodes: int,
    tails: np.ndarray,
    heads: np.ndarray,
) -> int:
    """Kruskal: take edges from the cheapest on, unless their ends are connected; O(m log m) per instance."""
    parent = np.empty(num_nodes, np.int32)
    for row in range(len(costs)):
        if spend(meter, 100 * tails.size):
            return row
        for v in range(num_nodes):
            parent[v] = v
        missing = num_nodes - 1
        for e in np.argsort(costs[row], kind="mergesort"):
            if missing == 0 or costs[row, e] == np.inf:
                break
            u, v = _root(parent, tails[e]), _root(parent, heads[e])
            if u != v:
                parent[u] = v
                solutions[row, e] = 1
                missing -= 1
        if missing:
            return row
    return -1


@njit(nogil=True, cache=True)
def _root(parent: np.ndarray, node: int) -> int:
    """The representative of a node's component; paths are halved on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node
