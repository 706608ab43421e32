"""SciPy's solvers in one line each: made once from the constraints, called with costs."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from difflayers.solver import Array, SolverError


class milp:
    """`scipy.optimize.milp` (HiGHS) as a solver: minimises <costs, y> over fixed linear constraints.

    Args:
        constraints: one or several scipy.optimize.LinearConstraint, as for scipy.optimize.milp. A context
            given to the layer, of the same kind, takes their place for its instance.
        integrality: as for scipy.optimize.milp: 1 for an integer variable, 0 for a continuous one.
        bounds: scipy.optimize.Bounds; from 0 to infinity by default, as in SciPy.
        options: of the solver, such as {"time_limit": 1.0} in seconds.

    Variables are the costs in C order, whatever their shape. A problem that is infeasible, unbounded or not
    solved in time is a SolverError, which the layer's `on_failure` may pass over; with a time limit the best
    solution found counts as an answer. Integer variables are rounded to exact integers.
    """

    sense: ClassVar[str] = "minimize"

    def __init__(
        self,
        constraints: Any = None,
        integrality: int | Sequence[int] | Array = 1,
        bounds: Any = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.constraints: Any = constraints
        self.integrality: Array = np.asarray(integrality)
        self.bounds: Any = bounds
        self.options: dict[str, Any] | None = options

    def __call__(self, costs: Array, context: Any = None) -> Array:
        """Return a minimiser in the shape of the costs."""
        from scipy.optimize import milp as solve

        result = solve(
            costs.ravel(),
            integrality=self.integrality,
            bounds=self.bounds,
            constraints=self.constraints if context is None else context,
            options=self.options,
        )
        if result.x is None:
            raise SolverError(result.message)
        solution = np.where(self.integrality != 0, np.round(result.x) + 0.0, result.x)  # no −0
        return solution.reshape(costs.shape)


def linear_sum_assignment(costs: Array) -> Array:
    """`scipy.optimize.linear_sum_assignment` as a solver: (n, m) costs to an (n, m) matching of 0 and 1.

    Raises SolverError where infinite costs leave no matching.
    """
    from scipy.optimize import linear_sum_assignment as solve

    try:
        matched = solve(costs)
    except ValueError as error:
        raise SolverError(str(error)) from error
    solution = np.zeros_like(costs)
    solution[matched] = 1
    return solution


linear_sum_assignment.sense = "minimize"  # type: ignore[attr-defined]
