"""The knapsack with several capacities: branch and bound, depth first."""

import math

import numpy as np
from numba import njit

from difflayers.solvers.batch import spend

# What rounding may add to the sum of the constraints, so that the bound remains one.
ROUNDING = 1e-12
DUAL_STEPS = 60
TINY = 1e-300


@njit(nogil=True, cache=True)
def fill_by_branching(
    costs: np.ndarray,
    solutions: np.ndarray,
    meter: np.ndarray,
    capacities: np.ndarray,
    which: np.ndarray,
    weights: np.ndarray,
) -> int:
    """Solve rows of costs; row i has the capacities `capacities[i]` and the weights `weights[which[i]]`."""
    for row in range(len(costs)):
        if not branch(costs[row], solutions[row], meter, capacities[row], weights[which[row]]):
            return row
    return -1


@njit(nogil=True, cache=True)
def branch(
    costs: np.ndarray, solution: np.ndarray, meter: np.ndarray, capacity: np.ndarray, weights: np.ndarray
) -> bool:
    """Solve one instance with uint64 capacities (d,) and weights (d, n); False if stopped.

    An item is first taken and then left out; exponential at worst. The bound is that of a relaxation with one
    constraint, a weighted sum of all.
    """
    items, weight, share = _worthwhile(costs, weights, capacity)
    num_dims, num_items = len(weights), items.size
    gain = _scaled(costs[items])
    multipliers = _multipliers(gain, share)
    combined = np.zeros(num_items)
    for d in range(num_dims):
        combined += multipliers[d] * share[d]
    order = np.argsort(gain / np.maximum(combined, TINY), kind="mergesort")
    items, weight, gain, combined = items[order], weight[order], gain[order], combined[order]
    most = multipliers.sum() * (1 + ROUNDING)
    room = np.empty((num_items + 1, num_dims), np.uint64)  # after so many decisions
    spent = np.empty(num_items + 1)  # weighted sum of the used parts of the capacities
    value = np.empty(num_items + 1)
    chosen, best = np.zeros(num_items, np.bool_), np.zeros(num_items, np.bool_)
    room[0], spent[0], value[0] = capacity, 0, 0
    best_value, depth = 0.0, 0
    while depth >= 0:
        if spend(meter, 10 * num_items):
            return False
        while depth < num_items and (
            value[depth] + _fractional(gain, combined, depth, most - spent[depth]) < best_value
        ):
            fits = True
            for d in range(num_dims):
                fits = fits and weight[depth, d] <= room[depth, d]
            chosen[depth] = fits
            for d in range(num_dims):
                room[depth + 1, d] = room[depth, d] - (weight[depth, d] if fits else np.uint64(0))
            spent[depth + 1] = spent[depth] + combined[depth] * fits
            value[depth + 1] = value[depth] + gain[depth] * fits
            depth += 1
        if depth == num_items and value[depth] < best_value:
            best_value = value[depth]
            best[:] = chosen
        # Leave out the last item that was taken, and go on from there.
        depth -= 1
        while depth >= 0 and not chosen[depth]:
            depth -= 1
        if depth >= 0:
            chosen[depth] = False
            for d in range(num_dims):
                room[depth + 1, d] = room[depth, d]
            spent[depth + 1] = spent[depth]
            value[depth + 1] = value[depth]
            depth += 1
    left = capacity.copy()
    for place in range(num_items):
        if best[place]:
            solution[items[place]] = 1
            left -= weight[place]
    # Items so cheap beside the others that they vanish in sums.
    for place in range(num_items):
        if not best[place] and (weight[place] <= left).all():
            solution[items[place]] = 1
            left -= weight[place]
    return True


@njit(nogil=True, cache=True)
def _worthwhile(
    costs: np.ndarray, weights: np.ndarray, capacity: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The items that help and fit alone, their weights (items, d), and (d, items) as parts of capacities."""
    num_dims = len(weights)
    fits = costs < 0
    for d in range(num_dims):
        fits &= weights[d] <= capacity[d]
    items = np.flatnonzero(fits)
    weight = np.empty((items.size, num_dims), np.uint64)
    share = np.zeros((num_dims, items.size))
    for d in range(num_dims):
        weight[:, d] = weights[d][items]
        if capacity[d] > 0:
            share[d] = weights[d][items] / np.float64(capacity[d])
    return items, weight, share


@njit(nogil=True, cache=True)
def _scaled(costs: np.ndarray) -> np.ndarray:
    """Times a power of two, so that the largest is about 1 and neither products nor ratios leave float64."""
    scaled = costs.copy()
    if costs.size:
        exponent = math.frexp(costs.min())[1]
        for k in range(costs.size):
            scaled[k] = math.ldexp(costs[k], -exponent)
    return scaled


@njit(nogil=True, cache=True)
def _multipliers(gain: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Weights of the constraints in their sum, from some subgradient steps on the Lagrangian dual."""
    num_dims = len(share)
    best = np.ones(num_dims)
    if num_dims == 1 or gain.size == 0:
        return best
    current, slope = np.zeros(num_dims), np.empty(num_dims)
    best_bound = -np.inf
    for iteration in range(DUAL_STEPS):
        bound = -current.sum()
        slope[:] = -1
        for k in range(gain.size):
            reduced = gain[k]
            for d in range(num_dims):
                reduced += current[d] * share[d, k]
            if reduced < 0:
                bound += reduced
                for d in range(num_dims):
                    slope[d] += share[d, k]
        if bound > best_bound and current.sum() > 0:
            best_bound = bound
            best[:] = current
        step = -gain.min() / (1 + iteration)
        for d in range(num_dims):
            current[d] = max(0.0, current[d] + step * slope[d])
    return best


@njit(nogil=True, cache=True)
def _fractional(gain: np.ndarray, combined: np.ndarray, first: int, room: float) -> float:
    """Best value of the items from `first` on if the last may be taken in part; a bound; O(n)."""
    total = 0.0
    for k in range(first, gain.size):
        if combined[k] > room:
            return total + gain[k] * max(room, 0.0) / combined[k]
        room -= combined[k]
        total += gain[k]
    return total
