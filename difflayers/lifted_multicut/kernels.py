"""Numba kernels of lifted multicut: merging in rounds, moves, connected parts, contraction.

A graph is ``indptr (n + 1,) int32``, ``neighbours (r,) int32``, ``weights (r,) float`` and ``base (r,)
uint8``: edges and lifted edges alike stand in the rows of both their ends, ``base`` marks the edges, and
parallel ones may stand side by side.
"""

import numpy as np
from numba import njit

# Nodes looked at to see whether a cluster stays connected without one of them.
_SEARCHED = 64


@njit(nogil=True, cache=True)
def merge_partners(
    indptr: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, base: np.ndarray, patience: float
) -> tuple[np.ndarray, int]:
    """Component (n,) of every node after one round of greedy contraction, and their number, O(rows).

    A node's partner is the neighbour by an edge to which all its edges and lifted edges together weigh most,
    if that is positive. Two nodes merge if each is the other's partner, or if one is the other's partner and
    weighs no less than ``patience`` times what the other's own partner does. Rows must have no parallels.
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
    parent = np.arange(num_nodes).astype(np.int32)
    for v in range(num_nodes):
        u = partner[v]
        if u >= 0 and (partner[u] == v or weight[v] >= patience * weight[u]):
            a, b = _root(parent, u), _root(parent, v)
            parent[max(a, b)] = min(a, b)
    return _numbered(parent)


@njit(nogil=True, cache=True)
def _before(a: int, b: int, c: int, d: int) -> bool:
    low, other = min(a, b), min(c, d)
    return low < other or (low == other and max(a, b) < max(c, d))


@njit(nogil=True, cache=True)
def _root(parent: np.ndarray, v: int) -> int:
    while parent[v] != v:
        parent[v] = parent[parent[v]]
        v = parent[v]
    return v


@njit(nogil=True, cache=True)
def _numbered(parent: np.ndarray) -> tuple[np.ndarray, int]:
    number = np.empty(parent.size, np.int32)
    count = 0
    for v in range(parent.size):
        root = _root(parent, v)
        if root == v:
            number[v] = count
            count += 1
        else:
            number[v] = number[root]
    return number, count


@njit(nogil=True, cache=True)
def connected_parts(
    indptr: np.ndarray, neighbours: np.ndarray, base: np.ndarray, cluster: np.ndarray
) -> tuple[np.ndarray, int]:
    """Parts of the clusters that edges connect, numbered by first node, and their number, O(rows)."""
    parent = np.arange(cluster.size).astype(np.int32)
    for v in range(cluster.size):
        for i in range(indptr[v], indptr[v + 1]):
            u = neighbours[i]
            if u < v and base[i] and cluster[u] == cluster[v]:
                a, b = _root(parent, u), _root(parent, v)
                parent[max(a, b)] = min(a, b)
    return _numbered(parent)


@njit(nogil=True, cache=True)
def contract(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    weights: np.ndarray,
    base: np.ndarray,
    component: np.ndarray,
    count: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Graph of the components: weights of parallels add up, one edge among them makes an edge, O(rows)."""
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
    new_weights = np.empty(neighbours.size, weights.dtype)
    new_base = np.empty(neighbours.size, np.uint8)
    # Where the row being written holds a neighbour; places before the row are of earlier rows.
    place = np.full(count, -1, np.int32)
    filled = 0
    for c in range(count):
        first = filled
        for j in range(start[c], start[c + 1]):
            v = members[j]
            for i in range(indptr[v], indptr[v + 1]):
                other = component[neighbours[i]]
                if other == c:
                    continue
                if place[other] >= first:
                    new_weights[place[other]] += weights[i]
                    new_base[place[other]] |= base[i]
                else:
                    place[other] = filled
                    new_neighbours[filled] = other
                    new_weights[filled] = weights[i]
                    new_base[filled] = base[i]
                    filled += 1
        new_indptr[c + 1] = filled
    return new_indptr, new_neighbours[:filled], new_weights[:filled], new_base[:filled]


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

    Changes ``cluster`` (n,), whose numbers are below n, and returns the number of moves, O(rows) a visit of
    all nodes and at most ``max_visits`` visits a node on average. A node stays where its cluster might fall
    apart without it. Clusters whose parts are not connected to begin with remain so.
    """
    num_nodes = cluster.size
    size = np.zeros(num_nodes, np.int32)
    for v in range(num_nodes):
        size[cluster[v]] += 1
    free = np.empty(num_nodes, np.int32)
    num_free = 0
    for c in range(num_nodes - 1, -1, -1):
        if size[c] == 0:
            free[num_free] = c
            num_free += 1
    affinity = np.zeros(num_nodes, np.float64)
    # Visit in which a cluster was last seen from a row entry, and from an edge.
    seen = np.full(num_nodes, -1, np.int64)
    reached = np.full(num_nodes, -1, np.int64)
    degree = 1
    for v in range(num_nodes):
        degree = max(degree, indptr[v + 1] - indptr[v])
    touched = np.empty(degree, np.int32)
    mark = np.full(num_nodes, -1, np.int64)
    stack = np.empty(_SEARCHED, np.int32)
    queue = np.arange(num_nodes).astype(np.int32)
    queued = np.ones(num_nodes, np.bool_)
    head, waiting, moves = 0, num_nodes, 0
    for visit in range(max_visits * num_nodes):
        if waiting == 0:
            break
        v = queue[head]
        head = head + 1 if head + 1 < num_nodes else 0
        waiting -= 1
        queued[v] = False
        num_touched = 0
        for i in range(indptr[v], indptr[v + 1]):
            c = cluster[neighbours[i]]
            if seen[c] != visit:
                seen[c] = visit
                affinity[c] = 0.0
                touched[num_touched] = c
                num_touched += 1
            affinity[c] += weights[i]
            if base[i]:
                reached[c] = visit
        own = cluster[v]
        loose = size[own] > 1 and reached[own] != visit
        stay = affinity[own] if reached[own] == visit else 0.0
        # Rounding must not send a node back and forth.
        most = stay + 1e-9 * (1.0 + abs(stay))
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
            apart = _may_fall_apart(indptr, neighbours, base, cluster, v, mark, visit, stack)
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
def _may_fall_apart(
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

    ``mark`` (n,) and ``stack`` are scratch; marks of this visit are 2 * visit and, once found, 2 * visit + 1.
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
