"""Checks at the front door of every graph problem."""

import numpy as np
from numba import njit
from numpy.typing import DTypeLike

from difflayers._arguments import as_array


def checked_edges(edges: np.ndarray, num_nodes: int) -> np.ndarray:
    """Edge list as writable, contiguous (m, 2) int32; raises as `difflayers.amwc.AMWC` says."""
    edges = as_array("edges", edges)
    if edges.size == 0 and edges.shape in ((0,), (0, 2)):
        return np.empty((0, 2), np.int32)
    if edges.dtype.kind not in "iu":
        raise TypeError(f"edges must be integers, got {edges.dtype}")
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"edges must have shape (m, 2), got {edges.shape}")
    if len(edges) >= 2**30:
        raise ValueError(f"edges must have fewer than 2**30 rows, got {len(edges)}")
    checked = np.empty(edges.shape, np.int32)
    wrong = _copy_edges(owned(edges, np.int32 if edges.dtype == np.int32 else np.int64), num_nodes, checked)
    if wrong >= 0:
        row = edges[wrong].tolist()  # as it came: int64 holds the largest uint64 as -1
        if row[0] == row[1]:
            raise ValueError(f"edges must join different nodes, but row {wrong} is {row}")
        raise ValueError(f"edges must index nodes 0 to {num_nodes - 1}, but row {wrong} is {row}")
    return checked


@njit(nogil=True, cache=True)
def _copy_edges(edges: np.ndarray, num_nodes: int, copy: np.ndarray) -> int:
    """Copy edges to int32 and return the first row that is no edge between two nodes, -1 if all are."""
    for e in range(edges.shape[0]):
        u, v = edges[e, 0], edges[e, 1]
        if u < 0 or v < 0 or u >= num_nodes or v >= num_nodes or u == v:
            return e
        copy[e, 0] = u
        copy[e, 1] = v
    return -1


def owned(array: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    # One layout and one writability flag, so that every kernel compiles once per dtype.
    array = np.ascontiguousarray(array, dtype)
    return array if array.flags.writeable else array.copy()
