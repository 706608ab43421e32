"""Numba kernels on graphs with lifted edges: merging in rounds and contraction.

A graph is `indptr (n + 1,) INDEX`, `neighbours (r,) INDEX`, `weights (r,) float` and `base (r,)
uint8`: edges and lifted edges alike stand in the rows of both their ends, `base` marks the edges, and
parallel ones may stand side by side.
"""

import numpy as np
from numba import njit
from numba.extending import register_jitable

from difflayers.graph.components import join, numbered
from difflayers.graph.rows import INDEX


@njit(nogil=True, cache=True)
def merge_partners(
    indptr: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, base: np.ndarray, patience: float
) -> tuple[np.ndarray, int]:
    """Component (n,) of every node after one round of greedy contraction, and their number, O(rows).

    A node's partner is the neighbour by an edge to which all its edges and lifted edges together weigh most,
    if that is positive. Two nodes merge if each is the other's partner, or if one is the other's partner and
    weighs no less than `patience` times what the other's own partner does. Rows must have no parallels.
    """
    num_nodes = indptr.size - 1
    partner = np.full(num_nodes, -1, np.int32)
    weight = np.zeros(num_nodes, weights.dtype)
    for v in range(num_nodes):
        for i in range(indptr[v], indptr[v + 1]):
            if not base[i] or weights[i] <= 0.0 or weights[i] < weight[v]:
                continue
            u = neighbours[i]
            # Equal weights go by an order of the pairs that both ends share, so that some pair always merges.
            if weights[i] > weight[v] or _before(v, u, v, partner[v]):
                partner[v] = u
                weight[v] = weights[i]
    parent = np.arange(num_nodes).astype(INDEX)
    for v in range(num_nodes):
        u = partner[v]
        if u >= 0 and (partner[u] == v or weight[v] >= patience * weight[u]):
            join(parent, u, v)
    return numbered(parent)


@njit(nogil=True, cache=True)
def _before(a: int, b: int, c: int, d: int) -> bool:
    low, other = min(a, b), min(c, d)
    return low < other or (low == other and max(a, b) < max(c, d))


@register_jitable
def contract(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    weights: np.ndarray,
    base: np.ndarray,
    component: np.ndarray,
    count: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Graph of the components: weights of parallels add up, one edge among them makes an edge, O(rows)."""
    # As in `difflayers.graph.contraction`: an entry more for the one that is cleared ahead, and views.
    new_indptr, new_neighbours = np.zeros(count + 1, INDEX), np.empty(neighbours.size + 1, INDEX)
    new_weights, new_base = np.empty(weights.size + 1, weights.dtype), np.empty(base.size + 1, base.dtype)
    graph = indptr, neighbours, weights, base
    _contract(graph, component, new_indptr, new_neighbours, new_weights, new_base)
    filled = new_indptr[-1]
    return new_indptr, new_neighbours[:filled], new_weights[:filled], new_base[:filled]


@njit(nogil=True, cache=True)
def _contract(
    graph: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    component: np.ndarray,
    new_indptr: np.ndarray,
    new_neighbours: np.ndarray,
    new_weights: np.ndarray,
    new_base: np.ndarray,
) -> None:
    indptr, neighbours, weights, base = graph
    num_nodes, count = component.size, new_indptr.size - 1
    start = np.zeros(count + 1, INDEX)
    for v in range(num_nodes):
        start[component[v] + 1] += 1
    for c in range(count):
        start[c + 1] += start[c]
    end = start[:-1].copy()
    members = np.empty(num_nodes, INDEX)
    for v in range(num_nodes):
        members[end[component[v]]] = v
        end[component[v]] += 1
    # Where the row being written holds a neighbour; places before the row are of earlier rows. Entries of the
    # component itself go past the end of all rows. There is no branch that could be mispredicted.
    place = np.full(count, -1, np.int32)
    past = neighbours.size
    filled = 0
    new_weights[filled], new_base[filled] = 0.0, 0
    for c in range(count):
        first = filled
        place[c] = past
        for j in range(start[c], start[c + 1]):
            v = members[j]
            for i in range(indptr[v], indptr[v + 1]):
                other = component[neighbours[i]]
                position = INDEX(filled if place[other] < first else place[other])
                filled += position == filled
                place[other] = position
                new_neighbours[position] = other
                new_weights[position] += weights[i]
                new_base[position] |= base[i]
                new_weights[INDEX(filled)], new_base[INDEX(filled)] = 0.0, 0
        place[c] = -1
        new_indptr[c + 1] = filled
