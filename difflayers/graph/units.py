"""The units of costs: exact sums in float64, and which differences of sums float64 can tell.

Sums of float64 numbers are exact if all numbers are multiples of one power of two, the quantum, and no sum
reaches 2⁵³ times the quantum. Bounds that are to be proofs use this: they round costs down to multiples of
a quantum once, and then add, subtract and compare without any further rounding.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numba import njit

# Significant bits of a float64.
_BITS = 53
# The share of a sum of absolute values that rounding may take from a sum and from a bound on it.
_ROUNDING = 2.0**-46
# The share of the absolute values in a sum of one node's costs that rounding may take from the sum.
LOCAL_ROUNDING = 2.0**-51
# Exponents (to base 2) of the largest cost with which no kernel comes near overflow or underflow.
_ORDINARY = range(-100, 101)


def is_ordinary(largest: float) -> bool:
    """Return whether costs up to `largest` can be solved in their own unit."""
    return largest == 0.0 or exponent(largest) in _ORDINARY


def exponent(largest: float) -> int:
    """Return the power of two that makes costs up to `largest` less than 1; 0 if all costs are 0."""
    return math.frexp(largest)[1]


def quantum_of(magnitude: float) -> float:
    """Return a power of two: sums of its multiples are exact in float64 while they stay below `magnitude`."""
    return math.ldexp(1.0, max(exponent(magnitude) - _BITS, -1074)) if magnitude else 1.0


class Resolution(NamedTuple):
    """Which differences of sums of costs are more than rounding.

    Attributes:
        step: two sums that differ differ by this much at least, if sums are exact.
        exact: whether sums are exact; if not, `step` is what rounding may take from a sum.
    """

    step: float
    exact: bool

    def closes(self, cost: float, bound: float) -> bool:
        """Return whether no sum below the cost, by more than rounding, is at least the bound."""
        return cost - bound < self.step

    def raised(self, bound: float) -> float:
        """Return the least possible sum that is at least the bound, or the bound if sums round."""
        return math.ceil(bound / self.step) * self.step if self.exact and math.isfinite(bound) else bound

    def below(self, bound: float, *gains: np.ndarray) -> float:
        """Return a bound on sums in float64, which may be rounded down, from one on exact sums.

        Args:
            bound: a number that no exact sum is less than.
            gains: arrays that hold all negative costs that can be paid.
        """
        if self.exact or not math.isfinite(bound):
            return bound
        gain = -sum(float(part[np.isfinite(part) & (part < 0.0)].sum(dtype=np.float64)) for part in gains)
        # What is paid in all, without signs, is at most the sum and twice what is gained.
        return bound - 0.5 * _ROUNDING * (abs(bound) + 2.0 * gain)


def resolution(*costs: np.ndarray) -> Resolution:
    """Return the resolution of sums of some of the costs, in arrays of floats; infinite costs do not count.

    Sums are exact if all costs are multiples of a quantum, and their absolute values add up to less than
    2⁵³ quanta.
    """
    flat = [np.ascontiguousarray(part).ravel() for part in costs]
    total = sum(_finite_total(part) for part in flat)
    least = quantum_of(2.0 * total)
    quantum = math.inf
    for part in flat:
        quantum = _common_quantum(part, quantum, least)
    if quantum == math.inf:
        return Resolution(math.inf, exact=False)
    return Resolution(quantum, exact=True) if quantum >= least else Resolution(_ROUNDING * total, exact=False)


@njit(nogil=True, cache=True)
def _finite_total(costs: np.ndarray) -> float:
    """Sum of the absolute values of all finite costs, O(size)."""
    total = 0.0
    for cost in costs:
        total += np.float64(abs(cost)) if np.isfinite(cost) else 0.0
    return total


@njit(nogil=True, cache=True)
def _common_quantum(costs: np.ndarray, quantum: float, least: float) -> float:
    """The largest power of two, at most `quantum`, that divides all costs, or one below `least`, O(size)."""
    for single in costs:
        cost = np.float64(single)
        if cost == 0.0 or not np.isfinite(cost):
            continue
        if quantum == np.inf:
            quantum = math.ldexp(1.0, math.frexp(cost)[1] - 1)
        # Division by a power of two is exact, and much faster than a remainder.
        while quantum >= least and np.floor(cost / quantum) != cost / quantum:
            quantum /= 2.0
        if quantum < least:
            break
    return quantum


def sum_down(*parts: np.ndarray | float) -> float:
    """Return the sum of all numbers, rounded down to a float64 once."""
    numbers = [number for part in parts for number in np.ravel(part).tolist()]
    total = math.fsum(numbers)
    if math.isfinite(total) and math.fsum([*numbers, -total]) < 0.0:
        return math.nextafter(total, -math.inf)
    return total


def whole_sum(part: np.ndarray) -> int:
    """Return the exact sum of whole numbers of at most 2⁵³ in float64."""
    whole = part.astype(np.int64)
    # Halves of few bits, whose sums do not overflow.
    return (int((whole >> 26).sum()) << 26) + int((whole & ((1 << 26) - 1)).sum())


def times_down(whole: int, quantum: float) -> float:
    """Return a whole number of quanta, rounded down to a float64."""
    exact = Fraction(whole) * Fraction(quantum)
    rounded = float(exact)
    return math.nextafter(rounded, -math.inf) if Fraction(rounded) > exact else rounded
