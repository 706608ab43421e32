"""Routes of least cost by dynamic programmes over sets of stops."""

import numpy as np
from numba import njit

from difflayers.solvers.batch import spend
from difflayers.solvers.tour_search import fill_matrix


@njit(nogil=True, cache=True)
def routes_by_table(
    costs: np.ndarray, solutions: np.ndarray, meter: np.ndarray, demands: np.ndarray, vehicles: int
) -> int:
    """Solve rows of costs for demands (B, n) as parts of the capacity; O(2^n n² + vehicles 3^n) per instance.

    If the vehicles suffice for a route per stop, one round of the second programme does.
    """
    n = demands.shape[1]
    everything = (1 << n) - 1
    between = np.empty((n + 1, n + 1))
    load = np.empty(1 << n)
    path = np.empty((1 << n, n))
    route = np.empty(1 << n)
    rounds = vehicles if vehicles < n else 1
    total = np.empty((rounds + 1, 1 << n))
    for row in range(len(costs)):
        if spend(meter, 1 << n):
            return row
        fill_matrix(costs[row], between)
        fill_loads(demands[row], load)
        fill_routes(between, load, path, route)
        total[0] = np.inf
        total[0, 0] = 0
        for used in range(1, rounds + 1):
            if spend(meter, 2 * 3**n):
                return row
            _fill_totals(route, total[used if vehicles == n else used - 1], total[used])
        if total[rounds, everything] == np.inf:
            return row
        stops, used = everything, rounds
        while stops:
            before = used if vehicles == n else used - 1
            first = stops & -stops
            rest, chosen, best = stops ^ first, first, np.inf
            others = rest
            while True:
                through = route[others | first] + total[before, rest ^ others]
                if through < best:
                    best, chosen = through, others | first
                if others == 0:
                    break
                others = (others - 1) & rest
            mark_route(solutions[row], between, path, chosen)
            stops ^= chosen
            used = before
    return -1


@njit(nogil=True, cache=True)
def fill_loads(demand: np.ndarray, load: np.ndarray) -> None:
    """The total demand of every set of stops."""
    load[0] = 0
    for stop in range(demand.size):
        for stops in range(1 << stop):
            load[stops | 1 << stop] = load[stops] + demand[stop]


@njit(nogil=True, cache=True)
def fill_routes(between: np.ndarray, load: np.ndarray, path: np.ndarray, route: np.ndarray) -> None:
    """The cheapest paths from the depot through a set to each of its stops, and the cheapest route.

    This is the dynamic programme of Held and Karp.
    """
    n = len(between) - 1
    path[:] = np.inf
    route[:] = np.inf
    for stop in range(n):
        path[1 << stop, stop] = between[0, stop + 1]
    for stops in range(1, 1 << n):
        if load[stops] > 1:
            continue
        for last in range(n):
            length = path[stops, last]
            if length == np.inf:
                continue
            route[stops] = min(route[stops], length + between[last + 1, 0])
            for following in range(n):
                if not stops >> following & 1:
                    through = length + between[last + 1, following + 1]
                    if through < path[stops | 1 << following, following]:
                        path[stops | 1 << following, following] = through


@njit(nogil=True, cache=True)
def _fill_totals(route: np.ndarray, before: np.ndarray, total: np.ndarray) -> None:
    """The least cost of serving every set: the route of its first stop, and the least cost of the others.

    `before` may be the table itself, because the others are a smaller number.
    """
    total[0] = 0
    for stops in range(1, route.size):
        first = stops & -stops
        rest = stops ^ first
        others, best = rest, np.inf
        while True:
            if route[others | first] < np.inf:
                best = min(best, route[others | first] + before[rest ^ others])
            if others == 0:
                break
            others = (others - 1) & rest
        total[stops] = best


@njit(nogil=True, cache=True)
def mark_route(solution: np.ndarray, between: np.ndarray, path: np.ndarray, stops: int) -> None:
    """Count the edges of the cheapest route through a set of stops, walked backwards."""
    n = len(between) - 1
    after = 0  # a node
    while stops:
        last, best = -1, np.inf
        for stop in range(n):
            # The same sums as in the table, so that the cheapest is the one that made it.
            if stops >> stop & 1 and path[stops, stop] + between[stop + 1, after] < best:
                best, last = path[stops, stop] + between[stop + 1, after], stop
        solution[_edge(n + 1, last + 1, after)] += 1
        stops ^= 1 << last
        after = last + 1
    solution[_edge(n + 1, 0, after)] += 1


@njit(nogil=True, cache=True)
def _edge(num_nodes: int, v: int, w: int) -> int:
    """The number of a pair of nodes, in the order (0, 1), (0, 2), …."""
    first, second = min(v, w), max(v, w)
    return first * num_nodes - first * (first + 1) // 2 + second - first - 1
