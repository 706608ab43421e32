"""Maximum cut: split the nodes of a graph in two so that the edges in between cost least."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit

from difflayers._arguments import count
from difflayers.graph.checks import checked_edges
from difflayers.solver import Array
from difflayers.solvers.batch import check_threads, solve_batch
from difflayers.solvers.shortest_path import compressed_arcs

# Enumeration takes 2^(n - 1) flips, about a millisecond at this size.
MAX_EXACT = 16
ROUNDING = 1e-12
SEED = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class MaxCut:
    """Two sides for the nodes of a graph so that the edges between the sides cost least.

    An edge pays its cost when it is cut, so for the heaviest cut hand in −weight. Exact up to 16 nodes, by
    enumeration in O(2^n m / n); beyond that the best local optimum, where moving no node gains, of several
    deterministic starts, in about O(restarts m) an instance.

    Args:
        num_nodes: number n of nodes.
        edges: (m, 2) integers, pairs of different nodes.
        restarts: number of starts of the local search.
        n_threads: threads among which a batch is shared out.

    Raises:
        TypeError, ValueError: an argument has the wrong form or is out of range.
    """

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
            _enumerate_sides if self.exact else _search_sides,
            costs,
            (len(self.edges),),
            (self.num_nodes, 0 if self.exact else self.restarts, *self._graph),
            failure="no solution",
            n_threads=self.n_threads,
            domain="finite",
        )


@njit(nogil=True, cache=True)
def _enumerate_sides(
    costs: np.ndarray,
    solutions: np.ndarray,
    num_nodes: int,
    restarts: int,
    tails: np.ndarray,
    heads: np.ndarray,
    begins: np.ndarray,
    neighbours: np.ndarray,
    ids: np.ndarray,
) -> int:
    """All splits in the order of a Gray code, a node moved at each step; O(2^n m / n) an instance."""
    side, best = np.empty(num_nodes, np.bool_), np.empty(num_nodes, np.bool_)
    for row in range(len(costs)):
        side[:] = False
        best[:] = False
        value, best_value = 0.0, 0.0
        for number in range(1, 1 << (num_nodes - 1)):
            v = 0
            while not number >> v & 1:
                v += 1
            value += _change(costs[row], side, v, begins, neighbours, ids)
            side[v] = not side[v]
            if value < best_value:
                best_value = value
                best[:] = side
        _cut_edges(solutions[row], best, tails, heads)
    return -1


@njit(nogil=True, cache=True)
def _search_sides(
    costs: np.ndarray,
    solutions: np.ndarray,
    num_nodes: int,
    restarts: int,
    tails: np.ndarray,
    heads: np.ndarray,
    begins: np.ndarray,
    neighbours: np.ndarray,
    ids: np.ndarray,
) -> int:
    """From several starts, move nodes to the other side while that gains; the same starts for every row."""
    side, best = np.empty(num_nodes, np.bool_), np.empty(num_nodes, np.bool_)
    for row in range(len(costs)):
        best[:] = False
        best_value = 0.0
        # Sums of costs are rounded; a gain below that is none, and would let a search go round in circles.
        least_gain = ROUNDING * np.abs(costs[row]).sum()
        random = SEED
        for _ in range(restarts):
            for v in range(num_nodes):
                random ^= random << np.uint64(13)
                random ^= random >> np.uint64(7)
                random ^= random << np.uint64(17)
                side[v] = random >> np.uint64(63)
            moved = True
            while moved:
                moved = False
                for v in range(num_nodes):
                    if _change(costs[row], side, v, begins, neighbours, ids) < -least_gain:
                        side[v] = not side[v]
                        moved = True
            value = 0.0
            for e in range(tails.size):
                if side[tails[e]] != side[heads[e]]:
                    value += costs[row, e]
            if value < best_value:
                best_value = value
                best[:] = side
        _cut_edges(solutions[row], best, tails, heads)
    return -1


@njit(nogil=True, cache=True)
def _change(
    costs: np.ndarray,
    side: np.ndarray,
    node: int,
    begins: np.ndarray,
    neighbours: np.ndarray,
    ids: np.ndarray,
) -> float:
    """What moving a node to the other side would cost, O(degree)."""
    change = 0.0
    for arc in range(begins[node], begins[node + 1]):
        cost = costs[ids[arc]]
        change += cost if side[neighbours[arc]] == side[node] else -cost
    return change


@njit(nogil=True, cache=True)
def _cut_edges(solution: np.ndarray, side: np.ndarray, tails: np.ndarray, heads: np.ndarray) -> None:
    for e in range(tails.size):
        solution[e] = side[tails[e]] != side[heads[e]]
