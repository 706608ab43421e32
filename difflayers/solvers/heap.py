"""A binary heap on two arrays that the caller owns: float keys, smallest first, and an integer item per key.

The arrays have room for one entry more than the heap ever holds.
"""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def push(keys: np.ndarray, items: np.ndarray, size: int, key: float, item: int) -> None:
    """Add an item to a heap of `size` items, O(log size)."""
    _rise(keys, items, size, key, item)


@njit(nogil=True, cache=True)
def drop_first(keys: np.ndarray, items: np.ndarray, size: int) -> None:
    """Remove the first item, which the caller has read, from a heap of `size` items, O(log size).

    The gap sinks to the bottom, and the last item rises from there. To compare the last item on the way down
    would save few steps, and every comparison would be a branch that cannot be predicted.
    """
    size -= 1
    key, item = keys[size], items[size]
    keys[size] = np.inf
    gap, below = 0, 1
    while below < size:
        below += int(keys[below + 1] < keys[below])
        keys[gap] = keys[below]
        items[gap] = items[below]
        gap, below = below, 2 * below + 1
    _rise(keys, items, gap, key, item)


@njit(nogil=True, cache=True)
def _rise(keys: np.ndarray, items: np.ndarray, place: int, key: float, item: int) -> None:
    while place > 0:
        above = (place - 1) >> 1
        if keys[above] <= key:
            break
        keys[place] = keys[above]
        items[place] = items[above]
        place = above
    keys[place] = key
    items[place] = item
