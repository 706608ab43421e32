"""Short round tours beyond what can be solved exactly: 2-opt and Or-opt, from many perturbed tours.

A tour is improved by two moves until neither gains: 2-opt replaces two edges, Or-opt moves up to three
consecutive nodes elsewhere. Both are tried only towards the nearest neighbours of nodes whose surroundings
have changed (Bentley, 1992; Johnson and McGeoch, 1997). Then a few nearby edges are exchanged at random (a
double bridge, as in Martin, Otto and Felten, 1991), the tour is improved around them, and where it has become
longer that is undone.

All moves consist of reversals of stretches of the tour, so a log of reversals suffices to undo them. Costs
are integers, so that a gain is a gain however wide the range of the costs is, and every search ends.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from difflayers.solvers.batch import spend

NEIGHBOURS = 8
MAX_SEGMENT = 3
# A perturbation exchanges stretches of up to so many nodes.
MAX_STRETCH = 50
# A perturbation or a move has so many reversals at most.
LONGEST_STEP = 3
SEED = np.uint64(0x9E3779B97F4A7C15)
# Sums of n costs stay below 2^62.
SUM_BITS = 60


class Tour(NamedTuple):
    """A tour that is being changed."""

    between: np.ndarray  # (n, n) int64 costs
    near: np.ndarray  # (n, k) nearest neighbours
    at: np.ndarray  # (n,) node at each place
    place: np.ndarray  # (n,) place of each node
    log: np.ndarray  # (., 2) reversals: first and last place
    queue: np.ndarray  # (n,) nodes to be looked at, cyclic
    queued: np.ndarray  # (n,) whether a node is in the queue
    counts: np.ndarray  # (3,) first entry of the queue, its length, length of the log


@njit(nogil=True, cache=True)
def improved_tours(
    costs: np.ndarray, solutions: np.ndarray, meter: np.ndarray, num_nodes: int, starts: int
) -> int:
    """Solve rows of costs; about O(starts n²) per instance."""
    n = num_nodes
    between = np.empty((n, n))
    num_near = min(NEIGHBOURS, n - 1)
    tour = Tour(
        np.empty((n, n), np.int64),
        np.empty((n, num_near), np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty((10 * n, 2), np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.bool_),
        np.empty(3, np.int64),
    )
    for row in range(len(costs)):
        fill_matrix(costs[row], between)
        _nearest_neighbour_tour(between, tour.at)
        _integer_costs(between, tour)
        _find_near(tour)
        if spend(meter, 50 * n * n):
            return row
        if not _search(tour, starts * n * n // 200, meter):
            return row
        for place in range(n):
            if between[tour.at[place - 1], tour.at[place]] == np.inf:
                return row
        mark_tour(solutions[row], tour.at)
    return -1


@njit(nogil=True, cache=True)
def fill_matrix(costs: np.ndarray, between: np.ndarray) -> None:
    """Write the costs of pairs into a symmetric matrix."""
    edge = 0
    for v in range(len(between)):
        between[v, v] = 0
        for w in range(v + 1, len(between)):
            between[v, w] = between[w, v] = costs[edge]
            edge += 1


@njit(nogil=True, cache=True)
def mark_tour(solution: np.ndarray, tour: np.ndarray) -> None:
    """Write 1 for the pairs of nodes that follow each other in a tour."""
    n = len(tour)
    for place in range(n):
        v, w = min(tour[place - 1], tour[place]), max(tour[place - 1], tour[place])
        # Number of pairs before those of v, and on from (v, v + 1).
        solution[v * n - v * (v + 1) // 2 + w - v - 1] = 1


@njit(nogil=True, cache=True)
def _nearest_neighbour_tour(between: np.ndarray, tour: np.ndarray) -> None:
    """Always on to the nearest node not yet visited, O(n²)."""
    for v in range(len(tour)):
        tour[v] = v
    for place in range(1, len(tour)):
        nearest = place
        for candidate in range(place + 1, len(tour)):
            if between[tour[place - 1], tour[candidate]] < between[tour[place - 1], tour[nearest]]:
                nearest = candidate
        tour[place], tour[nearest] = tour[nearest], tour[place]


@njit(nogil=True, cache=True)
def _integer_costs(between: np.ndarray, tour: Tour) -> None:
    """Costs in the finest unit in which no sum overflows, counted from the lowest one.

    All tours have n edges, so the offset changes nothing. An edge that costs more than the whole first tour
    is in no better tour. All such edges get the same cost, so that a prohibitive
    cost does not blur the others.
    """
    n = len(between)
    lowest, highest, length = np.inf, -np.inf, 0.0
    for v in range(n):
        for w in range(v):
            if between[v, w] < np.inf:
                lowest, highest = min(lowest, between[v, w]), max(highest, between[v, w])
    if lowest == np.inf:
        lowest = highest = 0.0
    for place in range(n):
        length += between[tour.at[place - 1], tour.at[place]] - lowest
    length *= 1 + 1e-9
    most = min(length, highest - lowest)
    # If the first tour takes forbidden edges, one of them must cost more than all others together.
    factor = n + 1 if length == np.inf else 1
    shift = SUM_BITS - math.frexp(float(n) * factor)[1] - math.frexp(most)[1]
    forbidden = factor * np.int64(math.ldexp(most, shift)) + 1
    for v in range(n):
        for w in range(n):
            cost = between[v, w] - lowest
            if v == w:
                tour.between[v, w] = 0
            elif cost > most:
                tour.between[v, w] = forbidden
            else:
                tour.between[v, w] = np.int64(np.rint(math.ldexp(cost, shift)))


@njit(nogil=True, cache=True)
def _find_near(tour: Tour) -> None:
    """The nearest neighbours of each node from the nearest on, O(n² k) at worst."""
    n, num_near = tour.near.shape
    for v in range(n):
        found = 0
        for w in range(n):
            if w == v:
                continue
            if found == num_near:
                if tour.between[v, w] >= tour.between[v, tour.near[v, found - 1]]:
                    continue
                found -= 1
            spot = found
            while spot > 0 and tour.between[v, tour.near[v, spot - 1]] > tour.between[v, w]:
                tour.near[v, spot] = tour.near[v, spot - 1]
                spot -= 1
            tour.near[v, spot] = w
            found += 1


@njit(nogil=True, cache=True)
def _search(tour: Tour, perturbations: int, meter: np.ndarray) -> bool:
    """Improve the tour, and then a number of perturbed ones; False if stopped."""
    n = tour.at.size
    tour.counts[:] = 0
    tour.queued[:] = False
    for place in range(n):
        tour.place[tour.at[place]] = place
    for place in range(n):
        _look_at(tour, tour.at[place])
    while tour.counts[1]:
        tour.counts[2] = 0
        _improve(tour)
        if spend(meter, 1000 * n):
            return False
    random = SEED
    for trial in range(perturbations):
        if trial % 64 == 0 and spend(meter, 64 * (1000 + 2 * n)):
            return False
        tour.counts[2] = 0
        random ^= random << np.uint64(13)
        random ^= random >> np.uint64(7)
        random ^= random << np.uint64(17)
        gain = _perturb(tour, random) + _improve(tour)
        if gain < 0:
            for step in range(tour.counts[2] - 1, -1, -1):
                _turn(tour, tour.log[step, 0], tour.log[step, 1])
    return True


@njit(nogil=True, cache=True)
def _look_at(tour: Tour, node: int) -> None:
    if not tour.queued[node]:
        n = tour.at.size
        tour.queued[node] = True
        end = tour.counts[0] + tour.counts[1]
        tour.queue[end - n if end >= n else end] = node
        tour.counts[1] += 1


@njit(nogil=True, cache=True)
def _exchange(tour: Tour, a: int, b: int, c: int, e: int) -> None:
    """Replace the edges (a, b) and (c, e) by (a, c) and (b, e); the tour runs a b … c e or e c … b a."""
    if _next(tour, a) == b:
        first, last = tour.place[b], tour.place[c]
    else:
        first, last = tour.place[c], tour.place[b]
    _turn(tour, first, last)
    tour.log[tour.counts[2], 0], tour.log[tour.counts[2], 1] = first, last
    tour.counts[2] += 1


@njit(nogil=True, cache=True)
def _turn(tour: Tour, first: int, last: int) -> None:
    """Reverse a stretch, or the rest of the tour where that is shorter, which is the same tour."""
    n = tour.at.size
    length = last - first + 1
    if length <= 0:
        length += n
    if 2 * length > n:
        first, last, length = last + 1, first - 1, n - length
        first = 0 if first == n else first
        last = n - 1 if last < 0 else last
    for _ in range(length // 2):
        v, w = tour.at[first], tour.at[last]
        tour.at[first], tour.at[last] = w, v
        tour.place[w], tour.place[v] = first, last
        first = 0 if first == n - 1 else first + 1
        last = n - 1 if last == 0 else last - 1


@njit(nogil=True, cache=True)
def _next(tour: Tour, node: int) -> int:
    place = tour.place[node] + 1
    return tour.at[0 if place == tour.at.size else place]


@njit(nogil=True, cache=True)
def _previous(tour: Tour, node: int) -> int:
    return tour.at[tour.place[node] - 1]


@njit(nogil=True, cache=True)
def _improve(tour: Tour) -> int:
    """Apply moves that gain until the queue is empty or the log is full; returns the gain."""
    total = 0
    while tour.counts[1] and tour.counts[2] + LONGEST_STEP < len(tour.log):
        node = tour.queue[tour.counts[0]]
        tour.counts[0] = 0 if tour.counts[0] == tour.at.size - 1 else tour.counts[0] + 1
        tour.counts[1] -= 1
        tour.queued[node] = False
        gain = _two_opt(tour, node)
        if gain == 0:
            gain = _or_opt(tour, node)
        if gain > 0:
            total += gain
            _look_at(tour, node)
    return total


@njit(nogil=True, cache=True)
def _two_opt(tour: Tour, a: int) -> int:
    """Replace an edge at a node and another one where that gains; returns the gain."""
    d = tour.between
    for forward in (True, False):
        b = _next(tour, a) if forward else _previous(tour, a)
        for c in tour.near[a]:
            saved = d[a, b] - d[a, c]
            if saved <= 0:
                break
            e = _next(tour, c) if forward else _previous(tour, c)
            gain = saved + d[c, e] - d[b, e]
            if gain > 0:
                _exchange(tour, a, b, c, e)
                for node in (a, b, c, e):
                    _look_at(tour, node)
                return gain
    return 0


@njit(nogil=True, cache=True)
def _or_opt(tour: Tour, a: int) -> int:
    """Move up to three nodes that end at a node next to one near it where that gains; returns the gain."""
    d, n = tour.between, tour.at.size
    for forward in (True, False):
        # The stretch goes from a backwards (or forwards) to z; its outer neighbours are b, at a, and y, at z.
        b = _next(tour, a) if forward else _previous(tour, a)
        z = a
        for length in range(1, MAX_SEGMENT + 1):
            if length > 1:
                z = _previous(tour, z) if forward else _next(tour, z)
            y = _previous(tour, z) if forward else _next(tour, z)
            if y == b or n < length + 3:
                break
            removed = d[a, b] + d[y, z] - d[y, b]
            for c in tour.near[a]:
                if removed - d[a, c] <= 0:
                    break
                ahead = (
                    (tour.place[c] - tour.place[z]) % n if forward else (tour.place[z] - tour.place[c]) % n
                )
                if ahead < length:
                    continue
                for e in (_next(tour, c), _previous(tour, c)):
                    if e in (a, z):
                        continue
                    gain = removed - d[a, c] - d[z, e] + d[c, e]
                    if gain > 0:
                        # From y z … a b … (c e or e c) to y b … c a … z e, or y b … e z … a c.
                        turned = (e == _next(tour, c)) == forward
                        far, near = (e, c) if turned else (c, e)
                        _exchange(tour, y, z, near, far)
                        if near != b:
                            _exchange(tour, y, near, b, a)
                        if not turned:
                            _exchange(tour, near, a, z, far)
                        for node in (a, z, b, y, c, e):
                            _look_at(tour, node)
                        return gain
    return 0


@njit(nogil=True, cache=True)
def _perturb(tour: Tour, random: np.uint64) -> int:
    """Exchange two neighbouring stretches of the tour, chosen at random; returns the gain, mostly a loss."""
    d, n = tour.between, tour.at.size
    longest = min(MAX_STRETCH, (n - 2) // 2)
    one = 1 + int((random >> np.uint64(8)) % np.uint64(longest))
    two = 1 + int((random >> np.uint64(24)) % np.uint64(longest))
    first = int((random >> np.uint64(40)) % np.uint64(n))
    middle, last = (first + one - 1) % n, (first + one + two - 1) % n
    a, b = tour.at[first - 1], tour.at[first]
    c, e = tour.at[middle], tour.at[(middle + 1) % n]
    f, g = tour.at[last], tour.at[(last + 1) % n]
    _exchange(tour, a, b, f, g)
    if f != e:
        _exchange(tour, a, f, e, c)
    if c != b:
        _exchange(tour, f, c, b, g)
    for node in (a, b, c, e, f, g):
        _look_at(tour, node)
    return d[a, b] + d[c, e] + d[f, g] - d[a, e] - d[f, b] - d[c, g]
