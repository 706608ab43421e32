"""A heap of edges, the strongest on top, in which strengths may change."""

from typing import NamedTuple

import numpy as np
from numba import njit


class Heap(NamedTuple):
    """Edges in the order of a binary heap; of equally strong ones, the earliest is on top.

    Args:
        strength: (m,) float64, what the edges are ordered by.
        items: (m,) int32, the edges in the heap.
        place: (m,) int32, where an edge stands among the items, -1 if it is in the heap no longer.
        size: (1,) int64, number of edges in the heap.
    """

    strength: np.ndarray
    items: np.ndarray
    place: np.ndarray
    size: np.ndarray


@njit(nogil=True, cache=True)
def make_heap(strength: np.ndarray, edges: np.ndarray) -> Heap:
    """The heap of some of the edges (k,) int32, O(m)."""
    items, place = edges.copy(), np.full(strength.size, -1, np.int32)
    heap = Heap(strength, items, place, np.array([items.size]))
    for i in range(items.size):
        place[items[i]] = i
    for i in range(items.size // 2 - 1, -1, -1):
        _sink(heap, i)
    return heap


@njit(nogil=True, cache=True)
def remove(heap: Heap, edge: int) -> None:
    """Take an edge out of the heap, if it is in there, O(log m)."""
    i = heap.place[edge]
    if i < 0:
        return
    heap.place[edge] = -1
    heap.size[0] -= 1
    moved = heap.items[heap.size[0]]
    if moved != edge:
        heap.items[i] = moved
        heap.place[moved] = i
        update(heap, moved)


@njit(nogil=True, cache=True)
def update(heap: Heap, edge: int) -> None:
    """Move an edge of the heap to where its strength belongs, O(log m)."""
    _rise(heap, heap.place[edge])
    _sink(heap, heap.place[edge])


@njit(nogil=True, cache=True)
def _before(heap: Heap, a: int, b: int) -> bool:
    return heap.strength[a] > heap.strength[b] or (heap.strength[a] == heap.strength[b] and a < b)


@njit(nogil=True, cache=True)
def _rise(heap: Heap, i: int) -> None:
    items, edge = heap.items, heap.items[i]
    while i > 0 and _before(heap, edge, items[(i - 1) // 2]):
        items[i] = items[(i - 1) // 2]
        heap.place[items[i]] = i
        i = (i - 1) // 2
    items[i] = edge
    heap.place[edge] = i


@njit(nogil=True, cache=True)
def _sink(heap: Heap, i: int) -> None:
    items, size, edge = heap.items, heap.size[0], heap.items[i]
    while 2 * i + 1 < size:
        child = 2 * i + 1
        if child + 1 < size and _before(heap, items[child + 1], items[child]):
            child += 1
        if not _before(heap, items[child], edge):
            break
        items[i] = items[child]
        heap.place[items[i]] = i
        i = child
    items[i] = edge
    heap.place[edge] = i
