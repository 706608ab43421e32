"""Local moves: one node at a time to the neighbouring cluster, label or fresh cluster that costs least.

A cluster is a number: ``k < K`` is the one cluster of a label k that is not partitionable; numbers from K on
are clusters of partitionable labels, and ``label[number]`` says of which.
"""

import numpy as np
from numba import njit

from difflayers.amwc.level import MINIMA, Level


@njit(nogil=True, cache=True)
def own_clusters(level: Level, label: np.ndarray) -> np.ndarray:
    """Every node at its cheapest label, things on their own; writes ``label``, O(n)."""
    num_nodes, num_labels = level.node_costs.shape
    cluster = np.empty(num_nodes, np.int32)
    for v in range(num_nodes):
        k = level.cheapest[v]
        label[num_labels + v] = k
        cluster[v] = num_labels + v if level.partitionable[k] else k
    return cluster


@njit(nogil=True, cache=True)
def attractions(level: Level, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of a node's edges in its own cluster and of its positive edges to others, (n,) each, O(m)."""
    num_nodes = cluster.size
    inside = np.empty(num_nodes, np.float64)
    outside = np.empty(num_nodes, np.float64)
    for v in range(num_nodes):
        own = cluster[v]
        within = without = 0.0
        for i in range(level.indptr[v], level.indptr[v + 1]):
            weight = level.weights[i]
            inner = weight * (cluster[level.neighbours[i]] == own)
            within += inner
            without += max(weight - inner, 0.0)
        inside[v], outside[v] = within, without
    return inside, outside


@njit(nogil=True, cache=True)
def move_nodes(level: Level, cluster: np.ndarray, label: np.ndarray, max_rounds: int) -> int:
    """Move nodes while the objective falls, at most ``max_rounds`` visits a node on average.

    Changes ``cluster`` (n,) and ``label`` (K + n,) in place and returns the number of moves. A visit costs
    the degree of the node, whatever the number of labels: a label that no neighbour has is worth trying only
    where it is the cheapest of its kind, or neighbours repel that one. Most nodes are never visited: one
    saves at most what its label costs more than its cheapest one and gains at most its positive edges to
    other clusters, so where these do not outweigh its edges inside its own cluster it stays.
    """
    indptr, neighbours, weights = level.indptr, level.neighbours, level.weights
    node_costs, partitionable, cheapest = level.node_costs, level.partitionable, level.cheapest
    least, gap = level.least, level.gap
    num_nodes, num_labels = node_costs.shape
    inside, outside = attractions(level, cluster)
    # What the label of a node costs more than its cheapest one.
    excess = np.empty(num_nodes, np.float64)
    size = np.zeros(num_labels + num_nodes, np.int32)
    queue = np.empty(num_nodes, np.int32)
    queued = np.zeros(num_nodes, np.bool_)
    head, waiting, moves = 0, 0, 0
    for v in range(num_nodes):
        size[cluster[v]] += 1
        # Most nodes have their cheapest label, whose cost is known without a look at the (n, K) costs.
        own_label = label[cluster[v]]
        excess[v] = 0.0 if own_label == cheapest[v] else node_costs[v, own_label] - least[v]
        if excess[v] + outside[v] > inside[v]:
            queued[v] = True
            queue[waiting] = v
            waiting += 1
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
            # Nor can a cluster win whose cheapest conceivable label would not.
            if (affinity[c] > 0.0 or c < num_labels) and least[v] - affinity[c] < best_value:
                value = node_costs[v, label[c]] - affinity[c]
                if value < best_value:
                    best_value = value
                    best = c
        new_label = -1
        k = cheapest[v]
        value = least[v] if partitionable[k] else least[v] - affinity[k]
        if value < best_value:
            best_value = value
            new_label = k
        if least[v] + gap[v] < best_value:  # neighbours of the cheapest label push the node away
            value = least_attached(node_costs, affinity, v)
            if value < best_value:
                best_value = value
                new_label = 0
                while node_costs[v, new_label] - affinity[new_label] > value:
                    new_label += 1
        fresh = new_label >= 0 and partitionable[new_label]
        if new_label >= 0 and not fresh:
            best = new_label
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
            label[best] = new_label
        excess[v] = node_costs[v, label[best]] - least[v]
        if best != own:
            size[best] += 1
            size[own] -= 1
            if size[own] == 0 and own >= num_labels:
                free[num_free] = own
                num_free += 1
            cluster[v] = best
        for i in range(begin, end):
            u, weight = neighbours[i], weights[i]
            positive = max(weight, 0.0)
            # Where the cluster was only relabelled, no edge changes sides.
            if cluster[u] == best and best != own:
                inside[u] += weight
                outside[u] -= positive
                inside[v] += weight
                outside[v] -= positive
            elif cluster[u] == own and best != own:
                inside[u] -= weight
                outside[u] += positive
                inside[v] -= weight
                outside[v] += positive
            if not queued[u] and excess[u] + outside[u] > inside[u]:
                queued[u] = True
                tail = head + waiting
                if tail >= num_nodes:
                    tail -= num_nodes
                queue[tail] = u
                waiting += 1
    return moves


@njit(nogil=True, cache=True, fastmath=MINIMA)
def least_attached(node_costs: np.ndarray, affinity: np.ndarray, v: int) -> float:
    """Least cost of a label less the affinity to its cluster; those of partitionable labels have none."""
    least = node_costs[v, 0] - affinity[0]
    for k in range(1, node_costs.shape[1]):
        least = min(least, node_costs[v, k] - affinity[k])
    return least


@njit(nogil=True, cache=True)
def objective(level: Level, cluster: np.ndarray, label: np.ndarray) -> float:
    """Cost of the clusters with their labels, O(n + m)."""
    total = 0.0
    for v in range(cluster.size):
        total += level.node_costs[v, label[cluster[v]]]
        for i in range(level.indptr[v], level.indptr[v + 1]):
            if cluster[level.neighbours[i]] != cluster[v]:
                total += 0.5 * level.weights[i]
    return total
