"""Local moves: one node at a time to the neighbouring cluster, label or fresh cluster that costs least.

A cluster is a number: ``k < K`` is the one cluster of a label k that is not partitionable; numbers from K on
are clusters of partitionable labels, and ``label[number]`` says of which.
"""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def cheapest_labels(node_costs: np.ndarray, partitionable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cheapest partitionable and cheapest other label of every node, -1 where there is none, O(n K)."""
    num_nodes, num_labels = node_costs.shape
    thing = np.full(num_nodes, -1, np.int32)
    stuff = np.full(num_nodes, -1, np.int32)
    for v in range(num_nodes):
        for k in range(num_labels):
            if partitionable[k]:
                if thing[v] < 0 or node_costs[v, k] < node_costs[v, thing[v]]:
                    thing[v] = k
            elif stuff[v] < 0 or node_costs[v, k] < node_costs[v, stuff[v]]:
                stuff[v] = k
    return thing, stuff


@njit(nogil=True, cache=True)
def own_clusters(
    node_costs: np.ndarray, thing: np.ndarray, stuff: np.ndarray, label: np.ndarray
) -> np.ndarray:
    """Every node at its cheapest label, things on their own; writes ``label``, O(n)."""
    num_nodes, num_labels = node_costs.shape
    cluster = np.empty(num_nodes, np.int32)
    for v in range(num_nodes):
        label[num_labels + v] = thing[v]
        if thing[v] < 0 or (stuff[v] >= 0 and node_costs[v, stuff[v]] <= node_costs[v, thing[v]]):
            cluster[v] = stuff[v]
        else:
            cluster[v] = num_labels + v
    return cluster


@njit(nogil=True, cache=True)
def move_nodes(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    weights: np.ndarray,
    node_costs: np.ndarray,
    thing: np.ndarray,
    stuff: np.ndarray,
    cluster: np.ndarray,
    label: np.ndarray,
    max_rounds: int,
) -> int:
    """Move nodes while the objective falls, at most ``max_rounds`` visits a node on average.

    Changes ``cluster`` (n,) and ``label`` (K + n,) in place and returns the number of moves. A visit costs
    the degree of the node, whatever the number of labels: a label that no neighbour has is worth trying only
    where it is the cheapest of its kind.
    """
    num_nodes, num_labels = node_costs.shape
    size = np.zeros(num_labels + num_nodes, np.int32)
    for v in range(num_nodes):
        size[cluster[v]] += 1
    free = np.empty(num_nodes, np.int32)
    num_free = 0
    for c in range(num_labels + num_nodes - 1, num_labels - 1, -1):
        if size[c] == 0:
            free[num_free] = c
            num_free += 1
    affinity = np.zeros(num_labels + num_nodes, np.float64)
    degree = 0
    for v in range(num_nodes):
        degree = max(degree, indptr[v + 1] - indptr[v])
    touched = np.empty(degree, np.int32)
    queue = np.arange(num_nodes).astype(np.int32)
    queued = np.ones(num_nodes, np.bool_)
    head, waiting, moves = 0, num_nodes, 0
    budget = max_rounds * num_nodes
    while waiting and budget:
        budget -= 1
        v = queue[head]
        head = head + 1 if head + 1 < num_nodes else 0
        waiting -= 1
        queued[v] = False
        begin, end = indptr[v], indptr[v + 1]
        num_touched = 0
        for i in range(begin, end):
            c = cluster[neighbours[i]]
            # A cluster may be listed twice where its affinity was zero in between; that does no harm.
            if affinity[c] == 0.0:
                touched[num_touched] = c
                num_touched += 1
            affinity[c] += weights[i]
        own = cluster[v]
        stay = node_costs[v, label[own]] - affinity[own]
        # Rounding must not send a node back and forth.
        best_value = stay - 1e-9 * (1.0 + abs(stay))
        best = own
        for i in range(num_touched):
            c = touched[i]
            # A thing cluster that does not attract the node loses to the fresh cluster below.
            if affinity[c] > 0.0 or c < num_labels:
                value = node_costs[v, label[c]] - affinity[c]
                if value < best_value:
                    best_value = value
                    best = c
        fresh = False
        if stuff[v] >= 0:
            value = node_costs[v, stuff[v]] - affinity[stuff[v]]
            if value < best_value:
                best_value = value
                best = stuff[v]
        if thing[v] >= 0 and node_costs[v, thing[v]] < best_value:
            fresh = True
        for i in range(num_touched):
            affinity[touched[i]] = 0.0
        if best == own and not fresh:
            continue
        moves += 1
        if fresh:
            if own >= num_labels and size[own] == 1:
                best = own
            else:
                num_free -= 1
                best = free[num_free]
            label[best] = thing[v]
        if best != own:
            size[best] += 1
            size[own] -= 1
            if size[own] == 0 and own >= num_labels:
                free[num_free] = own
                num_free += 1
            cluster[v] = best
        for i in range(begin, end):
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
def objective(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    weights: np.ndarray,
    node_costs: np.ndarray,
    thing: np.ndarray,
    stuff: np.ndarray,
    cluster: np.ndarray,
    label: np.ndarray,
) -> float:
    """Cost of the clusters with their labels, O(n + m); takes a level as :func:`move_nodes` does."""
    total = 0.0
    for v in range(cluster.size):
        total += node_costs[v, label[cluster[v]]]
        for i in range(indptr[v], indptr[v + 1]):
            if cluster[neighbours[i]] != cluster[v]:
                total += 0.5 * weights[i]
    return total
