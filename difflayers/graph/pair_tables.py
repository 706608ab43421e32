"""Hash tables of pairs of nodes: arrays of int64 keys, -1 where empty, with a power of two as size."""

from typing import Any

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def key_of(u: int, v: int) -> Any:
    """The number of a pair, the same in both orders."""
    return (np.int64(min(u, v)) << 32) | np.int64(max(u, v))


@njit(nogil=True, cache=True)
def slot_of(table: np.ndarray, key: int) -> Any:
    """Where the table holds a key, or the empty place where the key belongs."""
    # Fibonacci hashing.
    mask = table.size - 1
    slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
    while table[slot] >= 0 and table[slot] != key:
        slot = (slot + 1) & mask
    return slot
