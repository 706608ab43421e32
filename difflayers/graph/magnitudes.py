"""Costs that are larger than others by orders of magnitude."""

import numpy as np

# A cost is large if the powers of two below it, this many, have no cost.
_EMPTY_BINADES = 3
# Room for the rounding of sums that are compared with large costs.
SAFE = 1.0 + 2.0**-40


def thresholds(*costs: np.ndarray) -> list[int]:
    """Return the exponents of two, from the largest, that come after a gap in the magnitudes of finite costs.

    A cost is large beside a threshold if its exponent, that of `numpy.frexp`, is not below the threshold.
    """
    used = [np.frexp(part[np.isfinite(part) & (part != 0.0)])[1] for part in costs]
    exponents = np.unique(np.concatenate(used))
    return exponents[1:][np.diff(exponents) > _EMPTY_BINADES][::-1].tolist()


def are_large(costs: np.ndarray, threshold: int) -> np.ndarray:
    """Return which finite costs are large beside a threshold."""
    return np.isfinite(costs) & (costs != 0.0) & (np.frexp(costs)[1] >= threshold)
