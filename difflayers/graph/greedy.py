"""Greedy additive contraction: the pair that gains most merges first, one pair at a time.

Unlike merging in rounds, every merge sees what the last one changed (Keuper et al. 2015, Algorithm 1).
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from difflayers.graph.compiling import borrowing
from difflayers.graph.components import join, numbered
from difflayers.graph.minimum import lesser
from difflayers.graph.rows import INDEX

# No pair, no half-edge.
_NONE = np.uint32(0xFFFFFFFF)


class Pairs(NamedTuple):
    """The pairs of neighbours of a graph, each of them once.

    Attributes:
        tail, head: (m,) INDEX, the two nodes, the smaller one first.
        weight: (m,) float64.
        joinable: (m,) uint8, whether the pair may merge: 0 for a pair of lifted edges alone.
    """

    tail: np.ndarray
    head: np.ndarray
    weight: np.ndarray
    joinable: np.ndarray


@njit(nogil=True, cache=True)
def pairs_of(indptr: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, base: np.ndarray) -> Pairs:
    """The pairs of a graph in compressed rows; the weights of parallel edges are added, O(n + m).

    An edge is joinable where `base` (2m,) uint8 says so; an empty `base` means all of them.
    """
    num_nodes, most = indptr.size - 1, neighbours.size // 2
    tail, head = np.empty(most, INDEX), np.empty(most, INDEX)
    weight, joinable = np.empty(most, np.float64), np.empty(most, np.uint8)
    place = np.full(num_nodes, -1, np.int64)
    count = 0
    for v in range(num_nodes):
        start = count
        for i in range(indptr[v], indptr[v + 1]):
            u = neighbours[i]
            if u <= v:
                continue
            e = place[u]
            if e < start:
                e = place[u] = count
                tail[e], head[e], weight[e], joinable[e] = v, u, 0.0, 0
                count += 1
            weight[e] += weights[i]
            joinable[e] |= base[i] if base.size else 1
    return Pairs(tail[:count], head[:count], weight[:count], joinable[:count])


@register_jitable
def merge_greedily(pairs: Pairs, node_costs: np.ndarray) -> tuple[np.ndarray, int]:
    """Component (n,) of every node after all merges that lower the cost, and the number of components.

    Merging u and v gains the weight of their pair less what one common label costs more than two. The work is
    O(m log n) queue operations for one label, and as many looks at all K `node_costs` (n, K) as the merged
    nodes have neighbours otherwise. Nothing that is passed in is changed.
    """
    costs = node_costs.astype(np.float64)
    key = _gains(pairs, costs)
    order = np.flatnonzero(key)
    order = order[np.argsort(-key[order], kind="mergesort")].astype(INDEX)
    return _merge(
        pairs.tail.copy(), pairs.head.copy(), pairs.weight.copy(), pairs.joinable.copy(), costs, key, order
    )


@njit(nogil=True, cache=True)
def _gains(pairs: Pairs, costs: np.ndarray) -> np.ndarray:
    """What merging each pair gains (m,), 0 where it may not or must not merge."""
    gain = np.zeros(pairs.weight.size, np.float64)
    favourite = _favourites(costs)
    for e in range(gain.size):
        if pairs.joinable[e] and pairs.weight[e] > 0.0:
            loss = _loss(costs, favourite, pairs.tail[e], pairs.head[e])
            gain[e] = max(pairs.weight[e] - loss, 0.0)
    return gain


@njit(nogil=True, cache=True)
def _favourites(costs: np.ndarray) -> np.ndarray:
    favourite = np.empty(costs.shape[0], np.int32)
    for v in range(costs.shape[0]):
        favourite[v] = np.argmin(costs[v])
    return favourite


@borrowing
def _loss(costs: np.ndarray, favourite: np.ndarray, u: int, v: int) -> float:
    """What the best common label of u and v costs more than their own."""
    loss = 0.0
    if favourite[u] != favourite[v]:
        least = costs[u, 0] + costs[v, 0]
        for k in range(1, costs.shape[1]):
            least = lesser(least, costs[u, k] + costs[v, k])
        loss = least - (costs[u, favourite[u]] + costs[v, favourite[v]])
    return loss


@borrowing
def _gap(costs: np.ndarray, v: int) -> float:
    """How much more than the cheapest label of v the next one costs."""
    least, following = np.inf, np.inf
    for k in range(costs.shape[1]):
        following = min(following, max(least, costs[v, k]))
        least = min(least, costs[v, k])
    return following - least


@borrowing
def _slot_of(slots: np.ndarray, tail: np.ndarray, head: np.ndarray, u: int, v: int) -> np.uint32:
    """Where the hash table holds the pair of u and v, or would."""
    mask = np.uint32(slots.size - 1)
    a, b = min(u, v), max(u, v)
    mixed = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b) * np.uint64(0xC2B2AE3D27D4EB4F)
    i = np.uint32(mixed >> np.uint64(37)) & mask
    while slots[i] != _NONE and (tail[slots[i]] != a or head[slots[i]] != b):
        i = (i + np.uint32(1)) & mask
    return i


@borrowing
def _push(heap_gain: np.ndarray, heap_pair: np.ndarray, size: np.uint32, gain: float, e: int) -> None:
    i = size
    while i > 0:
        above = (i - INDEX(1)) >> INDEX(1)
        if heap_gain[above] >= gain:
            break
        heap_gain[i], heap_pair[i] = heap_gain[above], heap_pair[above]
        i = above
    heap_gain[i], heap_pair[i] = gain, e


@borrowing
def _pop(heap_gain: np.ndarray, heap_pair: np.ndarray, size: np.uint32) -> None:
    """Take the first entry off a heap of `size + 1` entries: the gap sinks, then the last entry rises."""
    gain, e = heap_gain[size], heap_pair[size]
    i = INDEX(0)
    while True:
        below = INDEX(2 * i + 1)
        if below >= size:
            break
        if below + 1 < size:
            below += INDEX(heap_gain[below + 1] > heap_gain[below])
        heap_gain[i], heap_pair[i] = heap_gain[below], heap_pair[below]
        i = below
    while i > 0:
        above = (i - INDEX(1)) >> INDEX(1)
        if heap_gain[above] >= gain:
            break
        heap_gain[i], heap_pair[i] = heap_gain[above], heap_pair[above]
        i = above
    heap_gain[i], heap_pair[i] = gain, e


@borrowing
def _unlink(first: np.ndarray, after: np.ndarray, before: np.ndarray, h: np.uint32, u: int, v: int) -> None:
    """Take half-edge h out of its list, which is that of u or of v."""
    p, q = before[h], after[h]
    if p != _NONE:
        after[p] = q
    elif first[u] == h:
        first[u] = q
    else:
        first[v] = q
    if q != _NONE:
        before[q] = p


@borrowing
def _link(first: np.ndarray, after: np.ndarray, before: np.ndarray, h: np.uint32, v: int) -> None:
    after[h], before[h] = first[v], _NONE
    if first[v] != _NONE:
        before[first[v]] = h
    first[v] = h


@njit(nogil=True, cache=True)
def _merge(
    tail: np.ndarray,
    head: np.ndarray,
    weight: np.ndarray,
    joinable: np.ndarray,
    costs: np.ndarray,
    key: np.ndarray,
    order: np.ndarray,
) -> tuple[np.ndarray, int]:
    """Merge pairs in the order of their gains, which start sorted as `order`; all arrays are written to.

    Pair e is half-edge 2e in the list of one end and 2e + 1 in that of the other, and stands in a hash table
    by its two ends. A pair whose gain rises joins the heap at once. One whose gain falls keeps its old entry,
    which is replaced when it comes up, so that no pair is ever found too late.
    """
    num_nodes, num_labels = costs.shape
    num_pairs = tail.size
    plain = num_labels == 1
    favourite = _favourites(costs)
    bits = 4
    while (1 << bits) < 4 * num_pairs:
        bits += 1
    slots = np.full(1 << bits, _NONE, INDEX)
    filled = num_pairs
    first, degree = np.full(num_nodes, _NONE, INDEX), np.zeros(num_nodes, np.int32)
    after, before = np.full(2 * num_pairs, _NONE, INDEX), np.full(2 * num_pairs, _NONE, INDEX)
    for e in range(num_pairs):
        slots[_slot_of(slots, tail, head, tail[e], head[e])] = e
        _link(first, after, before, INDEX(2 * e), tail[e])
        _link(first, after, before, INDEX(2 * e + 1), head[e])
        degree[tail[e]] += 1
        degree[head[e]] += 1
    sorted_gain = key[order]
    heap_gain, heap_pair = np.empty(3 * num_pairs, np.float64), np.empty(3 * num_pairs, INDEX)
    size, position = INDEX(0), 0
    parent = np.arange(num_nodes).astype(INDEX)
    while True:
        if position < order.size and (size == 0 or sorted_gain[position] >= heap_gain[0]):
            found, e = sorted_gain[position], order[position]
            position += 1
        elif size:
            found, e = heap_gain[0], heap_pair[0]
            size -= INDEX(1)
            _pop(heap_gain, heap_pair, size)
        else:
            break
        if tail[e] == _NONE or found != key[e]:
            continue
        now = weight[e] if plain else weight[e] - _loss(costs, favourite, tail[e], head[e])
        if now < found:
            key[e] = max(now, 0.0)
            if now > 0.0:
                _push(heap_gain, heap_pair, size, now, e)
                size += INDEX(1)
            continue
        a, b = tail[e], head[e]
        # Of equal degrees, the costs decide, and not the numbers of the nodes.
        if degree[a] < degree[b] or (
            degree[a] == degree[b] and not plain and _gap(costs, a) < _gap(costs, b)
        ):
            a, b = b, a
        if size + degree[a] + degree[b] > heap_gain.size:
            # Old entries fill the heap, so each pair is entered anew, once.
            size, position = INDEX(0), order.size
            for f in range(num_pairs):
                if tail[f] != _NONE and key[f] > 0.0:
                    _push(heap_gain, heap_pair, size, key[f], f)
                    size += INDEX(1)
        _unlink(first, after, before, INDEX(2 * e), a, b)
        _unlink(first, after, before, INDEX(2 * e + 1), a, b)
        tail[e] = head[e] = _NONE
        degree[a] -= 1
        join(parent, a, b)
        refavoured = False
        if not plain:
            for k in range(num_labels):
                costs[a, k] += costs[b, k]
            label = np.argmin(costs[a])
            refavoured = label != favourite[a]
            favourite[a] = label
        h = first[b]
        while h != _NONE:
            following = after[h]
            f = h >> INDEX(1)
            x = tail[f] ^ head[f] ^ b
            slot = _slot_of(slots, tail, head, a, x)
            g = slots[slot]
            if g != _NONE:
                weight[g] += weight[f]
                joinable[g] |= joinable[f]
                _unlink(first, after, before, h ^ INDEX(1), x, x)
                degree[x] -= 1
                tail[f] = head[f] = _NONE
            else:
                if 2 * (filled + 1) > slots.size:
                    slots[:] = _NONE
                    filled = 0
                    for g in range(num_pairs):
                        if tail[g] != _NONE and g != f:
                            slots[_slot_of(slots, tail, head, tail[g], head[g])] = g
                            filled += 1
                    slot = _slot_of(slots, tail, head, a, x)
                slots[slot] = g = f
                filled += 1
                tail[f], head[f] = min(a, x), max(a, x)
                _link(first, after, before, h, a)
                degree[a] += 1
            now = weight[g] if plain else weight[g] - _loss(costs, favourite, tail[g], head[g])
            if joinable[g] and now > key[g]:
                key[g] = now
                _push(heap_gain, heap_pair, size, now, g)
                size += INDEX(1)
            h = following
        if refavoured:  # else what merging with others loses has hardly changed
            h = first[a]
            while h != _NONE:
                f = h >> INDEX(1)
                now = weight[f] - _loss(costs, favourite, tail[f], head[f])
                if joinable[f] and now > key[f]:
                    key[f] = now
                    _push(heap_gain, heap_pair, size, now, f)
                    size += INDEX(1)
                h = after[h]
    return numbered(parent)
