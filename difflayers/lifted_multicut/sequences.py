"""Sequences of moves that lower the cost only together (Kernighan and Lin 1970), each within a few nodes.

Where most costs contradict each other, no single move pays long before the best solution is found. Graphs
and clusters are as in `difflayers.lifted_multicut.moves`.
"""

import numpy as np
from numba import njit

from difflayers.graph.compiling import borrowing
from difflayers.graph.rows import INDEX
from difflayers.graph.units import LOCAL_ROUNDING
from difflayers.lifted_multicut.moves import SEARCHED, may_fall_apart

# A sequence ends after so many moves without a gain, and after so many moves in all. A patience of 10 or 100
# found no more, and took longer.
_PATIENCE, _LONGEST = 5, 100
# No sequence begins with a node whose best move loses more than this share of all its costs. A share of 0.4
# took three times as long and gained a fifth more.
_LOSS = 0.1
# How often a node may be the first of a sequence, on average; mostly it is once or twice.
_MOST_BEGINNINGS = 10


@njit(nogil=True, cache=True)
def move_in_sequences(
    indptr: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, base: np.ndarray, cluster: np.ndarray
) -> int:
    """Try sequences from all nodes at borders until none pays; changes `cluster` (n,), returns how many paid.

    Clusters must be connected and remain so. The first move of a sequence is the best one of its first node.
    Each later one is the best of all nodes that a moved node has as a neighbour, whether it pays or not. Of
    the sequence, the part that gains most is kept. A sequence looks at the rows of all neighbours of at most
    100 moved nodes.
    """
    num_nodes = cluster.size
    size = np.zeros(num_nodes, np.int32)
    for v in range(num_nodes):
        size[cluster[v]] += 1
    free, num_free = np.empty(num_nodes, INDEX), 0
    for c in range(num_nodes - 1, -1, -1):
        if size[c] == 0:
            free[num_free] = c
            num_free += 1
    affinity, seen = np.zeros(num_nodes, np.float64), np.full((2, num_nodes), -1, np.int64)
    touched = np.empty(np.diff(indptr).max(), INDEX)
    mark, stack = np.full(num_nodes, -1, np.int64), np.empty(SEARCHED, INDEX)
    gain, weight = np.empty(num_nodes, np.float64), np.empty(num_nodes, np.float64)
    target = np.empty(num_nodes, np.int64)
    # The sequence in which a node was last one of those that may move, and in which it was last taken.
    listed, taken = np.full(num_nodes, -1, np.int64), np.full(num_nodes, -1, np.int64)
    candidates = np.empty(num_nodes, INDEX)
    moved, left = np.empty(_LONGEST, INDEX), np.empty(_LONGEST, INDEX)
    # Nodes to begin with, each of them once at a time: later the neighbours of all that has moved.
    queue, queued = np.arange(num_nodes).astype(INDEX), np.ones(num_nodes, np.bool_)
    head, waiting, looks, visits, paid = 0, num_nodes, 0, 0, 0
    for number in range(_MOST_BEGINNINGS * num_nodes):
        if waiting == 0:
            break
        first = queue[head]
        head = head + 1 if head + 1 < num_nodes else 0
        waiting -= 1
        queued[first] = False
        if not _at_border(indptr, neighbours, base, cluster, first):
            continue
        looks += 1
        gain[first], target[first], weight[first] = _best_move(
            indptr, neighbours, weights, base, cluster, size, first, affinity, seen, touched, looks
        )
        if gain[first] < -_LOSS * weight[first]:
            continue
        candidates[0], listed[first] = first, number
        num_candidates, steps, kept = 1, 0, 0
        total, most, rounding = 0.0, 0.0, 0.0
        while steps < _LONGEST and steps - kept < _PATIENCE and num_candidates > 0:
            pick = 0
            for j in range(1, num_candidates):
                if gain[candidates[j]] > gain[candidates[pick]]:
                    pick = j
            v = candidates[pick]
            num_candidates -= 1
            candidates[pick] = candidates[num_candidates]
            taken[v] = number
            own, best = cluster[v], target[v]
            if gain[v] == -np.inf or (best < 0 and num_free == 0):
                continue
            visits += 1
            if size[own] > 2 and may_fall_apart(indptr, neighbours, base, cluster, v, mark, visits, stack):
                continue
            if best < 0:
                num_free -= 1
                best = free[num_free]
            cluster[v] = best
            size[best] += 1
            size[own] -= 1
            moved[steps], left[steps] = v, own
            steps += 1
            total += gain[v]
            rounding += LOCAL_ROUNDING * weight[v]
            if total > most + rounding:
                most, kept = total, steps
            for i in range(indptr[v], indptr[v + 1]):
                u = neighbours[i]
                if taken[u] == number:
                    continue
                if base[i] and listed[u] != number:
                    listed[u] = number
                    candidates[num_candidates] = u
                    num_candidates += 1
                if listed[u] == number:
                    looks += 1
                    gain[u], target[u], weight[u] = _best_move(
                        indptr, neighbours, weights, base, cluster, size, u, affinity, seen, touched, looks
                    )
        paid += kept > 0
        for step in range(steps - 1, -1, -1):
            v = moved[step]
            if step >= kept:
                size[cluster[v]] -= 1
                size[left[step]] += 1
                left[step], cluster[v] = cluster[v], left[step]
        for step in range(kept):
            v = moved[step]
            for i in range(indptr[v], indptr[v + 1]):
                u = neighbours[i]
                if base[i] and not queued[u]:
                    queued[u] = True
                    tail = head + waiting
                    queue[tail if tail < num_nodes else tail - num_nodes] = u
                    waiting += 1
        # A number is free again once, at the last move that left its cluster.
        for step in range(steps - 1, -1, -1):
            c = left[step]
            if size[c] == 0:
                size[c] = -1
                free[num_free] = c
                num_free += 1
        for step in range(steps):
            size[left[step]] = max(size[left[step]], 0)
    return paid


@borrowing
def _at_border(
    indptr: np.ndarray, neighbours: np.ndarray, base: np.ndarray, cluster: np.ndarray, v: int
) -> bool:
    found = False
    for i in range(indptr[v], indptr[v + 1]):
        found |= base[i] and cluster[neighbours[i]] != cluster[v]
    return found


@borrowing
def _best_move(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    weights: np.ndarray,
    base: np.ndarray,
    cluster: np.ndarray,
    size: np.ndarray,
    v: int,
    affinity: np.ndarray,
    seen: np.ndarray,
    touched: np.ndarray,
    look: int,
) -> tuple[float, int, float]:
    """What the best move of v gains, its cluster (-1: a fresh one), and the strength of the row, O(row).

    The gain is minus infinity if v is alone and has no neighbour. `seen` (2, n) holds the look in which a
    cluster was last seen from a row entry, and from an edge.
    """
    num_touched, strength = 0, 0.0
    for i in range(indptr[v], indptr[v + 1]):
        c = cluster[neighbours[i]]
        if seen[0, c] != look:
            seen[0, c] = look
            affinity[c] = 0.0
            touched[num_touched] = c
            num_touched += 1
        affinity[c] += weights[i]
        strength += abs(weights[i])
        if base[i]:
            seen[1, c] = look
    own = cluster[v]
    best, most = -1, -np.inf if size[own] == 1 else 0.0
    for i in range(num_touched):
        c = touched[i]
        if c != own and seen[1, c] == look and affinity[c] > most:
            best, most = c, affinity[c]
    stay = affinity[own] if seen[0, own] == look else 0.0
    return most - stay, best, strength
