"""Routes of least cost as a partition of the stops, among all routes that can be in an optimal solution.

The best route through every set of stops comes from the table of Held and Karp. The linear relaxation of the
partition problem is solved by column generation, with cuts: of the routes that meet two of three stops or all
three, one is taken at most (Jepsen, Petersen, Spoorendonk and Pisinger, Operations Research 2008). A route
whose reduced cost exceeds the gap between the relaxation and a known solution is in no better solution
(Baldacci, Christofides and Mingozzi, Mathematical Programming 2008). HiGHS chooses among the others.
"""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from difflayers.solver import Array, SolverError
from difflayers.solvers.integer_programs import TYPICAL, least
from difflayers.solvers.route_tables import fill_loads, fill_routes, mark_route
from difflayers.solvers.tour_search import fill_matrix

# So many routes and cuts enter the relaxation at a time, and cuts so often.
NEW_COLUMNS = 100
NEW_CUTS = 20
MOST_ROUNDS = 40
VIOLATED = 0.02
# So many routes are tried first, and up to so many times as many next.
FIRST_COLUMNS = 500
MORE = 4
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
    reduced, bound = _relax(routes, vehicles)
    # The cheapest columns give a good solution, whose gap leaves few columns for the last choice. There, the
    # cuts would take HiGHS longer than they save.
    order = np.argsort(reduced, kind="stable")
    size, best = FIRST_COLUMNS, np.inf
    while True:
        columns = order[:size]
        best, chosen = _partition(routes, columns, vehicles)
        needed = int((reduced <= best - bound + TOLERANCE * max(abs(best), abs(bound))).sum())
        if needed <= size:
            break
        size = needed if needed < MORE * size else MORE * size
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


def _relax(routes: Routes, vehicles: int) -> tuple[Array, float]:
    """Reduced costs of all routes in a linear relaxation with cuts, and its value, a lower bound."""
    from scipy.optimize import linprog

    num_stops = routes.inside.shape[1]
    columns = np.flatnonzero(routes.inside.sum(axis=1) == 1)
    inside = routes.inside.astype(float)
    triples = np.array(list(combinations(range(num_stops), 3)), np.int64).reshape(-1, 3)
    known = np.zeros(len(triples), bool)
    meets = np.ones((len(inside), 1))  # in the inequalities: the number of routes, then the cuts
    limits = np.array([float(vehicles)])
    rounds = 0
    while True:
        cost, rows = _with_penalties(routes, columns)
        result = linprog(
            cost,
            A_eq=rows,
            b_eq=np.ones(num_stops),
            A_ub=_unless_left_out(meets[columns], num_stops),
            b_ub=limits,
            method="highs",
        )
        prices, prices_of_cuts = result.eqlin.marginals, np.minimum(result.ineqlin.marginals, 0)
        reduced = routes.cost - inside @ prices - meets @ prices_of_cuts
        new = np.flatnonzero(reduced < -TOLERANCE * TYPICAL)
        if len(new) > NEW_COLUMNS:
            new = new[np.argpartition(reduced[new], NEW_COLUMNS)[:NEW_COLUMNS]]
        new = np.setdiff1d(new, columns)
        if new.size:
            columns = np.append(columns, new)
            continue
        weights = result.x[: len(columns)]
        taken, weights = routes.inside[columns[weights > 0]], weights[weights > 0]
        load = (weights[:, None] * (taken[:, triples].sum(axis=2) >= 2)).sum(axis=0)
        violated = np.flatnonzero((load > 1 + VIOLATED) & ~known)
        rounds += 1
        if violated.size == 0 or rounds > MOST_ROUNDS:
            break
        violated = violated[np.argsort(-load[violated], kind="stable")[:NEW_CUTS]]
        known[violated] = True
        cuts = routes.inside[:, triples[violated]].sum(axis=2) >= 2
        meets = np.concatenate([meets, cuts], axis=1)
        limits = np.append(limits, np.ones(len(violated)))
    # Feasible prices give a bound whatever the tolerance of HiGHS is.
    slack = min(0.0, float(reduced.min())) * num_stops
    return reduced, float(prices.sum() + limits @ prices_of_cuts) + slack


def _partition(routes: Routes, columns: Array, vehicles: int) -> tuple[float, Array]:
    """The least cost of a partition into some of the routes, and these."""
    from scipy.optimize import LinearConstraint

    num_stops = routes.inside.shape[1]
    cost, rows = _with_penalties(routes, columns)
    taken = least(
        cost,
        [
            LinearConstraint(rows, 1, 1),
            LinearConstraint(_unless_left_out(np.ones((len(columns), 1)), num_stops), -np.inf, vehicles),
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


def _unless_left_out(meets: Array, num_stops: int) -> Array:
    """Rows (k, r + n) of inequalities in which routes take meets (r, k), and left-out stops nothing."""
    return np.concatenate([meets, np.zeros((num_stops, meets.shape[1]))]).T
