"""Batches of integer programs that HiGHS solves one after the other."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from difflayers._arguments import as_array
from difflayers.solver import Array, InfeasibleError, SolverError
from difflayers.solvers.batch import checked_rows

# HiGHS stops at an absolute gap of 1e-6, so costs are scaled to this median.
TYPICAL = 1e3


def solve_programs(
    solve: Callable[[int, Array], Array],
    costs: Any,
    shape: tuple[int, ...],
    *,
    failure: str,
    n_threads: int,
) -> Array:
    """Check a batch of costs and solve its instances in threads.

    Args:
        solve: called as `solve(instance, costs)` with float64 costs (size,), of which some may be infinite.
            Returns the solution (size,), or raises SolverError. HiGHS releases the GIL.
        costs: (B, *shape) real numbers.
        shape: the shape of one instance.
        failure: the message for an instance without solution.
        n_threads: number of threads that share the instances.

    Returns:
        Solutions (B, *shape) in the dtype of the costs.

    Raises:
        TypeError, ValueError: the costs are wrong, as `solve_batch` says.
        InfeasibleError: an instance has no solution; the others were solved.
    """
    array = as_array("costs", costs)
    rows = checked_rows(array, shape)
    found = np.zeros(rows.shape)

    def solved(instance: int) -> bool:
        try:
            found[instance] = solve(instance, rows[instance])
        except SolverError:
            return False
        return True

    if n_threads == 1:
        good = [solved(instance) for instance in range(len(rows))]
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            good = list(pool.map(solved, range(len(rows))))
    solutions = found.reshape(array.shape).astype(array.dtype, copy=False)
    if not all(good):
        failed = [instance for instance, fine in enumerate(good) if not fine]
        raise InfeasibleError(failure, failed, solutions)
    return solutions


def least(costs: Array, constraints: Sequence[Any]) -> Array:
    """The 0/1 vector of least cost under linear constraints, by HiGHS; raises SolverError if there is none.

    Args:
        costs: (v,) numbers; infinity forbids a variable.
        constraints: of scipy.optimize.LinearConstraint.
    """
    from scipy.optimize import milp

    finite = costs < np.inf
    if not finite.any():
        raise SolverError("there is nothing to choose from")
    sizes = np.abs(costs[finite & (costs != 0)])
    scale = TYPICAL / np.median(sizes) if sizes.size else 1.0
    result = milp(
        np.where(finite, costs, 0.0) * scale,
        integrality=np.ones(len(costs)),
        bounds=(0, finite.astype(float)),
        constraints=list(constraints),
        options={"mip_rel_gap": 0.0},
    )
    if result.x is None:
        raise SolverError(result.message)
    return np.round(result.x) + 0.0  # no −0
