"""Packing conflicted cycles: the linear program of the multicut, nearly solved by a first-order method.

Whoever pays for a cycle takes as much from the cost of each of its edges, and a repulsive edge needs no more
than its own cost. The most that can be paid is the value of the linear program over all cycle inequalities.
Its primal says to what share each edge gives in: min Σ |cₑ| zₑ, with Σ zₑ ≥ 1 on every cycle and 0 ≤ z ≤ 1.
Rounds of the primal-dual hybrid gradient method (Chambolle and Pock 2011, with the steps of Pock and
Chambolle 2011) alternate with the search for cycles that their point leaves open. What is paid in the end is
rounded to whole numbers and fits into the costs, so that it is a bound whatever has converged.
"""

import numpy as np
from numba import njit

from difflayers.graph.conflicted_cycles import NO_CYCLES, Cycles, OpenCycles

# Rounds at most, and steps in each.
_ROUNDS, _STEPS = 16, 30
# The search ends when a round pays for less than this share of what the goal still lacks.
_LEAST_PROGRESS = 5e-3
# By how much cycles have to be open at first, and in the later half of the rounds.
_TOLERANCES = 0.05, 0.01


def pack_fractionally(search: OpenCycles, capacities: np.ndarray, goal: float) -> tuple[Cycles, np.ndarray]:
    """Return cycles and what to pay for each, whole numbers that fit into the capacities.

    Args:
        search: finds cycles.
        capacities: (m,) whole numbers of at least 0, the absolute costs of edges.
        goal: the sum of amounts above which nothing is to be gained.
    """
    cycles, dual, shares = NO_CYCLES, np.empty(0), np.zeros(len(capacities))
    best, most, point = (cycles, dual), 0.0, shares
    for number in range(_ROUNDS):
        found = search.find(shares, _TOLERANCES[2 * number >= _ROUNDS])
        if len(found.start) == 1:
            break
        cycles, dual = cycles + found, np.concatenate([dual, np.zeros(len(found.start) - 1)])
        point, dual, shares = _improved(capacities, cycles, point, dual)
        amounts = fitting(capacities, cycles, dual)
        paid = amounts.sum()
        gained = paid - most
        if gained > 0.0:
            best, most = (cycles, amounts), paid
        if most >= goal or (number > 2 and gained < _LEAST_PROGRESS * (goal - most)):
            break
    return best


def _improved(
    capacities: np.ndarray, cycles: Cycles, point: np.ndarray, dual: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where to go on from, after some steps, and the mean of all primal points of these steps.

    It goes on from the means of these steps or from the last step, whichever proves more.
    """
    point, dual = point.copy(), dual.copy()
    mean_point, mean_dual = _steps(capacities, *cycles, point, dual)
    if _bound(capacities, *cycles, mean_dual) > _bound(capacities, *cycles, dual):
        return mean_point, mean_dual, mean_point
    return point, dual, mean_point


@njit(nogil=True, cache=True)
def _steps(
    capacities: np.ndarray, start: np.ndarray, members: np.ndarray, point: np.ndarray, dual: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take steps in place, O(members) each, and return the means of their points."""
    count = dual.size
    width = np.empty(count)
    stride = np.zeros(capacities.size)
    left = capacities.copy()
    for c in range(count):
        width[c] = np.inf
        for j in range(start[c], start[c + 1]):
            width[c] = min(width[c], capacities[members[j]])
        for j in range(start[c], start[c + 1]):
            stride[members[j]] += width[c]
            left[members[j]] -= dual[c]
    ahead = np.empty_like(point)
    mean_point, mean_dual = np.zeros_like(point), np.zeros_like(dual)
    for _ in range(_STEPS):
        for e in range(point.size):
            if stride[e] > 0.0:
                moved = min(max(point[e] - left[e] / stride[e], 0.0), 1.0)
                ahead[e] = 2.0 * moved - point[e]
                point[e] = moved
                mean_point[e] += moved / _STEPS
        for c in range(count):
            lacking = 1.0
            for j in range(start[c], start[c + 1]):
                lacking -= ahead[members[j]]
            moved = max(dual[c] + width[c] * lacking / (start[c + 1] - start[c]), 0.0)
            mean_dual[c] += moved / _STEPS
            if moved != dual[c]:
                for j in range(start[c], start[c + 1]):
                    left[members[j]] -= moved - dual[c]
                dual[c] = moved
    return mean_point, mean_dual


@njit(nogil=True, cache=True)
def _bound(capacities: np.ndarray, start: np.ndarray, members: np.ndarray, dual: np.ndarray) -> float:
    """What a dual point proves, up to rounding, O(members)."""
    left = capacities.copy()
    total = 0.0
    for c in range(dual.size):
        total += dual[c]
        for j in range(start[c], start[c + 1]):
            left[members[j]] -= dual[c]
    return total + np.minimum(left, 0.0).sum()


def fitting(capacities: np.ndarray, cycles: Cycles, dual: np.ndarray) -> np.ndarray:
    """Amounts (c,) near a dual point, whole numbers that fit into the capacities and leave no cycle room."""
    left, amounts = capacities.copy(), np.zeros(len(dual))
    order = np.argsort(-dual, kind="stable")
    _fill(left, *cycles, order, dual, amounts)
    _fill(left, *cycles, order, np.full(len(dual), np.inf), amounts)
    return amounts


@njit(nogil=True, cache=True)
def _fill(
    left: np.ndarray,
    start: np.ndarray,
    members: np.ndarray,
    order: np.ndarray,
    most: np.ndarray,
    amounts: np.ndarray,
) -> None:
    """Pay up to `most` for every cycle, in the given order, from what is left, O(members)."""
    for c in order:
        amount = most[c]
        for j in range(start[c], start[c + 1]):
            amount = min(amount, left[members[j]])
        amount = np.floor(amount)
        amounts[c] += amount
        for j in range(start[c], start[c + 1]):
            left[members[j]] -= amount


def left_of(costs: np.ndarray, cycles: Cycles, amounts: np.ndarray) -> np.ndarray:
    """Costs (m,), whole numbers, once amounts that fit are paid for the cycles."""
    paid = np.bincount(cycles.members, np.repeat(amounts, np.diff(cycles.start)), len(costs))
    return costs - np.sign(costs) * paid
