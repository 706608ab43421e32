"""Travelling salesman: the cheapest round tour through all nodes of a complete graph."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit

from difflayers._arguments import count
from difflayers.solver import Array
from difflayers.solvers.batch import check_threads, solve_batch

# The table of Held and Karp has 2^(n - 1) (n - 1) entries, 229 376 at this size.
MAX_EXACT = 15
MAX_SEGMENT = 3
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class TravellingSalesman:
    """The round tour of least cost that visits every node once, in either direction.

    Exact up to 15 nodes, by the dynamic programme of Held and Karp in O(2^n n²). Beyond that the best of
    several nearest-neighbour tours, each improved by 2-opt and Or-opt until neither gains.

    Args:
        num_nodes: number n ≥ 3 of nodes.
        starts: number of tours to improve beyond 15 nodes; each begins at another node.
        n_threads: threads among which a batch is shared out.

    Attributes:
        edges: (m, 2) int32, the m = n (n - 1) / 2 pairs of nodes (0, 1), (0, 2), … to which the costs belong.

    Raises:
        ValueError: an argument is out of range.
    """

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
            _shortest_tours if self.exact else _improved_tours,
            costs,
            (len(self.edges),),
            (self.num_nodes, min(self.starts, self.num_nodes)),
            failure="no tour of finite cost" + ("" if self.exact else " was found"),
            n_threads=self.n_threads,
        )


@njit(nogil=True, cache=True)
def _shortest_tours(costs: np.ndarray, solutions: np.ndarray, num_nodes: int, starts: int) -> int:
    """Held and Karp: cheapest path from the last node through a set of nodes to one of them, O(2^n n²)."""
    others = num_nodes - 1
    between = np.empty((num_nodes, num_nodes))
    path = np.empty((1 << others, others))
    tour = np.empty(num_nodes, np.int64)
    for row in range(len(costs)):
        _fill_matrix(costs[row], between)
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
        _mark_tour(solutions[row], tour)
    return -1


@njit(nogil=True, cache=True)
def _improved_tours(costs: np.ndarray, solutions: np.ndarray, num_nodes: int, starts: int) -> int:
    """Nearest-neighbour tours from evenly spread nodes, improved to local optima; O(n²) a round of moves."""
    between = np.empty((num_nodes, num_nodes))
    best_tour = np.empty(num_nodes, np.int64)
    for row in range(len(costs)):
        large = _replace_infinite(_fill_matrix(costs[row], between), between)
        best = np.inf
        for start in range(starts):
            tour = _nearest_neighbour_tour(between, start * num_nodes // starts)
            improved = True
            while improved:
                improved = _two_opt(between, tour) | _or_opt(between, tour)
            length = between[tour[-1], tour[0]]
            for place in range(1, num_nodes):
                length += between[tour[place - 1], tour[place]]
            if length < best:
                best = length
                best_tour[:] = tour
        for place in range(num_nodes):
            if between[best_tour[place - 1], best_tour[place]] >= large:
                return row
        _mark_tour(solutions[row], best_tour)
    return -1


@njit(nogil=True, cache=True)
def _fill_matrix(costs: np.ndarray, between: np.ndarray) -> float:
    """Write the costs of pairs into a symmetric matrix; returns the sum of the finite magnitudes."""
    num_nodes, edge, total = len(between), 0, 0.0
    for v in range(num_nodes):
        between[v, v] = 0
        for w in range(v + 1, num_nodes):
            between[v, w] = between[w, v] = costs[edge]
            if costs[edge] < np.inf:
                total += abs(costs[edge])
            edge += 1
    return total


@njit(nogil=True, cache=True)
def _replace_infinite(total: float, between: np.ndarray) -> float:
    """Give forbidden pairs a cost, returned, above that of all tours, so that differences stay numbers."""
    large = 2 * total + 1
    for v in range(len(between)):
        for w in range(len(between)):
            if between[v, w] == np.inf:
                between[v, w] = large
    return large


@njit(nogil=True, cache=True)
def _nearest_neighbour_tour(between: np.ndarray, start: int) -> np.ndarray:
    """Always on to the nearest node not yet visited, O(n²)."""
    tour = np.arange(len(between))
    tour[0], tour[start] = start, 0
    for place in range(1, len(tour)):
        nearest = place
        for candidate in range(place + 1, len(tour)):
            if between[tour[place - 1], tour[candidate]] < between[tour[place - 1], tour[nearest]]:
                nearest = candidate
        tour[place], tour[nearest] = tour[nearest], tour[place]
    return tour


@njit(nogil=True, cache=True)
def _two_opt(between: np.ndarray, tour: np.ndarray) -> bool:
    """One round of reversing stretches of the tour where that is cheaper, O(n²) and the reversals."""
    improved = False
    num_nodes = len(tour)
    for first in range(num_nodes - 1):
        for last in range(first + 1, num_nodes - (first == 0)):
            before, after = tour[first - 1], tour[(last + 1) % num_nodes]
            gain = (
                between[before, tour[first]]
                + between[tour[last], after]
                - between[before, tour[last]]
                - between[tour[first], after]
            )
            if gain > ROUNDING * (abs(between[before, tour[first]]) + abs(between[tour[last], after])):
                tour[first : last + 1] = tour[first : last + 1][::-1].copy()
                improved = True
    return improved


@njit(nogil=True, cache=True)
def _or_opt(between: np.ndarray, tour: np.ndarray) -> bool:
    """One round of moving up to three consecutive nodes elsewhere, either way round, O(n²) and the moves."""
    improved = False
    num_nodes = len(tour)
    for length in range(1, MAX_SEGMENT + 1):
        for _ in range(num_nodes):
            # The segment always stands at the end; turning the tour brings the next one there.
            tour[:] = np.concatenate((tour[1:], tour[:1]))
            rest = num_nodes - length
            head, tail = tour[rest], tour[-1]
            saved = between[tour[rest - 1], head] + between[tail, tour[0]] - between[tour[rest - 1], tour[0]]
            best, at, turned = saved - ROUNDING * abs(saved), -1, False
            for place in range(1, rest):
                before, after = tour[place - 1], tour[place]
                joint = between[before, after]
                straight = between[before, head] + between[tail, after] - joint
                reverse = between[before, tail] + between[head, after] - joint
                if min(straight, reverse) < best:
                    best, at, turned = min(straight, reverse), place, reverse < straight
            if at >= 0:
                segment = tour[rest:].copy()
                if turned:
                    segment = segment[::-1].copy()
                tour[at + length :] = tour[at:rest].copy()
                tour[at : at + length] = segment
                improved = True
    return improved


@njit(nogil=True, cache=True)
def _mark_tour(solution: np.ndarray, tour: np.ndarray) -> None:
    num_nodes = len(tour)
    for place in range(num_nodes):
        v, w = min(tour[place - 1], tour[place]), max(tour[place - 1], tour[place])
        # Number of pairs before those of v, and on from (v, v + 1).
        solution[v * num_nodes - v * (v + 1) // 2 + w - v - 1] = 1
