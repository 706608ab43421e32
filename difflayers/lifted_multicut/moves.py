"""Local moves of lifted multicut: a node goes to the neighbouring cluster, or a fresh one, that costs least.

Graphs are as in `difflayers.lifted_multicut.contraction`.
"""

import numpy as np
from numba import njit

from difflayers.graph.rows import INDEX
from difflayers.graph.units import LOCAL_ROUNDING

# Nodes looked at to see whether a cluster stays connected without one of them.
SEARCHED = 64


@njit(nogil=True, cache=True)
def move_nodes(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    weights: np.ndarray,
    base: np.ndarray,
    cluster: np.ndarray,
    max_visits: int,
) -> int:
    """Move nodes to the cluster, among those of their neighbours and a fresh one, that costs least.

    Changes `cluster` (n,), whose numbers are below n, and returns the number of moves, O(rows) a visit of
    all nodes and at most `max_visits` visits a node on average. A node stays where its cluster might fall
    apart without it. Clusters whose parts are not connected to begin with remain so.
    """
    num_nodes = cluster.size
    size = np.zeros(num_nodes, np.int32)
    for v in range(num_nodes):
        size[cluster[v]] += 1
    free = np.empty(num_nodes, INDEX)
    num_free = 0
    for c in range(num_nodes - 1, -1, -1):
        if size[c] == 0:
            free[num_free] = c
            num_free += 1
    affinity = np.zeros(num_nodes, np.float64)
    # Visit in which a cluster was last seen from a row entry, and from an edge.
    seen = np.full(num_nodes, -1, np.int64)
    reached = np.full(num_nodes, -1, np.int64)
    touched = np.empty(np.diff(indptr).max(), INDEX)
    mark = np.full(num_nodes, -1, np.int64)
    stack = np.empty(SEARCHED, INDEX)
    queue = np.arange(num_nodes).astype(INDEX)
    queued = np.ones(num_nodes, np.bool_)
    head, waiting, moves = 0, num_nodes, 0
    for visit in range(max_visits * num_nodes):
        if waiting == 0:
            break
        v = queue[head]
        head = head + 1 if head + 1 < num_nodes else 0
        waiting -= 1
        queued[v] = False
        num_touched, strength = 0, 0.0
        for i in range(indptr[v], indptr[v + 1]):
            c = cluster[neighbours[i]]
            if seen[c] != visit:
                seen[c] = visit
                affinity[c] = 0.0
                touched[num_touched] = c
                num_touched += 1
            affinity[c] += weights[i]
            strength += abs(weights[i])
            if base[i]:
                reached[c] = visit
        own = cluster[v]
        loose = size[own] > 1 and reached[own] != visit
        stay = affinity[own] if reached[own] == visit else 0.0
        # Rounding must not send a node back and forth, and it is that of the costs added up here.
        most = stay + LOCAL_ROUNDING * strength
        best = own
        for i in range(num_touched):
            c = touched[i]
            if reached[c] == visit and c != own and affinity[c] > most:
                most = affinity[c]
                best = c
        fresh = most < 0.0 or (loose and best == own)
        if best == own and not fresh:
            continue
        if size[own] > 2 and not loose:
            apart = may_fall_apart(indptr, neighbours, base, cluster, v, mark, visit, stack)
            if apart:
                continue
        if fresh:
            num_free -= 1
            best = free[num_free]
        moves += 1
        size[best] += 1
        size[own] -= 1
        if size[own] == 0:
            free[num_free] = own
            num_free += 1
        cluster[v] = best
        for i in range(indptr[v], indptr[v + 1]):
            u = neighbours[i]
            if not queued[u] and (cluster[u] != best or weights[i] < 0.0):
                queued[u] = True
                tail = head + waiting
                if tail >= num_nodes:
                    tail -= num_nodes
                queue[tail] = u
                waiting += 1
    return moves


@njit(nogil=True, cache=True)
def may_fall_apart(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    base: np.ndarray,
    cluster: np.ndarray,
    v: int,
    mark: np.ndarray,
    visit: int,
    stack: np.ndarray,
) -> bool:
    """Whether the neighbours of v in its cluster are not found to be connected near v, in constant work.

    `mark` (n,) and `stack` are scratch; marks of this visit are 2 * visit and, once found, 2 * visit + 1.
    """
    own = cluster[v]
    first, missing = -1, 0
    for i in range(indptr[v], indptr[v + 1]):
        u = neighbours[i]
        if base[i] and cluster[u] == own and mark[u] != 2 * visit:
            mark[u] = 2 * visit
            missing += 1
            first = u
    mark[first] = 2 * visit + 1
    mark[v] = 2 * visit + 1
    missing -= 1
    stack[0] = first
    found, done = 1, 0
    while missing and done < found:
        w = stack[done]
        done += 1
        for i in range(indptr[w], indptr[w + 1]):
            u = neighbours[i]
            if not base[i] or cluster[u] != own or mark[u] == 2 * visit + 1:
                continue
            missing -= mark[u] == 2 * visit
            mark[u] = 2 * visit + 1
            if found < stack.size:
                stack[found] = u
                found += 1
    return missing > 0


@njit(nogil=True, cache=True)
def cut_weight(indptr: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, cluster: np.ndarray) -> float:
    """Sum of the weights between different clusters, O(rows)."""
    total = 0.0
    for v in range(cluster.size):
        for i in range(indptr[v], indptr[v + 1]):
            if cluster[neighbours[i]] != cluster[v]:
                total += 0.5 * weights[i]
    return total
