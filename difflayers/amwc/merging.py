"""Greedy merging in rounds: neighbouring clusters that are each other's best partner become one."""

import numpy as np
from numba import njit

from difflayers.amwc.level import Level
from difflayers.graph.kernels import INDEX
from difflayers.graph.minimum import lesser


@njit(nogil=True, cache=True)
def merge_partners(level: Level, patience: float) -> tuple[np.ndarray, int]:
    """Component (n,) of every node after one round of merging, and the number of components.

    Two nodes merge if each is the other's best partner; with a ``patience`` below 1 also if one is the best
    of the other and gains no less than ``patience`` times what the other's own best does. O(m + n K) in
    practice: merging u and v gains the weight between them less what one common label costs more than two, so
    never more than the weight, and all labels are looked at only for few of the edges.
    """
    num_nodes = level.cheapest.size
    partner = np.full(num_nodes, -1, np.int32)
    gains = np.zeros(num_nodes, np.float64)
    for v in range(num_nodes):
        best, best_gain, best_hash = -1, 1e-300, -1
        for i in range(level.indptr[v], level.indptr[v + 1]):
            if level.weights[i] < best_gain:
                continue
            u = level.neighbours[i]
            gain = level.weights[i] - label_loss(level, u, v, level.weights[i] - best_gain)
            # Ties are broken alike from both ends and without a direction, or long chains would wait.
            mix = ((u ^ v) * 40503 + (u + v) * 30011) & 0xFFFF
            if gain > best_gain or (gain == best_gain and mix > best_hash):
                best, best_gain, best_hash = u, gain, mix
        partner[v] = best
        gains[v] = best_gain
    parent = np.arange(num_nodes).astype(INDEX)
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
    component = np.empty(num_nodes, INDEX)
    count = 0
    for v in range(num_nodes):
        if parent[v] == v:
            component[v] = count
            count += 1
        else:
            component[v] = component[parent[v]]
    return component, count


@njit(nogil=True, cache=True, inline="always")
def label_loss(level: Level, u: int, v: int, enough: float) -> float:
    """What the best common label of u and v costs more than their own ones.

    The best common label is the cheapest of u, the cheapest of v or neither. The gaps bound the loss from
    below, and spare a look at the costs themselves where the loss is above ``enough``: then any number above
    ``enough`` may come back.
    """
    first_u, first_v = level.cheapest[u], level.cheapest[v]
    if first_u == first_v:
        return 0.0
    gap_u, gap_v = level.gap[u], level.gap[v]
    if min(gap_u, gap_v) > enough:
        return min(gap_u, gap_v)
    loss = min(level.node_costs[v, first_u] - level.least[v], level.node_costs[u, first_v] - level.least[u])
    neither = gap_u + gap_v
    if neither >= loss:
        return loss
    if neither > enough:
        return neither
    apart = level.least[u] + level.least[v]
    for k in range(level.node_costs.shape[1]):
        loss = lesser(loss, level.node_costs[u, k] + level.node_costs[v, k] - apart)
    return loss
