"""Edmonds' blossom algorithm for the perfect matching of least cost, on integers.

Odd cycles of tight edges are shrunk to blossoms, and a blossom may contain other blossoms. Numbers below n
are vertices, numbers from n on are blossoms. The nodes of the graph that is searched are the outermost
blossoms and the vertices outside of all blossoms. Vertices have prices y and blossoms have prices z ≥ 0, such
that no edge has a negative slack. The slack of an edge is 2c(u, v) − y(u) − y(v), plus z of the blossoms that
contain the edge. Edges of the matching and of blossoms have slack 0, which proves optimality. (Edmonds, 1965;
one search tree at a time as in Cook and Rohe, 1999. Slacks between two nodes of a tree are even, so all
prices stay integers.)
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from difflayers.solvers.batch import spend

FREE, EVEN, ODD = 0, 1, 2
# Bits for the costs of n nodes are these less those of n, as prices grow to a multiple of n times a cost.
PRICE_BITS = 58
UNBOUNDED = np.int64(2**62)


class Blossoms(NamedTuple):
    """The matching and the blossoms of one instance; N = n + n // 2, and entry b − n belongs to blossom b."""

    mate: np.ndarray  # (n,) vertex matched to each, or -1
    outer: np.ndarray  # (n,) outermost blossom around a vertex, or itself
    price: np.ndarray  # (n,) y
    thickness: np.ndarray  # (N - n,) z
    parent: np.ndarray  # (N,) blossom directly around, or -1
    base: np.ndarray  # (N,) the vertex that is not matched inside
    size: np.ndarray  # (N - n,) number of children, 0 for an unused blossom
    children: np.ndarray  # (N - n, n) in cyclic order; child 0 holds the base, (1, 2), (3, 4), … are matched
    link_from: np.ndarray  # (N - n, n) edge from child i to child i + 1: its vertex in child i,
    link_to: np.ndarray  # and that in child i + 1
    label: np.ndarray  # (N,) FREE, EVEN or ODD distance from the root of the search tree
    entry_from: np.ndarray  # (N,) tree edge by which an odd node was reached: its vertex in the even node,
    entry_to: np.ndarray  # and that in the odd one


@njit(nogil=True, cache=True)
def perfect_matchings(
    costs: np.ndarray,
    solutions: np.ndarray,
    meter: np.ndarray,
    num_nodes: int,
    tails: np.ndarray,
    heads: np.ndarray,
) -> int:
    """Grow a search tree from one unmatched vertex after the other, O(n² m) per instance.

    All perfect matchings have as many edges, so the costs count from the lowest one on. Edges that alone cost
    more than a whole matching are left out, and if the others are far cheaper, they are solved anew in a
    finer unit: one prohibitive cost does not blur the rest.
    """
    n, inner = num_nodes, num_nodes // 2
    state = Blossoms(
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.int64),
        np.empty(inner, np.int64),
        np.empty(n + inner, np.int32),
        np.empty(n + inner, np.int32),
        np.empty(inner, np.int32),
        np.empty((inner, n), np.int32),
        np.empty((inner, n), np.int32),
        np.empty((inner, n), np.int32),
        np.empty(n + inner, np.int8),
        np.empty(n + inner, np.int32),
        np.empty(n + inner, np.int32),
    )
    doubled = np.empty(tails.size, np.int64)
    usable = np.empty(tails.size, np.int32)
    chosen = np.empty(n, np.int32)
    for row in range(len(costs)):
        lowest, limit = np.inf, -np.inf
        for cost in costs[row]:
            if cost < np.inf:
                lowest, limit = min(lowest, cost), max(limit, cost)
        limit -= lowest
        while True:
            num_usable = _integer_costs(costs[row], lowest, limit, num_nodes, doubled, usable)
            _start(state, tails, heads, doubled, usable[:num_usable])
            for root in range(n):
                if state.mate[root] < 0 and not _search(
                    state, root, meter, tails, heads, doubled, usable[:num_usable]
                ):
                    return row
            # Of parallel edges the first of the cheapest.
            chosen[:] = -1
            for e in usable[:num_usable]:
                if state.mate[tails[e]] == heads[e]:
                    pair = min(tails[e], heads[e])
                    if chosen[pair] < 0 or costs[row, e] < costs[row, chosen[pair]]:
                        chosen[pair] = e
            total = 0.0
            for e in chosen:
                if e >= 0:
                    total += costs[row, e] - lowest
            if not total < limit / 4:
                break
            limit = total * (1 + 1e-9)
        for e in chosen:
            if e >= 0:
                solutions[row, e] = 1
    return -1


@njit(nogil=True, cache=True)
def _integer_costs(
    costs: np.ndarray, lowest: float, limit: float, num_nodes: int, doubled: np.ndarray, usable: np.ndarray
) -> int:
    """Twice the costs above the lowest as integers, and the edges up to the limit; returns their number."""
    count, largest = 0, 0.0
    for e in range(costs.size):
        if costs[e] - lowest <= limit:
            usable[count] = e
            count += 1
            largest = max(largest, costs[e] - lowest)
    shift = PRICE_BITS - math.frexp(float(num_nodes))[1] - math.frexp(largest)[1]
    for e in usable[:count]:
        doubled[e] = 2 * np.int64(np.rint(math.ldexp(costs[e] - lowest, shift)))
    return count


@njit(nogil=True, cache=True)
def _start(
    state: Blossoms, tails: np.ndarray, heads: np.ndarray, doubled: np.ndarray, usable: np.ndarray
) -> None:
    """Start without blossoms, with the cheapest cost of its edges as price of a vertex; match tight edges."""
    n = state.mate.size
    state.mate[:] = -1
    state.parent[:] = -1
    state.size[:] = 0
    state.price[:] = UNBOUNDED
    for v in range(n):
        state.outer[v] = state.base[v] = v
    for e in usable:
        state.price[tails[e]] = min(state.price[tails[e]], doubled[e] // 2)
        state.price[heads[e]] = min(state.price[heads[e]], doubled[e] // 2)
    for e in usable:
        u, v = tails[e], heads[e]
        if state.mate[u] < 0 and state.mate[v] < 0 and doubled[e] == state.price[u] + state.price[v]:
            state.mate[u], state.mate[v] = v, u


@njit(nogil=True, cache=True)
def _search(
    state: Blossoms,
    root: int,
    meter: np.ndarray,
    tails: np.ndarray,
    heads: np.ndarray,
    doubled: np.ndarray,
    usable: np.ndarray,
) -> bool:
    """Grow a tree of tight edges until it reaches an unmatched node, and match along the way, O(n m).

    False if prices can rise for ever, so that there is no perfect matching, or if it was stopped.
    """
    n = state.mate.size
    label, outer, mate = state.label, state.outer, state.mate
    label[:] = FREE
    label[outer[root]] = EVEN
    while not spend(meter, 2 * (n + usable.size)):
        grown, step = False, UNBOUNDED
        for b in range(n, label.size):
            if state.size[b - n] and state.parent[b] < 0 and label[b] == ODD:
                if state.thickness[b - n] == 0:
                    _expand(state, b)
                    grown = True
                else:
                    step = min(step, state.thickness[b - n])
        for e in usable:
            u, v = tails[e], heads[e]
            if label[outer[u]] != EVEN:
                u, v = v, u
            if label[outer[u]] != EVEN or label[outer[v]] == ODD or outer[u] == outer[v]:
                continue
            slack = doubled[e] - state.price[u] - state.price[v]
            if slack > 0:
                step = min(step, slack // 2 if label[outer[v]] == EVEN else slack)
                continue
            if label[outer[v]] == EVEN:
                _shrink(state, u, v)
            else:
                label[outer[v]] = ODD
                state.entry_from[outer[v]], state.entry_to[outer[v]] = u, v
                partner = mate[state.base[outer[v]]]
                if partner < 0:
                    _augment(state, outer[v])
                    return True
                label[outer[partner]] = EVEN
            grown = True
        if grown:
            continue
        if step == UNBOUNDED:
            return False
        for v in range(n):
            if label[outer[v]] == EVEN:
                state.price[v] += step
            elif label[outer[v]] == ODD:
                state.price[v] -= step
        for b in range(n, label.size):
            if state.size[b - n] and state.parent[b] < 0:
                if label[b] == EVEN:
                    state.thickness[b - n] += step
                elif label[b] == ODD:
                    state.thickness[b - n] -= step
    return False


@njit(nogil=True, cache=True)
def _augment(state: Blossoms, odd: int) -> None:
    """Exchange matched and unmatched edges on the tree path from an unmatched odd node to the root."""
    while True:
        u, v = state.entry_from[odd], state.entry_to[odd]
        even = state.outer[u]
        next_mate = state.mate[state.base[even]]
        _rebase(state, odd, v)
        _rebase(state, even, u)
        state.mate[u], state.mate[v] = v, u
        if next_mate < 0:
            return
        odd = state.outer[next_mate]


@njit(nogil=True, cache=True)
def _rebase(state: Blossoms, node: int, vertex: int) -> None:
    """Change the matching inside a node so that this vertex becomes the one that is not matched inside."""
    n = state.mate.size
    if node < n:
        return
    b = node - n
    size = state.size[b]
    child, place = _child_around(state, node, vertex)
    _rebase(state, child, vertex)
    # From the child to the old base, the way with an even number of links: every other link becomes matched.
    begin, end = (place + 1, size) if place % 2 else (0, place)
    for link in range(begin, end, 2):
        u, v = state.link_from[b, link], state.link_to[b, link]
        _rebase(state, state.children[b, link], u)
        _rebase(state, state.children[b, (link + 1) % size], v)
        state.mate[u], state.mate[v] = v, u
    for cycle in (state.children[b], state.link_from[b], state.link_to[b]):
        cycle[:size] = np.concatenate((cycle[place:size], cycle[:place]))
    state.base[node] = vertex


@njit(nogil=True, cache=True)
def _child_around(state: Blossoms, blossom: int, vertex: int) -> tuple[int, int]:
    """The child of a blossom in which a vertex lies, and its place in the cycle."""
    child = vertex
    while state.parent[child] != blossom:
        child = state.parent[child]
    place = 0
    while state.children[blossom - state.mate.size, place] != child:
        place += 1
    return child, place


@njit(nogil=True, cache=True)
def _shrink(state: Blossoms, u: int, v: int) -> None:
    """Make one even node of the cycle that a tight edge closes between two even nodes of the tree, O(n)."""
    n = state.mate.size
    top = _meeting(state, state.outer[u], state.outer[v])
    b = 0
    while state.size[b]:
        b += 1
    children, link_from, link_to = state.children[b], state.link_from[b], state.link_to[b]
    # From u up to the top, then reversed, because the links of the way up point against the cycle.
    count = 0
    node = state.outer[u]
    while node != top:
        odd = state.outer[state.mate[state.base[node]]]
        children[count], children[count + 1] = node, odd
        link_to[count], link_from[count] = state.base[node], state.mate[state.base[node]]
        link_to[count + 1], link_from[count + 1] = state.entry_to[odd], state.entry_from[odd]
        node = state.outer[state.entry_from[odd]]
        count += 2
    children[count] = top
    children[: count + 1] = children[: count + 1][::-1].copy()
    link_from[:count] = link_from[:count][::-1].copy()
    link_to[:count] = link_to[:count][::-1].copy()
    # Across the edge, and from v up to the top.
    link_from[count], link_to[count] = u, v
    count += 1
    node = state.outer[v]
    while node != top:
        odd = state.outer[state.mate[state.base[node]]]
        children[count], children[count + 1] = node, odd
        link_from[count], link_to[count] = state.base[node], state.mate[state.base[node]]
        link_from[count + 1], link_to[count + 1] = state.entry_to[odd], state.entry_from[odd]
        node = state.outer[state.entry_from[odd]]
        count += 2
    state.size[b] = count
    state.thickness[b] = 0
    state.base[n + b] = state.base[top]
    state.label[n + b] = EVEN
    state.parent[n + b] = -1
    for child in children[:count]:
        state.parent[child] = n + b
    for vertex in range(n):
        if state.parent[state.outer[vertex]] >= 0:
            state.outer[vertex] = n + b


@njit(nogil=True, cache=True)
def _meeting(state: Blossoms, one: int, other: int) -> int:
    """The first even node that the tree paths from two even nodes to the root share, O(n)."""
    seen = np.zeros(state.label.size, np.bool_)
    while True:
        seen[one] = True
        partner = state.mate[state.base[one]]
        if partner < 0:
            break
        one = state.outer[state.entry_from[state.outer[partner]]]
    while not seen[other]:
        other = state.outer[state.entry_from[state.outer[state.mate[state.base[other]]]]]
    return other


@njit(nogil=True, cache=True)
def _expand(state: Blossoms, blossom: int) -> None:
    """Replace an odd blossom of the tree by its children.

    Of the two ways round the cycle, the one with an even number of links stays in the tree.
    """
    n = state.mate.size
    b = blossom - n
    size = state.size[b]
    u, v = state.entry_from[blossom], state.entry_to[blossom]
    child, place = _child_around(state, blossom, v)
    for vertex in range(n):
        if state.outer[vertex] == blossom:
            inside = vertex
            while state.parent[inside] != blossom:
                inside = state.parent[inside]
            state.outer[vertex] = inside
    for inside in state.children[b, :size]:
        state.parent[inside] = -1
        state.label[inside] = FREE
    while True:
        state.label[child] = ODD
        state.entry_from[child], state.entry_to[child] = u, v
        if place == 0:
            break
        # Over the matched link to an even node, and over the next one to an odd node.
        if place % 2:
            u, v = state.link_from[b, place + 1], state.link_to[b, place + 1]
            place = (place + 2) % size
        else:
            place -= 2
            u, v = state.link_to[b, place], state.link_from[b, place]
        state.label[state.outer[u]] = EVEN
        child = state.children[b, place]
    state.size[b] = 0
