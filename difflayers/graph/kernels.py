"""Numba kernels on weighted graphs in compressed-row form: building, components, contraction.

A graph is the triple ``indptr (n + 1,) INDEX``, ``neighbours (2m,) INDEX``, ``weights (2m,) float``; every
edge stands in the rows of both ends. Parallel edges may stand side by side: all readers add weights up.
"""

import numpy as np
from numba import njit

# Unsigned: Numba tests every signed index for counting from the end, which costs up to half of a loop's time.
INDEX = np.uint32


def compressed_rows(
    num_nodes: int, edges: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges (m, 2) int32 to compressed rows, O(n + m): by merging where they are few sorted runs, or sorting.

    The edges of a grid, and sorted edges, are few runs; merging them writes the rows in order, where counting
    sort jumps through memory.
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
    """Where runs begin in which neither end of the edges falls, and the end of the last; empty if many."""
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


@njit(nogil=True, cache=True)
def root_of(parent: np.ndarray, v: int) -> int:
    """The representative of the component of v; paths are halved on the way."""
    while parent[v] != v:
        parent[v] = parent[parent[v]]
        v = parent[v]
    return v


@njit(nogil=True, cache=True)
def join(parent: np.ndarray, u: int, v: int) -> None:
    """Make the components of u and v one, whose representative is its first node."""
    a, b = root_of(parent, u), root_of(parent, v)
    parent[max(a, b)] = min(a, b)


@njit(nogil=True, cache=True)
def numbered(parent: np.ndarray) -> tuple[np.ndarray, int]:
    """Components (n,) INDEX in the order of their first nodes, and how many; parents are earlier nodes."""
    component = np.empty(parent.size, INDEX)
    count = 0
    for v in range(parent.size):
        if parent[v] == v:
            component[v] = count
            count += 1
        else:
            component[v] = component[parent[v]]
    return component, count


@njit(nogil=True, cache=True)
def connected_parts(
    indptr: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, cluster: np.ndarray
) -> tuple[np.ndarray, int]:
    """Parts of the clusters that edges of positive weight connect, and how many; linear in practice.

    They are numbered in the order of their first nodes.
    """
    parent = np.arange(cluster.size).astype(INDEX)
    for v in range(cluster.size):
        for i in range(indptr[v], indptr[v + 1]):
            u = neighbours[i]
            # Most edges are inner ones of what is one tree already, so the test of parents comes first.
            if parent[u] == parent[v] or u > v or cluster[u] != cluster[v] or weights[i] <= 0:
                continue
            join(parent, u, v)
    return numbered(parent)


def contract(
    indptr: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, component: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Graph whose nodes are the components; parallel edges add up, inner edges vanish; O(n + m)."""
    grouped, grouped_weights = np.empty_like(neighbours), np.empty_like(weights)
    new_indptr = np.zeros(count + 1, INDEX)
    # One entry more than can be filled, for the one that is cleared ahead.
    new_neighbours, new_weights = np.empty_like(neighbours), np.empty(len(weights) + 1, weights.dtype)
    graph = indptr, neighbours, weights
    _contract(graph, component, grouped, grouped_weights, new_indptr, new_neighbours, new_weights)
    # Views: what was not written was never paged in, so copying would only cost time.
    return new_indptr, new_neighbours[: new_indptr[-1]], new_weights[: new_indptr[-1]]


@njit(nogil=True, cache=True)
def _contract(
    graph: tuple[np.ndarray, np.ndarray, np.ndarray],
    component: np.ndarray,
    grouped: np.ndarray,
    grouped_weights: np.ndarray,
    new_indptr: np.ndarray,
    new_neighbours: np.ndarray,
    new_weights: np.ndarray,
) -> None:
    """Write the graph of the components to the last three arrays, O(n + m).

    Both loops over the edges are free of branches: which edges are inner or parallel cannot be predicted, and
    a wrong guess costs more than the work.
    """
    indptr, neighbours, weights = graph
    num_nodes, count = component.size, new_indptr.size - 1
    start = np.zeros(count + 1, INDEX)
    for v in range(num_nodes):
        start[component[v] + 1] += indptr[v + 1] - indptr[v]
    for c in range(count):
        start[c + 1] += start[c]
    end = start[:-1].copy()
    for v in range(num_nodes):
        c = component[v]
        position = end[c]
        for i in range(indptr[v], indptr[v + 1]):
            other = component[neighbours[i]]
            grouped[position] = other
            grouped_weights[position] = weights[i]
            position += INDEX(other != c)  # an inner edge is overwritten by the next one
        end[c] = position
    # Where the row being written holds a neighbour; places before the row are of earlier rows.
    place = np.full(count, -1, np.int32)
    filled = 0
    new_weights[filled] = 0.0
    for c in range(count):
        first = filled
        for i in range(start[c], end[c]):
            other = grouped[i]
            position = INDEX(filled if place[other] < first else place[other])
            filled += position == filled
            place[other] = position
            new_neighbours[position] = other
            new_weights[position] += grouped_weights[i]
            new_weights[INDEX(filled)] = 0.0
        new_indptr[c + 1] = filled


def sum_rows(rows: np.ndarray, component: np.ndarray, count: int) -> np.ndarray:
    """Sum of the rows of every component, O(n K)."""
    total = np.zeros((count, rows.shape[1]), rows.dtype)
    _add_rows(rows, component, total)
    return total


@njit(nogil=True, cache=True)
def _add_rows(rows: np.ndarray, component: np.ndarray, total: np.ndarray) -> None:
    for v in range(component.size):
        c = component[v]
        for k in range(rows.shape[1]):
            total[c, k] += rows[v, k]
