"""Local moves: one node at a time to the neighbouring cluster, label or fresh cluster that costs least.

A cluster is a number: `k < K` is the one cluster of a label k that is not partitionable; numbers from K on
are clusters of partitionable labels, and `label[number]` says of which.
"""

import numpy as np
from numba import njit

from difflayers.amwc.level import Level
from difflayers.graph.compiling import borrowing
from difflayers.graph.minimum import lesser
from difflayers.graph.rows import INDEX
from difflayers.graph.units import LOCAL_ROUNDING


@njit(nogil=True, cache=True)
def own_clusters(level: Level, label: np.ndarray) -> np.ndarray:
    """Every node at its cheapest label, things on their own; writes `label`, O(n)."""
    num_nodes, num_labels = level.node_costs.shape
    cluster = np.empty(num_nodes, INDEX)
    for v in range(num_nodes):
        k = level.cheapest[v]
        label[num_labels + v] = k
        cluster[v] = num_labels + v if level.partitionable[k] else k
    return cluster


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def slacks(level: Level, cluster: np.ndarray, label: np.ndarray) -> np.ndarray:
    """What any move of a node costs at least, up to rounding, (n,), from its edges and label alone, O(m).

    It loses its edges inside its own cluster, and gains at most its positive edges to others and what its
    label costs more than its cheapest one. The sum may be taken in any order, so it is vectorized.
    """
    num_nodes = cluster.size
    slack = np.empty(num_nodes, np.float64)
    for v in range(num_nodes):
        own, total = cluster[v], 0.0
        for i in range(level.indptr[v], level.indptr[v + 1]):
            weight = level.weights[i]
            total += weight if cluster[level.neighbours[i]] == own else min(-weight, 0.0)
        # Most nodes have their cheapest label, whose cost is known without a look at the (n, K) costs.
        if label[own] != level.cheapest[v]:
            total -= level.node_costs[v, label[own]] - level.least[v]
        slack[v] = total
    return slack


@njit(nogil=True, cache=True)
def move_nodes(level: Level, cluster: np.ndarray, label: np.ndarray, max_rounds: int) -> int:
    """Move nodes while the objective falls, about `max_rounds` visits a node on average at most.

    Changes `cluster` (n,) and `label` (K + n,) in place and returns the number of moves. In every round
    all nodes that wait look for their best move, and then move in the order of what they gain, so that the
    outcome depends on how nodes are numbered only where gains tie; one whose neighbour has moved before it
    looks again in the next round. A visit costs the degree of the node, whatever the number of labels: a
    label that no neighbour has is worth trying only where it is the cheapest one, or neighbours repel that
    one. Most nodes are never visited: their slack says that no move of them can pay.
    """
    indptr, neighbours, weights = level.indptr, level.neighbours, level.weights
    num_nodes, num_labels = level.node_costs.shape
    slack = slacks(level, cluster, label)
    size = np.zeros(num_labels + num_nodes, np.int32)
    waiting = np.empty(num_nodes, INDEX)
    waits = np.zeros(num_nodes, np.bool_)
    num_waiting = 0
    for v in range(num_nodes):
        size[cluster[v]] += 1
        if slack[v] < 0.0:
            waits[v] = True
            waiting[num_waiting] = v
            num_waiting += 1
    free = np.empty(num_nodes, np.int32)
    num_free = 0
    for c in range(num_labels + num_nodes - 1, num_labels - 1, -1):
        if size[c] == 0:
            free[num_free] = c
            num_free += 1
    affinity = np.zeros(num_labels + num_nodes, np.float64)
    touched = np.empty(np.diff(indptr).max() + 1, INDEX)
    movers = np.empty(num_nodes, INDEX)
    gains = np.empty(num_nodes, np.float64)
    # Where a mover goes: to a cluster, or to a fresh one of a label where that is -1.
    target = np.empty(num_nodes, np.int32)
    target_label = np.empty(num_nodes, np.int32)
    # The round in which a neighbour of the node moved last.
    disturbed = np.full(num_nodes, -1, np.int32)
    moves, current, budget = 0, 0, max_rounds * num_nodes
    while num_waiting and budget > 0:
        budget -= num_waiting
        num_movers = 0
        for v in waiting[:num_waiting]:
            waits[v] = False
            target[v], target_label[v], gain, slack[v] = best_move(
                level, cluster, label, affinity, touched, v
            )
            if gain > 0.0:
                movers[num_movers] = v
                gains[num_movers] = gain
                num_movers += 1
        num_waiting = 0
        for mover in np.argsort(-gains[:num_movers]):
            v = movers[mover]
            if disturbed[v] == current:
                if not waits[v]:
                    waits[v] = True
                    waiting[num_waiting] = v
                    num_waiting += 1
                continue
            moves += 1
            slack[v] = 0.0  # no neighbour moved since it chose, so this is the best move still
            own, best = cluster[v], target[v]
            if best < 0:
                if own >= num_labels and size[own] == 1:
                    best = own
                else:
                    num_free -= 1
                    best = free[num_free]
                label[best] = target_label[v]
            if best != own:
                size[best] += 1
                size[own] -= 1
                if size[own] == 0 and own >= num_labels:
                    free[num_free] = own
                    num_free += 1
                cluster[v] = best
            for i in range(indptr[v], indptr[v + 1]):
                u, weight = neighbours[i], weights[i]
                disturbed[u] = current
                # Attracted neighbours are drawn from the old to the new cluster, others the other way.
                # (To be relabeled alone is to be joined anew: the label was as dear on a fresh cluster.)
                left, joined = (own, best) if weight > 0.0 else (best, own)
                if cluster[u] != joined or own == best:
                    slack[u] -= abs(weight) * (2.0 if cluster[u] == left else 1.0)
                    if slack[u] < 0.0 and not waits[u]:
                        waits[u] = True
                        waiting[num_waiting] = u
                        num_waiting += 1
        current += 1
    return moves


@borrowing
def best_move(
    level: Level, cluster: np.ndarray, label: np.ndarray, affinity: np.ndarray, touched: np.ndarray, v: int
) -> tuple[int, int, float, float]:
    """Where v gains most (a cluster, or -1: a fresh one), its label, the gain (0: v stays), the slack then.

    `affinity` (K + n,) is zero before and after, and `touched` has room for one more than the neighbours
    of v. The loops over them are free of branches that a processor would mispredict.
    """
    indptr, neighbours, weights = level.indptr, level.neighbours, level.weights
    node_costs, partitionable, cheapest = level.node_costs, level.partitionable, level.cheapest
    least, gap = level.least, level.gap
    num_labels = node_costs.shape[1]
    num_touched, strength = 0, 0.0
    for i in range(indptr[v], indptr[v + 1]):
        c = cluster[neighbours[i]]
        # A cluster may be listed twice where its affinity was zero in between; that does no harm.
        touched[num_touched] = c
        num_touched += affinity[c] == 0.0
        affinity[c] += weights[i]
        strength += abs(weights[i])
    own = cluster[v]
    stay = node_costs[v, label[own]] - affinity[own]
    # Rounding must not send a node back and forth, and it is that of the costs added up here.
    enough = stay - LOCAL_ROUNDING * (abs(node_costs[v, label[own]]) + abs(least[v]) + strength)
    best, best_value = own, enough
    other = least[v] + gap[v]  # than this no other cluster costs less
    for i in range(num_touched):
        c = touched[i]
        # A thing cluster that does not attract the node loses to the fresh cluster below.
        rival = (c != own) & ((affinity[c] > 0.0) | (c < num_labels))
        value = least[v] - affinity[c] if rival else np.inf
        if value < best_value:  # else it cannot win even if its label is the cheapest
            value = node_costs[v, label[c]] - affinity[c]
            if value < best_value:
                best, best_value = c, value
        other = min(other, value)
    k = cheapest[v]
    if own != k:
        value = least[v] if partitionable[k] else least[v] - affinity[k]
        other = min(other, value)
        if value < best_value:
            best, best_value = -1 if partitionable[k] else k, value
    if least[v] + gap[v] < best_value:  # neighbours of the cheapest label push the node away
        value = least_with_affinity(node_costs, affinity, v)
        if value < best_value:
            k = 0
            while node_costs[v, k] - affinity[k] > value:
                k += 1
            best, best_value = -1 if partitionable[k] else k, value
    for i in range(num_touched):
        affinity[touched[i]] = 0.0
    gain = stay - best_value if best_value < enough else 0.0
    return best, k, gain, other - stay


@borrowing
def least_with_affinity(node_costs: np.ndarray, affinity: np.ndarray, v: int) -> float:
    """Least cost of a label less the affinity to its cluster; those of partitionable labels have none."""
    least = node_costs[v, 0] - affinity[0]
    for k in range(1, node_costs.shape[1]):
        least = lesser(least, node_costs[v, k] - affinity[k])
    return least


@njit(nogil=True, cache=True)
def excess(level: Level, cluster: np.ndarray, label: np.ndarray) -> float:
    """What a state costs more than every node with its cheapest label and no edge cut, O(n + m)."""
    total = 0.0
    for v in range(cluster.size):
        total += level.node_costs[v, label[cluster[v]]] - level.least[v]
        for i in range(level.indptr[v], level.indptr[v + 1]):
            if cluster[level.neighbours[i]] != cluster[v]:
                total += 0.5 * level.weights[i]
    return total
