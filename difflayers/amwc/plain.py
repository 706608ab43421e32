"""A problem of any costs, solved by a solver that knows no constraints and no extreme units."""

from collections.abc import Callable

import numpy as np

from difflayers.amwc.constraints import solve_constrained
from difflayers.amwc.problem import AMWC
from difflayers.amwc.solution import Solution
from difflayers.amwc.units import solve_scaled
from difflayers.graph.checks import check_problem
from difflayers.graph.units import is_ordinary

Start = np.ndarray | Solution | None


def solve_plain(problem: AMWC, solver: Callable[[AMWC, Start], Solution], start: Start = None) -> Solution:
    """Return the problem's solution, which keeps its constraints, by a solver of finite, ordinary costs.

    Args:
        problem: the problem.
        solver: takes a problem without infinite costs, and a start.
        start: where the solver may start from.

    Raises:
        TypeError: if the problem is no AMWC.
        ValueError: if constraints contradict each other.
    """
    check_problem(problem, AMWC)
    if not is_ordinary(problem.largest_cost):
        return solve_scaled(problem, lambda scaled: solve_plain(scaled, solver, start))
    if problem.constrained:
        return solve_constrained(
            problem, lambda finite, begin: solve_plain(finite.plain, solver, begin), start
        )
    return solver(problem, start)
