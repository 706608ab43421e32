"""Greedy merging in rounds: neighbouring clusters that are each other's best partner become one."""

import numpy as np
from numba import njit

from difflayers.amwc.level import Level
from difflayers.graph.compiling import borrowing
from difflayers.graph.components import join, numbered
from difflayers.graph.minimum import lesser
from difflayers.graph.rows import INDEX


@njit(nogil=True, cache=True)
def merge_partners(level: Level, patience: float) -> tuple[np.ndarray, int]:
    """Component (n,) of every node after one round of merging, and the number of components.

    Two nodes merge if each is the other's best partner; with a `patience` below 1 also if one is the best
    of the other and gains no less than `patience` times what the other's own best does. O(m + n K) in
    practice: merging u and v gains the weight between them less what one common label costs more than two, so
    never more than the weight, and all labels are looked at only for few of the edges.
    """
    indptr, neighbours, weights, costs, _, cheapest, least, gap = level
    num_nodes = cheapest.size
    partner = np.full(num_nodes, -1, np.int32)
    gains = np.zeros(num_nodes, np.float64)
    for v in range(num_nodes):
        best, best_gain, best_hash = -1, 1e-300, -1
        for i in range(indptr[v], indptr[v + 1]):
            if weights[i] < best_gain:
                continue
            u, enough = neighbours[i], weights[i] - best_gain
            # What the best common label costs more than their own ones: it is the cheapest of u, the cheapest
            # of v or neither. The gaps bound that from below, and any number above `enough` will do. (Not a
            # function of its own: Numba would count references to its arrays at every edge.)
            loss = 0.0
            if cheapest[u] != cheapest[v]:
                loss = min(gap[u], gap[v])
                if loss <= enough:
                    loss = min(costs[v, cheapest[u]] - least[v], costs[u, cheapest[v]] - least[u])
                    neither = gap[u] + gap[v]
                    if enough < neither < loss:
                        loss = neither
                    elif neither < loss:
                        loss = min(loss, least_common(costs, u, v) - (least[u] + least[v]))
            gain = weights[i] - loss
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
            join(parent, u, v)
    return numbered(parent)


@borrowing
def least_common(costs: np.ndarray, u: int, v: int) -> float:
    """The least that one label costs at both u and v."""
    least = costs[u, 0] + costs[v, 0]
    for k in range(1, costs.shape[1]):
        least = lesser(least, costs[u, k] + costs[v, k])
    return least
