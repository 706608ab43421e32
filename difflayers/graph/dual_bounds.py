"""Lower bounds from linear programs that hold whatever the solver's tolerances are.

Of min <c, x> with A x ≥ b, E x = 1 and l ≤ x ≤ u, any y ≥ 0 and z say that no x costs less than <b, y> + Σ
z + Σⱼ min(rⱼ lⱼ, rⱼ uⱼ) with r = c − Aᵀy − Eᵀz (Neumaier and Shcherbina 2004). All entries of A and E are
±1 here, so that this number is computed without rounding once c, y and z are multiples of one quantum.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from difflayers.graph.units import quantum_of, times_down, whole_sum


class DualBound(NamedTuple):
    """A bound and what it says of single variables.

    Attributes:
        bound: no point within the bounds of the variables costs less.
        reduced: (v,) what a variable of 1 costs at least, beside that of all others; a bound on it too.
    """

    bound: float
    reduced: np.ndarray


def dual_bound(
    costs: np.ndarray,
    rows: csr_array,
    least: np.ndarray,
    duals: np.ndarray,
    equalities: csr_array,
    prices: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
) -> DualBound:
    """Return the bound of any duals (rows,) and prices (equalities,), of which negative duals count as 0.

    Args:
        costs: (v,) c.
        rows, least: A with entries ±1, and b of whole numbers.
        duals: y.
        equalities: E with entries 1.
        prices: z.
        lower, upper: (v,) l and u, each 0 or 1.
    """
    duals = np.where(duals > 0.0, duals, 0.0)
    magnitude = np.abs(costs) + abs(rows).T @ duals + abs(equalities).T @ np.abs(prices)
    quantum = quantum_of(4.0 * float(magnitude.max(initial=0.0)))
    y, z = np.floor(duals / quantum), np.floor(prices / quantum)
    reduced = np.floor(costs / quantum) - rows.T @ y - equalities.T @ z
    total = whole_sum(z) + whole_sum(np.minimum(reduced * lower, reduced * upper))
    for side in np.unique(least):
        total += int(side) * whole_sum(y[least == side])
    return DualBound(times_down(total, quantum), reduced * quantum)
