"""Pairs of voxels of different regions: which regions meet how often, and where.

A scan of an offset is the triple `starts (r,) int64, length, step`: row i of it holds the voxels
`starts[i] + j` for j below the length, in row-major order, each of which has a partner `step` further on.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numba import njit

from difflayers.graph.edges import flat_steps, offset_box

Scan = tuple[np.ndarray, int, int]


def scans(shape: tuple[int, ...], offsets: np.ndarray) -> list[Scan]:
    """The scan of every offset (k, d)."""
    strides = np.cumprod([1, *shape[:0:-1]], dtype=np.int64)[::-1]
    found = []
    for offset, step in zip(offsets.tolist(), flat_steps(shape, offsets).tolist(), strict=True):
        box, _ = offset_box(shape, offset)
        places = [
            np.arange(s.start, s.stop) * stride for s, stride in zip(box, strides.tolist(), strict=True)
        ]
        starts = reduce(np.add.outer, places[:-1], np.int64(box[-1].start))
        found.append((np.ravel(starts), box[-1].stop - box[-1].start, step))
    return found


def unit_offsets(dimension: int) -> np.ndarray:
    """The offsets (d, d) of the next voxel along each axis."""
    return np.eye(dimension, dtype=np.int64)


def meeting_pairs(nodes: np.ndarray, along: Sequence[Scan]) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (m, 2) int64 of regions that meet along the scans, sorted, the lesser first, and how often (m,).

    Args:
        nodes: (N,) int32, the region of every voxel, negative outside of all regions.
        along: the scans.
    """
    keys = [np.empty(0, np.int64)]
    for starts, length, step in along:
        found = np.empty(_num_contacts(nodes, starts, length, step), np.int64)
        keys.append(found[: _write_keys(nodes, starts, length, step, found)])
    # Sorting is quicker than a hash table, which jumps through memory; NumPy sorts integers by vectors.
    ordered = np.sort(np.concatenate(keys))
    begins = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])[: ordered.size]
    pairs = ordered[begins]
    counts = np.diff(begins, append=ordered.size)
    return np.stack([pairs >> 32, pairs & 0xFFFFFFFF], axis=1), counts


def contacts(
    nodes: np.ndarray, scan: Scan, edges: np.ndarray, first_edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Edge (c,) int32 and first voxel (c,) int64 of every pair of voxels of a scan that an edge joins.

    Args:
        nodes: (N,) int32, as `meeting_pairs` takes them.
        scan: the scan.
        edges: (m, 2) int64, sorted, the lesser node first.
        first_edges: (n + 1,) int64, for each node the first edge of which it is the lesser node.
    """
    starts, length, step = scan
    heads = edges[:, 1].astype(np.int32)
    size = _num_contacts(nodes, starts, length, step)
    edge, first = np.empty(size, np.int32), np.empty(size, np.int64)
    filled = _find(nodes, starts, length, step, heads, first_edges, edge, first)
    return edge[:filled], first[:filled]


@njit(nogil=True, cache=True)
def _num_contacts(nodes: np.ndarray, starts: np.ndarray, length: int, step: int) -> int:
    count = 0
    for start in starts:
        for i in range(start, start + length):
            count += nodes[i] != nodes[i + step]
    return count


@njit(nogil=True, cache=True)
def _write_keys(nodes: np.ndarray, starts: np.ndarray, length: int, step: int, keys: np.ndarray) -> int:
    """Write the pair of regions of every contact as one number, and return how many there are."""
    filled = 0
    for start in starts:
        for i in range(start, start + length):
            a, b = nodes[i], nodes[i + step]
            if a != b and a >= 0 and b >= 0:
                keys[filled] = (np.int64(min(a, b)) << 32) | np.int64(max(a, b))
                filled += 1
    return filled


@njit(nogil=True, cache=True)
def _find(
    nodes: np.ndarray,
    starts: np.ndarray,
    length: int,
    step: int,
    heads: np.ndarray,
    first_edges: np.ndarray,
    edge: np.ndarray,
    first: np.ndarray,
) -> int:
    """Write edge and first voxel of the pairs of a scan that edges join, and return how many there are."""
    filled = 0
    last_u, last_v, last_edge = -1, -1, -1
    for start in starts:
        for i in range(start, start + length):
            a, b = nodes[i], nodes[i + step]
            if a == b or a < 0 or b < 0:
                continue
            u, v = min(a, b), max(a, b)
            if u != last_u or v != last_v:
                last_u, last_v, last_edge = u, v, _place(heads, first_edges[u], first_edges[u + 1], v)
            if last_edge >= 0:
                edge[filled] = last_edge
                first[filled] = i
                filled += 1
    return filled


@njit(nogil=True, cache=True)
def _place(heads: np.ndarray, low: int, high: int, v: int) -> int:
    """Where v stands in the sorted heads from low to high, -1 if nowhere."""
    # Most regions have few neighbours, which are quicker looked through than halved.
    while high - low > 16:
        middle = (low + high) // 2
        if heads[middle] <= v:
            low = middle
        else:
            high = middle
    for i in range(low, high):
        if heads[i] == v:
            return i
    return -1
