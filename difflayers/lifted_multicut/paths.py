"""Joins along paths: two distant nodes that attract each other strongly, and all that lies between them.

Greedy contraction joins neighbours only if that alone pays. A strong lifted edge over a weakly repulsive path
needs all joins of the path at once.
"""

import numpy as np
from numba import njit

from difflayers.graph.components import join, numbered
from difflayers.graph.rows import INDEX

# A search visits at most so many nodes, because strong lifted edges mostly reach a few segments far.
_VISITED = 200


@njit(nogil=True, cache=True)
def join_paths(
    indptr: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, base: np.ndarray
) -> tuple[np.ndarray, int]:
    """Component (n,) of every node after joins along paths that lower the cost, and the number of components.

    The pairs without an edge are taken by falling weight. For each of them, the path that costs least to join
    is sought among nodes of no other joined path. Rows must have no parallels.
    """
    num_nodes = indptr.size - 1
    parent = np.arange(num_nodes).astype(INDEX)
    tails = np.empty(neighbours.size // 2, INDEX)
    places = np.empty(neighbours.size // 2, INDEX)
    count = 0
    for v in range(num_nodes):
        for i in range(indptr[v], indptr[v + 1]):
            if not base[i] and weights[i] > 0.0 and v < neighbours[i]:
                tails[count], places[count] = v, i
                count += 1
    used = np.zeros(num_nodes, np.bool_)
    stamp, queued = np.full(num_nodes, -1, np.int64), np.zeros(num_nodes, np.bool_)
    length, before = np.empty(num_nodes, np.float64), np.empty(num_nodes, INDEX)
    on_path = np.full(num_nodes, -1, np.int64)
    queue = np.empty(_VISITED, INDEX)
    for search, pair in enumerate(np.argsort(-weights[places[:count]])):
        source, target, limit = tails[pair], neighbours[places[pair]], weights[places[pair]]
        if used[source] or used[target]:
            continue
        stamp[source], length[source] = search, 0.0
        queue[0] = source
        head, tail = 0, 1
        while head < tail:
            v = queue[head]
            head += 1
            queued[v] = False
            for i in range(indptr[v], indptr[v + 1]):
                u = neighbours[i]
                if not base[i] or used[u]:
                    continue
                through = length[v] + max(-weights[i], 0.0)
                if through >= limit or (stamp[u] == search and through >= length[u]):
                    continue
                stamp[u], length[u], before[u] = search, through, v
                if u != target and not queued[u] and tail < _VISITED:
                    queued[u] = True
                    queue[tail] = u
                    tail += 1
        if stamp[target] != search:
            continue
        v = target
        on_path[v] = search
        while v != source:
            v = before[v]
            on_path[v] = search
        gain, strength, v = 0.0, 0.0, target
        while True:
            for i in range(indptr[v], indptr[v + 1]):
                if on_path[neighbours[i]] == search:
                    gain += 0.5 * weights[i]
                    strength += abs(weights[i])
            if v == source:
                break
            v = before[v]
        if gain <= 1e-12 * strength:
            continue
        v = target
        used[v] = True
        while v != source:
            join(parent, v, before[v])
            v = before[v]
            used[v] = True
    return numbered(parent)
