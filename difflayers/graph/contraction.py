"""Contraction: the graph whose nodes are the components of another graph."""

import numpy as np
from numba import njit
from numba.extending import register_jitable

from difflayers.graph.rows import INDEX


@register_jitable
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


@register_jitable
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
