"""A heap of edges, the strongest on top, in which strengths may change."""

from typing import NamedTuple

import numpy as np
from numba import njit


class Heap(NamedTuple):
    """Edges in the order of a binary heap; of equally strong ones, the earliest is on top.

    Args:
        strengths: (m,) float64, the strengths of the items.
        items: (m,) int32, the edges in the heap.
        place: (m,) int32, where an edge stands among the items, -1 if it is not in the heap.
        size: (1,) int64, number of edges in the heap.
    """

    strengths: np.ndarray
    items: np.ndarray
    place: np.ndarray
    size: np.ndarray


@njit(nogil=True, cache=True)
def empty_heap(num_edges: int) -> Heap:
    """An empty heap with room for all of `num_edges` edges."""
    items, place = np.empty(num_edges, np.int32), np.full(num_edges, -1, np.int32)
    return Heap(np.empty(num_edges), items, place, np.zeros(1, np.int64))


@njit(nogil=True, cache=True)
def insert(heap: Heap, edge: int, strength: float) -> None:
    """Put an edge into the heap, or move it to where its new strength belongs, O(log m)."""
    if heap.place[edge] < 0:
        _put(heap, heap.size[0], edge, strength)
        heap.size[0] += 1
    else:
        heap.strengths[heap.place[edge]] = strength
    _rise(heap, heap.place[edge])
    _sink(heap, heap.place[edge])


@njit(nogil=True, cache=True)
def remove(heap: Heap, edge: int) -> None:
    """Take an edge out of the heap, if it is in there, O(log m)."""
    i = heap.place[edge]
    if i < 0:
        return
    heap.place[edge] = -1
    heap.size[0] -= 1
    last = heap.size[0]
    if i != last:
        moved = heap.items[last]
        _put(heap, i, moved, heap.strengths[last])
        _rise(heap, i)
        _sink(heap, heap.place[moved])


@njit(nogil=True, cache=True)
def _put(heap: Heap, i: int, edge: int, strength: float) -> None:
    heap.items[i], heap.strengths[i] = edge, strength
    heap.place[edge] = i


@njit(nogil=True, cache=True)
def _rise(heap: Heap, i: int) -> None:
    edge, strength = heap.items[i], heap.strengths[i]
    while i > 0:
        above = (i - 1) >> 1
        if not _before(strength, edge, heap.strengths[above], heap.items[above]):
            break
        _put(heap, i, heap.items[above], heap.strengths[above])
        i = above
    _put(heap, i, edge, strength)


@njit(nogil=True, cache=True)
def _sink(heap: Heap, i: int) -> None:
    edge, strength, size = heap.items[i], heap.strengths[i], heap.size[0]
    while 2 * i + 1 < size:
        child = 2 * i + 1
        if child + 1 < size and _before(
            heap.strengths[child + 1], heap.items[child + 1], heap.strengths[child], heap.items[child]
        ):
            child += 1
        if not _before(heap.strengths[child], heap.items[child], strength, edge):
            break
        _put(heap, i, heap.items[child], heap.strengths[child])
        i = child
    _put(heap, i, edge, strength)


@njit(nogil=True, cache=True)
def _before(strength: float, edge: int, other_strength: float, other: int) -> bool:
    return strength > other_strength or (strength == other_strength and edge < other)
