"""Graphs in compressed rows: what all kernels on graphs read, and how it is built from edges.

A graph is the triple `indptr (n + 1,) INDEX`, `neighbours (2m,) INDEX`, `weights (2m,) float`. Every edge
stands in the rows of both its ends. Parallel edges may stand side by side, so readers add up their weights.
"""

import numpy as np
from numba import njit

# Unsigned: Numba tests every signed index for counting from the end, which costs up to half of a loop's time.
INDEX = np.uint32


def compressed_rows(
    num_nodes: int, edges: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn edges (m, 2) int32 into compressed rows, O(n + m).

    The edges of a grid, and sorted edges, consist of few sorted runs. These are merged, which writes the rows
    in order. Other edges are sorted by counting, which jumps through memory.
    """
    edges = edges.view(INDEX)
    # Large arrays are made out here: unlike a kernel, NumPy asks for huge pages, which are quicker to get.
    indptr = np.zeros(num_nodes + 1, INDEX)
    neighbours, sorted_weights = np.empty(2 * len(edges), INDEX), np.empty(2 * len(edges), weights.dtype)
    starts = sorted_runs(edges)
    if len(starts) > 1:
        _merge_runs(edges, weights, starts, indptr, neighbours, sorted_weights)
    else:
        _counting_sort(edges, weights, indptr, neighbours, sorted_weights)
    return indptr, neighbours, sorted_weights


# More runs than this are not worth merging: every node looks at every run.
_MOST_RUNS = 32


@njit(nogil=True, cache=True)
def sorted_runs(edges: np.ndarray) -> np.ndarray:
    """Return where the sorted runs begin, and the end of the last one; empty if there are too many.

    In a sorted run, neither the first nor the second ends of the edges ever decrease.
    """
    starts = np.empty(_MOST_RUNS + 1, np.int32)
    count, tail, head = 0, 0, 0
    for e in range(edges.shape[0]):
        if count == 0 or edges[e, 0] < tail or edges[e, 1] < head:
            if count == _MOST_RUNS:
                return starts[:0]
            starts[count] = e
            count += 1
        tail, head = edges[e, 0], edges[e, 1]
    starts[count] = edges.shape[0]
    return starts[: count + 1]


@njit(nogil=True, cache=True)
def _merge_runs(
    edges: np.ndarray,
    weights: np.ndarray,
    starts: np.ndarray,
    indptr: np.ndarray,
    neighbours: np.ndarray,
    sorted_weights: np.ndarray,
) -> None:
    num_nodes = indptr.size - 1
    runs = starts.size - 1
    # For each side and run the next edge, and the node at that side of it.
    place = np.empty((2, runs), INDEX)
    node = np.empty((2, runs), INDEX)
    for side in range(2):
        for r in range(runs):
            place[side, r] = starts[r]
            node[side, r] = edges[starts[r], side]
    filled = INDEX(0)
    for v in range(num_nodes):
        for side in range(2):
            for r in range(runs):
                while node[side, r] == v:
                    e = place[side, r]
                    neighbours[filled] = edges[e, 1 - side]
                    sorted_weights[filled] = weights[e]
                    filled = INDEX(filled + 1)
                    place[side, r] = following = INDEX(e + 1)
                    node[side, r] = edges[following, side] if following < starts[r + 1] else num_nodes
        indptr[v + 1] = filled


@njit(nogil=True, cache=True)
def _counting_sort(
    edges: np.ndarray,
    weights: np.ndarray,
    indptr: np.ndarray,
    neighbours: np.ndarray,
    sorted_weights: np.ndarray,
) -> None:
    num_nodes, num_edges = indptr.size - 1, edges.shape[0]
    for e in range(num_edges):
        indptr[edges[e, 0] + 1] += 1
        indptr[edges[e, 1] + 1] += 1
    for v in range(num_nodes):
        indptr[v + 1] += indptr[v]
    position = indptr[:-1].copy()
    for e in range(num_edges):
        u, v, w = edges[e, 0], edges[e, 1], weights[e]
        neighbours[position[u]] = v
        sorted_weights[position[u]] = w
        position[u] += 1
        neighbours[position[v]] = u
        sorted_weights[position[v]] = w
        position[v] += 1
