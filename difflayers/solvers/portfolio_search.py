"""How a portfolio is found: an active-set method for a given multiplier, and a search for the multiplier."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

# What counts as no improvement, beside the largest gradient.
FLAT = 1e-13
# By so much the risk may exceed its limit through rounding.
ROUNDING = 1e-12
# The search for the weight ends after some ten steps; it halves its interval otherwise.
MOST_STEPS = 200
# Weights below this share of the first are taken for 0.
SMALL = 1e-9


class Risk(NamedTuple):
    """The risk of shares that add up to 1, in units in which its limit is 1."""

    covariance: np.ndarray  # (n, n)
    shifted: np.ndarray  # (n, n), the covariance plus a constant, positive definite
    fully_invested: bool  # whether no asset is cash


@njit(nogil=True, cache=True)
def cheapest_within_risk(costs: np.ndarray, covariance: np.ndarray, shifted: np.ndarray) -> np.ndarray:
    """Shares (n,) of least cost with a risk of at most 1, or an empty array if there are none.

    For a weight t of the costs, let x(t) minimize xᵀΣx / 2 + t <c, x>. While the same assets are held, x is
    a + t b and the risk is α + β t², because the shares b add up to 0. So the risk increases with t, and the
    weight at which the risk is 1 is found by steps of Newton's method in t², within an interval. The search
    starts from large weights, where few assets are held.
    """
    n = costs.size
    allowed = costs < np.inf
    nothing = np.empty(0)
    if not allowed.any():
        return nothing
    lowest, highest = np.inf, -np.inf
    for i in range(n):
        if allowed[i]:
            lowest, highest = min(lowest, costs[i]), max(highest, costs[i])
    width = highest - lowest
    scaled = np.zeros(n)
    for i in range(n):
        if allowed[i] and width > 0:
            scaled[i] = (costs[i] - lowest) / width
    x = np.zeros(n)
    held = np.zeros(n, np.bool_)
    # The cheapest assets alone, if their risk permits.
    cheapest = allowed & (costs == lowest)
    _hold_first(x, held, cheapest)
    _minimize(0.0, scaled, shifted, cheapest, x, held)
    if _risk(x, covariance) <= 1 + ROUNDING:
        return x
    above = _first_change(scaled, shifted, allowed, x, held)
    below, lowest_weight, safe = 0.0, SMALL * above, nothing
    weight = above / 2
    for _ in range(MOST_STEPS):
        if safe.size == 0 and weight <= lowest_weight:
            weight = 0.0
        _minimize(weight, scaled, shifted, allowed, x, held)
        risk = _risk(x, covariance)
        if risk > 1 + ROUNDING:
            if weight == 0:
                return nothing
            above = weight
        elif risk >= 1 - ROUNDING:
            return x
        else:
            below, safe = weight, x.copy()
        constant, slope = _lines(scaled, shifted, held)
        alpha, beta = _risk(constant, covariance), _risk(slope, covariance)
        weight = math.sqrt(max(1 - alpha, 0.0) / beta) if beta > 0 else 0.0
        if not below < weight < above:
            weight = math.sqrt(below * above) if below > 0 else above / 8
        if not below < weight < above:
            break
    return safe


@njit(nogil=True, cache=True)
def _hold_first(x: np.ndarray, held: np.ndarray, allowed: np.ndarray) -> None:
    """Everything in the first asset that is allowed."""
    x[:] = 0
    held[:] = False
    first = int(allowed.argmax())
    x[first], held[first] = 1, True


@njit(nogil=True, cache=True)
def _first_change(
    costs: np.ndarray, shifted: np.ndarray, allowed: np.ndarray, x: np.ndarray, held: np.ndarray
) -> float:
    """The weight of the costs below which not only the cheapest assets are held, or 0 if there is none."""
    gradient = shifted @ x
    own = gradient[held.argmax()]
    weight = 0.0
    for i in range(costs.size):
        if allowed[i] and costs[i] > 0:
            weight = max(weight, (own - gradient[i]) / costs[i])
    return weight


@njit(nogil=True, cache=True)
def _risk(x: np.ndarray, covariance: np.ndarray) -> float:
    total = 0.0
    for i in range(x.size):
        if x[i] != 0:
            for j in range(x.size):
                total += x[i] * covariance[i, j] * x[j]
    return total


@njit(nogil=True, cache=True)
def _minimize(
    weight: float,
    costs: np.ndarray,
    shifted: np.ndarray,
    allowed: np.ndarray,
    x: np.ndarray,
    held: np.ndarray,
) -> None:
    """Change the shares x, which are feasible, to those that minimize xᵀΣx / 2 + weight <costs, x>.

    An active-set method in the manner of Lawson and Hanson (1974): take in the asset of the steepest
    gradient, and drop assets whose share would become negative.
    """
    n = x.size
    added = -1
    for _ in range(20 * n + 20):
        constant, slope = _lines(costs, shifted, held)
        step, leaving = 1.0, -1
        for i in range(n):
            if held[i]:
                wanted = constant[i] + weight * slope[i]
                if wanted <= 0 and x[i] - wanted > 0 and x[i] / (x[i] - wanted) < step:
                    step, leaving = x[i] / (x[i] - wanted), i
        if leaving >= 0:
            for i in range(n):
                if held[i]:
                    x[i] = max(x[i] + step * (constant[i] + weight * slope[i] - x[i]), 0.0)
            x[leaving], held[leaving] = 0, False
            if leaving == added and step == 0:  # its gradient was rounding
                return
            continue
        price, count, largest = 0.0, 0, 0.0
        gradient = np.zeros(n)
        for i in range(n):
            if held[i]:
                x[i] = constant[i] + weight * slope[i]
        for i in range(n):
            gradient[i] = weight * costs[i]
            for j in range(n):
                if held[j]:
                    gradient[i] += shifted[i, j] * x[j]
            if held[i]:
                price += gradient[i]
                count += 1
            if allowed[i]:
                largest = max(largest, abs(gradient[i]))
        price /= count
        added, steepest = -1, price - FLAT * largest
        for i in range(n):
            if allowed[i] and not held[i] and gradient[i] < steepest:
                added, steepest = i, gradient[i]
        if added < 0:
            return
        held[added] = True


@njit(nogil=True, cache=True)
def _lines(costs: np.ndarray, shifted: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vectors a and b of x(t) = a + t b while the same k assets are held; O(k³) by Cholesky.

    Both follow from u = Σ⁻¹1 and v = Σ⁻¹c: a = u / <1, u>, and b = a <1, v> − v.
    """
    items = np.flatnonzero(held)
    k = items.size
    factor = np.zeros((k, k))
    u, v = np.ones(k), costs[items]
    for i in range(k):
        for j in range(i + 1):
            total = shifted[items[i], items[j]]
            for p in range(j):
                total -= factor[i, p] * factor[j, p]
            factor[i, j] = math.sqrt(max(total, 1e-300)) if i == j else total / factor[j, j]
    for i in range(k):
        for p in range(i):
            u[i] -= factor[i, p] * u[p]
            v[i] -= factor[i, p] * v[p]
        u[i] /= factor[i, i]
        v[i] /= factor[i, i]
    for i in range(k - 1, -1, -1):
        for p in range(i + 1, k):
            u[i] -= factor[p, i] * u[p]
            v[i] -= factor[p, i] * v[p]
        u[i] /= factor[i, i]
        v[i] /= factor[i, i]
    constant, slope = np.zeros(held.size), np.zeros(held.size)
    total, share = u.sum(), v.sum()
    for i in range(k):
        constant[items[i]] = u[i] / total
        slope[items[i]] = u[i] / total * share - v[i]
    return constant, slope
