"""Routes of least cost as a partition of the stops, among all routes that can be in an optimal solution.

The best route through every set of stops comes from the table of Held and Karp. The linear relaxation of the
partition problem is solved by column generation. A route whose reduced cost exceeds the gap between the
relaxation and a known solution is in no better solution (Baldacci, Christofides and Mingozzi, Mathematical
Programming 2008), and HiGHS chooses among the few that are left.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from difflayers.solver import Array, SolverError
from difflayers.solvers.integer_programs import TYPICAL, least
from difflayers.solvers.route_tables import fill_loads, fill_routes, mark_route
from difflayers.solvers.tour_search import fill_matrix

# So many routes enter the relaxation at a time.
NEW_COLUMNS = 100
TOLERANCE = 1e-9


class Routes(NamedTuple):
    """The feasible routes of one instance."""

    stops: Array  # (r,) the stops of each route as bits
    cost: Array  # (r,), scaled
    inside: Array  # (r, n) bool, whether each stop is on the route
    penalty: float  # what a stop that is on no route costs, more than any solution


def routes_by_columns(costs: Array, demand: Array, vehicles: int) -> Array:
    """Return how often each edge is used (m,), for one instance; raises SolverError if it is infeasible."""
    between = np.empty((len(demand) + 1, len(demand) + 1))
    fill_matrix(costs, between)
    path, route = _tables(between, demand)
    routes = _feasible(route, len(demand))
    columns, reduced, bound = _relax(routes, vehicles)
    best, chosen = _partition(routes, columns, vehicles)
    near = np.flatnonzero(reduced <= best - bound + TOLERANCE * max(abs(best), abs(bound)))
    if len(near) > len(chosen):
        best, chosen = _partition(routes, near, vehicles)
    if not routes.inside[chosen].any(axis=0).all():
        raise SolverError("no routes of finite cost within the capacity")
    solution = np.zeros(len(costs))
    for index in chosen:
        mark_route(solution, between, path, routes.stops[index])
    return solution


@njit(nogil=True, cache=True)
def _tables(between: Array, demand: Array) -> tuple[Array, Array]:
    """The tables of Held and Karp over all sets of stops within the capacity; O(2^n n²)."""
    n = demand.size
    load, path, route = np.empty(1 << n), np.empty((1 << n, n)), np.empty(1 << n)
    fill_loads(demand, load)
    fill_routes(between, load, path, route)
    return path, route


def _feasible(route: Array, num_stops: int) -> Routes:
    stops = np.flatnonzero(route < np.inf)
    if stops.size == 0:
        raise SolverError("no route of finite cost")
    typical = float(np.median(np.abs(route[stops])))
    cost = route[stops] * (TYPICAL / typical if typical > 0 else 1.0)
    inside = (stops[:, None] >> np.arange(num_stops) & 1).astype(bool)
    return Routes(stops, cost, inside, 1 + 4 * num_stops * float(np.abs(cost).max()))


def _relax(routes: Routes, vehicles: int) -> tuple[Array, Array, float]:
    """The columns that the linear relaxation has generated, all reduced costs, and its value."""
    from scipy.optimize import linprog

    num_stops = routes.inside.shape[1]
    columns = np.flatnonzero(routes.inside.sum(axis=1) == 1)
    while True:
        cost, rows = _with_penalties(routes, columns)
        result = linprog(
            cost,
            A_eq=rows,
            b_eq=np.ones(num_stops),
            A_ub=_counting(len(columns), num_stops),
            b_ub=[vehicles],
            method="highs",
        )
        prices, price = result.eqlin.marginals, result.ineqlin.marginals[0]
        reduced = routes.cost - routes.inside @ prices - price
        new = np.argsort(reduced, kind="stable")[:NEW_COLUMNS]
        new = np.setdiff1d(new[reduced[new] < -TOLERANCE * TYPICAL], columns)
        if new.size == 0:
            # Feasible prices give a bound whatever the tolerance of HiGHS is.
            slack = min(0.0, float(reduced.min(initial=0))) * num_stops
            return columns, reduced, float(prices.sum() + vehicles * price) + slack
        columns = np.append(columns, new)


def _partition(routes: Routes, columns: Array, vehicles: int) -> tuple[float, Array]:
    """The least cost of a partition into some of the routes, and these."""
    from scipy.optimize import LinearConstraint

    num_stops = routes.inside.shape[1]
    cost, rows = _with_penalties(routes, columns)
    taken = least(
        cost,
        [
            LinearConstraint(rows, 1, 1),
            LinearConstraint(_counting(len(columns), num_stops), -np.inf, vehicles),
        ],
    )
    return float(cost @ taken), columns[taken[: len(columns)] > 0]


def _with_penalties(routes: Routes, columns: Array) -> tuple[Array, Any]:
    """Costs and rows (n, r + n) of some routes, and of leaving out each stop."""
    from scipy.sparse import csc_array

    num_stops = routes.inside.shape[1]
    cost = np.append(routes.cost[columns], np.full(num_stops, routes.penalty))
    rows = np.concatenate([routes.inside[columns], np.eye(num_stops, dtype=bool)])
    return cost, csc_array(rows.T.astype(float))


def _counting(num_routes: int, num_stops: int) -> Array:
    """The row (1, r + n) that counts routes."""
    return np.append(np.ones(num_routes), np.zeros(num_stops))[None]
