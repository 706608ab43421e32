"""The portfolio of least cost whose risk does not exceed a limit."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numba import njit

from difflayers._arguments import as_array
from difflayers.solver import Array
from difflayers.solvers.batch import check_threads, solve_batch, spend
from difflayers.solvers.portfolio_search import Risk, cheapest_within_risk

# The least eigenvalue of the covariance beside the largest; a smaller one is raised.
SMALLEST = 1e-12


@dataclass(frozen=True, eq=False)
class Portfolio:
    """The shares x ≥ 0 of least cost <c, x> that add up to 1 and have a risk xᵀΣx of at most a limit.

    Costs are minimized, so hand in −return as cost. This is the portfolio of Elmachtoub and Grigas
    (Management Science 2022, section 6.2), which PyEPO solves with Gurobi.

    The solver finds the multiplier of the risk at which the risk meets its limit. For every multiplier, the
    shares are those of a quadratic program, which an active-set method solves in O(k³) per change of the k
    assets that are held. The solution is a vertex of that method, so it is exact up to rounding: the risk
    exceeds its limit by a relative 1e-12 at most. If Σ is singular, eigenvalues below 1e-12 of the largest
    are raised to that.

    Args:
        covariance: (n, n) numbers Σ, symmetric and positive semidefinite.
        risk: the limit of xᵀΣx, a positive number.
        fully_invested: False to let the shares add up to 1 or less.
        n_threads: number of threads that share a batch.

    Raises:
        TypeError, ValueError: an argument has the wrong form or is out of range.

    Examples:
        >>> import numpy as np
        >>> solver = Portfolio(np.diag([4.0, 1.0]), risk=1.0)
        >>> solver(-np.array([[2.0, 1.0], [1.0, 2.0]]))
        array([[0.4, 0.6],
               [0. , 1. ]])
    """

    sense: ClassVar[str] = "minimize"
    covariance: Array
    risk: float
    fully_invested: bool = True
    n_threads: int = 1
    _risk: Risk = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_threads(self.n_threads)
        covariance, risk = as_array("covariance", self.covariance), as_array("risk", self.risk)
        for name, array in (("covariance", covariance), ("risk", risk)):
            if array.dtype.kind not in "iuf":
                raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
        if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
            raise ValueError(f"covariance must have shape (n, n), got {covariance.shape}")
        if risk.shape != () or not 0 < risk < np.inf:
            raise ValueError(f"risk must be a positive finite number, got {self.risk!r}")
        covariance = covariance.astype(np.float64)
        if not np.isfinite(covariance).all() or not np.allclose(covariance, covariance.T, rtol=1e-9, atol=0):
            raise ValueError(f"covariance must be finite and symmetric, got {covariance.tolist()}")
        object.__setattr__(self, "covariance", covariance)
        object.__setattr__(self, "risk", float(risk))
        object.__setattr__(self, "_risk", _as_risk(covariance, float(risk), self.fully_invested))

    def __call__(self, costs: Any) -> Array:
        """Solve a batch.

        Args:
            costs: (B, n) numbers; infinity forbids an asset.

        Returns:
            (B, n) shares, in the dtype of the costs if that is a floating one, otherwise in float64.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or minus infinity.
            InfeasibleError: every portfolio of an instance exceeds the risk.
        """
        array = as_array("costs", costs)
        return solve_batch(
            _portfolios,
            array.astype(np.float64) if array.dtype.kind in "iu" else array,
            (len(self.covariance),),
            self._risk,
            failure="every portfolio exceeds the risk",
            n_threads=self.n_threads,
        )


def _as_risk(covariance: Array, limit: float, fully_invested: bool) -> Risk:
    """The risk of shares that add up to 1, with cash as a last asset unless everything is invested.

    Shares that add up to 1 have the risk xᵀΣx = xᵀ(Σ + s 11ᵀ)x − s, whose matrix is positive definite with
    cash too.
    """
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    largest = np.abs(values).max(initial=0)
    if values.min(initial=0) < -1e-9 * largest:
        raise ValueError(f"covariance must be positive semidefinite, got the eigenvalue {values.min():g}")
    if values.min(initial=np.inf) < SMALLEST * largest:
        covariance = (vectors * np.maximum(values, SMALLEST * largest)) @ vectors.T
    if not fully_invested:
        covariance = np.pad(covariance, (0, 1))
    # In units in which the limit is 1.
    scaled = covariance / limit
    shift = max(float(np.trace(scaled)) / max(len(scaled), 1), 1e-300)
    return Risk(np.ascontiguousarray(scaled), np.ascontiguousarray(scaled + shift), fully_invested)


@njit(nogil=True, cache=True)
def _portfolios(
    costs: np.ndarray,
    solutions: np.ndarray,
    meter: np.ndarray,
    covariance: np.ndarray,
    shifted: np.ndarray,
    fully_invested: bool,
) -> int:
    """Solve rows of costs, each by some dozens of quadratic programs; O(n³) per change of the assets held."""
    num_assets = costs.shape[1]
    extended = np.zeros(len(covariance))
    for row in range(len(costs)):
        if spend(meter, 20 * num_assets**3):
            return row
        extended[:num_assets] = costs[row]
        shares = cheapest_within_risk(extended, covariance, shifted)
        if shares.size == 0:
            return row
        solutions[row] = shares[:num_assets]
    return -1
