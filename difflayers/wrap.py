"""Solvers of SciPy in one line: built once from the constraints, called with costs."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from difflayers.solver import Array, SolverError


class milp:
    """`scipy.optimize.milp` (HiGHS) as a solver, which minimizes <costs, y> under fixed linear constraints.

    There is one variable per cost, in C order whatever the shape of the costs is. Integer variables are
    rounded to exact integers. With a time limit, the best solution found so far is the answer. HiGHS does not
    react to Ctrl-C before it ends, so give it a time limit if it may run long.

    Args:
        constraints: one or several scipy.optimize.LinearConstraint, as for scipy.optimize.milp. A context of
            the same kind that is given to the layer replaces them for its instance.
        integrality: as for scipy.optimize.milp, 1 for an integer variable and 0 for a continuous one.
        bounds: scipy.optimize.Bounds; by default from 0 to infinity, as in SciPy.
        options: options of HiGHS, such as {"time_limit": 1.0} in seconds.

    Raises:
        SolverError: in a call, if the problem is infeasible or unbounded, or no solution was found in time.
            The layer's `on_failure` says what follows.

    Examples:
        >>> import numpy as np
        >>> from scipy.optimize import Bounds, LinearConstraint
        >>> knapsack = milp(LinearConstraint([2.0, 3.0, 4.0], ub=6), bounds=Bounds(0, 1))
        >>> knapsack(-np.array([3.0, 4.0, 5.0]))
        array([1., 0., 1.])
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
        """Return a minimizer in the shape of the costs."""
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
    """`scipy.optimize.linear_sum_assignment` as a solver: the cheapest matching of rows to columns.

    Args:
        costs: (n, m) numbers; infinity forbids a pair.

    Returns:
        (n, m) in the costs' dtype: 1 for matched pairs, 0 elsewhere.

    Raises:
        SolverError: the infinite costs leave no matching.

    Examples:
        >>> import numpy as np
        >>> linear_sum_assignment(np.array([[4.0, 1.0], [2.0, 0.0]]))
        array([[0., 1.],
               [1., 0.]])
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
