"""Numba kernels on weighted graphs in compressed-row form: building, components, contraction.

A graph is the triple ``indptr (n + 1,) int32``, ``neighbours (2m,) int32``, ``weights (2m,) float``; every
edge stands in the rows of both ends. Parallel edges may stand side by side: all readers add weights up.
"""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def compressed_rows(
    num_nodes: int, edges: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edge list to compressed rows by counting sort, O(n + m)."""
    num_edges = edges.shape[0]
    indptr = np.zeros(num_nodes + 1, np.int32)
    for e in range(num_edges):
        indptr[edges[e, 0] + 1] += 1
        indptr[edges[e, 1] + 1] += 1
    for v in range(num_nodes):
        indptr[v + 1] += indptr[v]
    position = indptr[:-1].copy()
    neighbours = np.empty(2 * num_edges, np.int32)
    sorted_weights = np.empty(2 * num_edges, weights.dtype)
    for e in range(num_edges):
        u, v, w = edges[e, 0], edges[e, 1], weights[e]
        neighbours[position[u]] = v
        sorted_weights[position[u]] = w
        position[u] += 1
        neighbours[position[v]] = u
        sorted_weights[position[v]] = w
        position[v] += 1
    return indptr, neighbours, sorted_weights


@njit(nogil=True, cache=True)
def attractive_components(
    indptr: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, cluster: np.ndarray
) -> tuple[np.ndarray, int]:
    """Components of the positive edges inside clusters, numbered by first node, O(n + m)."""
    num_nodes = cluster.size
    component = np.full(num_nodes, -1, np.int32)
    stack = np.empty(num_nodes, np.int32)
    count = 0
    for root in range(num_nodes):
        if component[root] >= 0:
            continue
        component[root] = count
        stack[0] = root
        height = 1
        while height:
            height -= 1
            v = stack[height]
            for i in range(indptr[v], indptr[v + 1]):
                u = neighbours[i]
                if component[u] < 0 and weights[i] > 0 and cluster[u] == cluster[v]:
                    component[u] = count
                    stack[height] = u
                    height += 1
        count += 1
    return component, count


@njit(nogil=True, cache=True)
def contract(
    indptr: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, component: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Graph whose nodes are the components; parallel edges add up, inner edges vanish; O(n + m)."""
    num_nodes = component.size
    start = np.zeros(count + 1, np.int32)
    for v in range(num_nodes):
        start[component[v] + 1] += 1
    for c in range(count):
        start[c + 1] += start[c]
    position = start[:-1].copy()
    members = np.empty(num_nodes, np.int32)
    for v in range(num_nodes):
        members[position[component[v]]] = v
        position[component[v]] += 1
    new_indptr = np.zeros(count + 1, np.int32)
    new_neighbours = np.empty(neighbours.size, np.int32)
    # Inner edges add up in one place past the end, which saves the loop an unpredictable branch.
    inner = neighbours.size
    new_weights = np.zeros(inner + 1, weights.dtype)
    # Where the row being written holds a neighbour; places before the row are of earlier rows.
    place = np.full(count, -1, np.int32)
    filled = 0
    for c in range(count):
        first = filled
        place[c] = inner
        for j in range(start[c], start[c + 1]):
            v = members[j]
            for i in range(indptr[v], indptr[v + 1]):
                other = component[neighbours[i]]
                if place[other] >= first:
                    new_weights[place[other]] += weights[i]
                else:
                    place[other] = filled
                    new_neighbours[filled] = other
                    new_weights[filled] = weights[i]
                    filled += 1
        place[c] = -1
        new_indptr[c + 1] = filled
    # Views: what was not written was never paged in, so copying would only cost time.
    return new_indptr, new_neighbours[:filled], new_weights[:filled]


@njit(nogil=True, cache=True)
def sum_rows(rows: np.ndarray, component: np.ndarray, count: int) -> np.ndarray:
    """Sum of the rows of every component, O(n K)."""
    total = np.zeros((count, rows.shape[1]), rows.dtype)
    for v in range(component.size):
        c = component[v]
        for k in range(rows.shape[1]):
            total[c, k] += rows[v, k]
    return total
