"""Conflicted cycles (Lange et al. 2018): one edge repels, the others attract, so that one has to give in.

A fractional point says to what share every edge gives in. A cycle is open if its shares add up to less
than 1.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from difflayers.graph.compiling import borrowing
from difflayers.graph.rows import INDEX, compressed_rows

# A little length for every edge prefers short cycles, which leave more room for others.
_STEP = 1e-2
# A search round a repulsive edge ends after so many edges.
_EDGES_PER_SEARCH = 2000
# All searches together end after so many edges, a few seconds.
_EDGES_IN_ALL = 400_000_000
# Edges round which no open cycle was found rest for one, then two, four and eight calls.
_LONGEST_REST = 8
# Edges to search round in a call of the kernel, a second's work at most, and room for as many cycles.
_AT_ONCE, _LENGTH = 1 << 14, 16


class Cycles(NamedTuple):
    """Cycles, each from its repulsive edge on.

    Attributes:
        start: (c + 1,) int64, where the members of each cycle begin, and where those of the last end.
        members: (start[-1],) uint32, numbers of edges.
    """

    start: np.ndarray
    members: np.ndarray

    def __add__(self, other: "Cycles") -> "Cycles":  # type: ignore[override]
        start = np.concatenate([self.start, self.start[-1] + other.start[1:]])
        return Cycles(start, np.concatenate([self.members, other.members]))


NO_CYCLES = Cycles(np.zeros(1, np.int64), np.empty(0, INDEX))


class OpenCycles:
    """The search for open cycles of a graph.

    Args:
        num_nodes: the number n of nodes.
        edges: (m, 2) int32.
        costs: (m,) finite; their signs say which edges attract or repel.
    """

    def __init__(self, num_nodes: int, edges: np.ndarray, costs: np.ndarray) -> None:
        self.edges = edges
        self.repulsive: np.ndarray = np.flatnonzero(costs < 0.0)
        attractive = np.flatnonzero(costs > 0.0).astype(INDEX)
        self.attraction = compressed_rows(num_nodes, edges[attractive], attractive)
        self.rest: np.ndarray = np.zeros((2, len(costs)), np.int8)
        degree = int(np.diff(self.attraction[0].astype(np.int64)).max(initial=0))
        room = _EDGES_PER_SEARCH + degree + 2
        distance, keys = np.full((2, num_nodes), np.inf), np.empty((2, room))
        step, touched, items = (np.empty((2, size), INDEX) for size in (num_nodes, num_nodes, room))
        self.left: int = _EDGES_IN_ALL
        self.scratch = distance, step, touched, keys, items

    def find(self, shares: np.ndarray, tolerance: float) -> Cycles:
        """Return at most one cycle round every repulsive edge whose shares add up to less than 1.

        Args:
            shares: (m,) how far each edge gives in, 0 to 1.
            tolerance: by how much less than 1.
        """
        lengths = shares + _STEP
        most = 1.0 - tolerance - shares[self.repulsive]
        tried = self.repulsive[(most > 0.0) & (self.rest[1, self.repulsive] == 0)]
        self.rest[1] -= self.rest[1] > 0
        found = NO_CYCLES
        begin = 0
        while begin < len(tried) and self.left > 0:
            some = tried[begin : begin + _AT_ONCE]
            start = np.zeros(len(some) + 1, np.int64)
            members = np.empty(_LENGTH * len(some) + int(1.0 / _STEP) + 2, INDEX)
            limits = 1.0 - tolerance - shares[some]
            done, count, looks = _find(
                self.attraction, self.edges, lengths, some, limits, self.rest, self.scratch, start, members
            )
            found += Cycles(start[: count + 1], members[: start[count]])
            begin, self.left = begin + done, self.left - looks
        return found


@njit(nogil=True, cache=True)
def _find(
    graph: tuple[np.ndarray, np.ndarray, np.ndarray],
    edges: np.ndarray,
    lengths: np.ndarray,
    tried: np.ndarray,
    limits: np.ndarray,
    rest: np.ndarray,
    scratch: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    start: np.ndarray,
    members: np.ndarray,
) -> tuple[int, int, int]:
    """Search from both ends of each edge until `members` is full.

    Returns how many edges were tried, how many cycles found, and how many edges looked at.
    """
    indptr, neighbours, edge_of = graph
    distance, step, touched, keys, items = scratch
    longest = int(1.0 / _STEP) + 2
    reached, waiting = np.zeros(2, np.int64), np.zeros(2, np.int64)
    count = filled = looks = 0
    for number in range(tried.size):
        if filled + longest > members.size:
            return number, count, looks
        e = tried[number]
        limit, middle, left = limits[number], -1, _EDGES_PER_SEARCH
        for side in range(2):
            distance[side, edges[e, side]] = 0.0
            touched[side, 0], reached[side] = edges[e, side], 1
            keys[side, 0], items[side, 0], waiting[side] = 0.0, edges[e, side], 1
        while left > 0 and waiting[0] > 0 and waiting[1] > 0 and keys[0, 0] + keys[1, 0] < limit:
            side = 0 if waiting[0] <= waiting[1] else 1
            key, v = keys[side, 0], items[side, 0]
            waiting[side] -= 1
            _sink(keys, items, side, waiting[side])
            if key > distance[side, v]:
                continue
            for i in range(indptr[v], indptr[v + 1]):
                left -= 1
                u, f = neighbours[i], edge_of[i]
                longer = distance[side, v] + lengths[f]
                if longer < limit and longer < distance[side, u]:
                    if distance[side, u] == np.inf:
                        touched[side, reached[side]] = u
                        reached[side] += 1
                    distance[side, u] = longer
                    step[side, u] = f
                    _rise(keys, items, side, waiting[side], longer, u)
                    waiting[side] += 1
                    if longer + distance[1 - side, u] < limit:
                        limit, middle = longer + distance[1 - side, u], u
        if middle >= 0:
            members[filled] = e
            filled += 1
            for side in range(2):
                v = middle
                while v != edges[e, side]:
                    f = step[side, v]
                    members[filled] = f
                    filled += 1
                    v = edges[f, 0] + edges[f, 1] - v
            count += 1
            start[count] = filled
            rest[0, e] = 0
        else:
            rest[0, e] = min(max(1, 2 * rest[0, e]), _LONGEST_REST)
            rest[1, e] = rest[0, e]
        looks += _EDGES_PER_SEARCH - left
        for side in range(2):
            for j in range(reached[side]):
                distance[side, touched[side, j]] = np.inf
    return tried.size, count, looks


@borrowing
def _rise(keys: np.ndarray, items: np.ndarray, side: int, i: int, key: float, item: int) -> None:
    """Put an item into one side's heap of i items, O(log i)."""
    while i > 0 and keys[side, (i - 1) >> 1] > key:
        above = (i - 1) >> 1
        keys[side, i], items[side, i] = keys[side, above], items[side, above]
        i = above
    keys[side, i], items[side, i] = key, item


@borrowing
def _sink(keys: np.ndarray, items: np.ndarray, side: int, size: int) -> None:
    """Replace the top of one side's heap by the item behind its last one, O(log size)."""
    key, item = keys[side, size], items[side, size]
    i = 0
    while 2 * i + 1 < size:
        child = 2 * i + 1
        if child + 1 < size and keys[side, child + 1] < keys[side, child]:
            child += 1
        if keys[side, child] >= key:
            break
        keys[side, i], items[side, i] = keys[side, child], items[side, child]
        i = child
    keys[side, i], items[side, i] = key, item
