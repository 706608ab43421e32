"""Greedy merging in rounds: neighbouring clusters that are each other's best partner become one."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def merge_partners(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    weights: np.ndarray,
    node_costs: np.ndarray,
    thing: np.ndarray,
    stuff: np.ndarray,
    patience: float,
) -> tuple[np.ndarray, int]:
    """Component (n,) of every node after one round of merging, and the number of components.

    Two nodes merge if each is the other's best partner; with a ``patience`` below 1 also if one is the best
    of the other and gains no less than ``patience`` times what the other's own best does. O(m + n K) in
    practice: merging u and v gains the weight between them less what one common label costs more than two, so
    never more than the weight, and all labels are looked at only for few of the edges.

    ``thing`` and ``stuff`` are the cheapest labels of the two kinds.
    """
    num_nodes, num_labels = node_costs.shape
    cheapest = np.empty(num_nodes, np.int32)
    least = np.empty(num_nodes, np.float64)
    for v in range(num_nodes):
        k = thing[v]
        if k < 0 or (stuff[v] >= 0 and node_costs[v, stuff[v]] <= node_costs[v, k]):
            k = stuff[v]
        cheapest[v] = k
        least[v] = node_costs[v, k]
    partner = np.full(num_nodes, -1, np.int32)
    gains = np.zeros(num_nodes, np.float64)
    for v in range(num_nodes):
        best, best_gain, best_hash = -1, 1e-300, 0
        for i in range(indptr[v], indptr[v + 1]):
            w = weights[i]
            if w < best_gain:
                continue
            u = neighbours[i]
            gain = float(w)
            if cheapest[u] != cheapest[v]:
                both = node_costs[v, 0] + node_costs[u, 0]
                for k in range(1, num_labels):
                    both = min(both, node_costs[v, k] + node_costs[u, k])
                gain += least[v] + least[u] - both
            # Ties are broken alike from both ends and without a direction, or long chains would wait.
            mix = ((u ^ v) * 40503 + (u + v) * 30011) & 0xFFFF
            if gain > best_gain or (gain == best_gain and best >= 0 and mix > best_hash):
                best, best_gain, best_hash = u, gain, mix
        partner[v] = best
        gains[v] = best_gain
    parent = np.arange(num_nodes).astype(np.int32)
    for v in range(num_nodes):
        u = partner[v]
        if u >= 0 and (partner[u] == v or gains[v] >= patience * gains[u]):
            a, b = v, u
            while parent[a] != a:
                parent[a] = parent[parent[a]]
                a = parent[a]
            while parent[b] != b:
                parent[b] = parent[parent[b]]
                b = parent[b]
            if a != b:
                parent[max(a, b)] = min(a, b)
    component = np.empty(num_nodes, np.int32)
    count = 0
    for v in range(num_nodes):
        if parent[v] == v:
            component[v] = count
            count += 1
        else:
            component[v] = component[parent[v]]
    return component, count
