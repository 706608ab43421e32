"""Set multi-cover by branch and bound, depth first, with Lagrangian bounds.

A node of the search has a least and a greatest count for every set. Its bound is that of the Lagrangian
relaxation of the demands: with a price for every unit of demand, each set is taken as often as possible if it
costs less than the demands that it meets. Subgradient steps improve the prices, starting from those of the
parent (Caprara, Fischetti and Toth, 1999, describe the same ingredients for large instances).
"""

import numpy as np
from numba import njit

from difflayers.solvers.batch import spend

# Beside the best cost; a smaller improvement counts as none.
ROUNDING = 1e-10
ROOT_STEPS = 100
STEPS = 20


@njit(nogil=True, cache=True)
def cover_by_branching(
    costs: np.ndarray,
    solutions: np.ndarray,
    meter: np.ndarray,
    demands: np.ndarray,
    members: np.ndarray,
    at_most: int,
) -> int:
    """Solve rows of costs; row i has the demands `demands[i]`. Exponential at worst."""
    for row in range(len(costs)):
        if not _cover(costs[row], demands[row], members, at_most, solutions[row], meter):
            return row
    return -1


@njit(nogil=True, cache=True)
def _cover(
    costs: np.ndarray,
    demand: np.ndarray,
    members: np.ndarray,
    at_most: int,
    best: np.ndarray,
    meter: np.ndarray,
) -> bool:
    """Write the best counts; False if there are none, or if stopped."""
    num_elements, num_sets = members.shape
    # Sets that cost nothing or less are taken as often as possible.
    free = np.zeros(num_sets)
    most = np.zeros(num_sets, np.int64)
    left = demand.copy()
    for j in range(num_sets):
        if costs[j] < 0:
            free[j] = at_most
            for i in range(num_elements):
                left[i] -= at_most * members[i, j]
    for j in range(num_sets):
        if 0 <= costs[j] < np.inf:
            for i in range(num_elements):
                if members[i, j] and left[i] > 0:
                    most[j] = max(most[j], (left[i] + members[i, j] - 1) // members[i, j])
            most[j] = min(most[j], at_most)
    _drop_dominated(costs, members, left, at_most, most)
    items = np.flatnonzero(most > 0)
    cost, sets = costs[items], np.ascontiguousarray(members[:, items].T)  # (k, e)
    largest = cost.max() if items.size and cost.max() > 0 else 1.0
    cost = cost / largest
    for i in range(num_elements):
        total = 0
        for k in range(items.size):
            total += most[items[k]] * sets[k, i]
        if total < left[i]:
            return False
    found = np.zeros(items.size, np.int64)
    if not _search(cost, left, sets, most[items], found, meter):
        return False
    best[:] = free
    for k in range(items.size):
        best[items[k]] = found[k]
    return True


@njit(nogil=True, cache=True)
def _drop_dominated(
    costs: np.ndarray, members: np.ndarray, demand: np.ndarray, at_most: int, most: np.ndarray
) -> None:
    """Set the greatest count of a set to 0 if another covers no less and costs no more; O(s² e).

    The other set must be allowed as often as it could be needed.
    """
    num_elements, num_sets = members.shape
    for j in range(num_sets):
        for k in range(num_sets):
            if k == j or most[j] == 0 or most[k] == 0 or costs[k] > costs[j]:
                continue
            as_good, needed = True, 0
            for i in range(num_elements):
                if demand[i] > 0:
                    as_good = as_good and members[i, k] >= members[i, j]
                    if members[i, k]:
                        needed = max(needed, (demand[i] + members[i, k] - 1) // members[i, k])
            if as_good and needed <= at_most:
                most[j] = 0


@njit(nogil=True, cache=True)
def _search(
    cost: np.ndarray,
    demand: np.ndarray,
    sets: np.ndarray,
    most: np.ndarray,
    best: np.ndarray,
    meter: np.ndarray,
) -> bool:
    """The best counts (k,) of k sets, of which a feasible choice exists; False if stopped."""
    k, num_elements = sets.shape
    depth = int(most.sum()) + 2
    lows, highs = np.zeros((depth, k), np.int64), np.zeros((depth, k), np.int64)
    prices = np.zeros((depth, num_elements))
    highs[0] = most
    best[:] = most
    best_cost = _drop_needless(cost, demand, sets, np.zeros(k, np.int64), best)
    reduced, mean = np.empty(k), np.empty(k)
    slope, price = np.empty(num_elements), np.empty(num_elements)
    size, steps = 1, ROOT_STEPS
    while size:
        size -= 1
        if spend(meter, 2 * steps * k * num_elements):
            return False
        low, high = lows[size].copy(), highs[size].copy()
        price[:] = prices[size]
        bound = _bound(cost, demand, sets, low, high, price, best_cost, steps, reduced, mean, slope)
        steps = STEPS
        limit = best_cost - ROUNDING * best_cost
        if bound >= limit:
            continue
        best_cost = min(best_cost, _complete(cost, demand, sets, low, high, reduced, best, best_cost))
        limit = best_cost - ROUNDING * best_cost
        if bound >= limit:
            continue
        # A count that differs from its Lagrangian one costs the reduced cost, once for every copy.
        chosen, nearest = -1, -1.0
        for j in range(k):
            if reduced[j] > 0:
                high[j] = min(high[j], low[j] + int(min((limit - bound) / reduced[j], 2.0**31)))
            elif reduced[j] < 0:
                low[j] = max(low[j], high[j] - int(min((limit - bound) / -reduced[j], 2.0**31)))
            if low[j] < high[j]:
                part = min(max(mean[j], low[j]), high[j]) % 1.0
                middle = min(part, 1 - part)
                if middle > nearest:
                    chosen, nearest = j, middle
        if chosen < 0:
            if _meets(demand, sets, low):
                total = cost @ low.astype(np.float64)
                if total < best_cost:
                    best_cost = total
                    best[:] = low
            continue
        split = min(max(int(mean[chosen]), low[chosen]), high[chosen] - 1)
        upper_first = mean[chosen] - split < 0.5
        for side in range(2):
            lows[size], highs[size], prices[size] = low, high, price
            if (side == 0) == upper_first:
                lows[size, chosen] = split + 1
            else:
                highs[size, chosen] = split
            size += 1
    return True


@njit(nogil=True, cache=True)
def _bound(
    cost: np.ndarray,
    demand: np.ndarray,
    sets: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    price: np.ndarray,
    best_cost: float,
    steps: int,
    reduced: np.ndarray,
    mean: np.ndarray,
    slope: np.ndarray,
) -> float:
    """A lower bound by subgradient steps on the prices, which are left at their best; O(steps k e).

    Also writes the reduced costs at these prices, and the mean of the counts over all steps.
    """
    k, num_elements = sets.shape
    current, best_price = price.copy(), price.copy()
    best_reduced = np.zeros(k)
    best_bound, length, since = -np.inf, 1.0, 0
    mean[:] = 0
    weight = 0.0
    for step in range(steps):
        for i in range(num_elements):
            slope[i] = demand[i]
        bound = 0.0
        for j in range(k):
            reduced[j] = cost[j]
            for i in range(num_elements):
                reduced[j] -= current[i] * sets[j, i]
            taken = high[j] if reduced[j] < 0 else low[j]
            bound += reduced[j] * taken
            mean[j] += (step + 1) * (taken - mean[j]) / (weight + step + 1)
            if taken:
                for i in range(num_elements):
                    slope[i] -= sets[j, i] * taken
        weight += step + 1
        square = 0.0
        for i in range(num_elements):
            bound += current[i] * demand[i]
            if slope[i] < 0 and current[i] == 0:
                slope[i] = 0
            square += slope[i] * slope[i]
        since += 1
        if bound > best_bound:
            best_bound, since = bound, 0
            best_price[:] = current
            best_reduced[:] = reduced
        if square == 0 or best_bound >= best_cost:
            break
        if since >= 5:
            length, since = length / 2, 0
        move = length * (1.01 * best_cost - bound) / square
        for i in range(num_elements):
            current[i] = max(0.0, current[i] + move * slope[i])
    price[:] = best_price
    reduced[:] = best_reduced
    return best_bound


@njit(nogil=True, cache=True)
def _complete(
    cost: np.ndarray,
    demand: np.ndarray,
    sets: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    reduced: np.ndarray,
    best: np.ndarray,
    best_cost: float,
) -> float:
    """The cost of a greedy choice within the bounds, kept in `best` if it is better, or infinity.

    It takes the sets of negative reduced cost, then what costs least for each unit of open demand.
    """
    k, num_elements = sets.shape
    counts, left = low.copy(), demand.copy()
    for j in range(k):
        if reduced[j] < 0:
            counts[j] = high[j]
        for i in range(num_elements):
            left[i] -= counts[j] * sets[j, i]
    while True:
        chosen, cheapest, is_open = -1, np.inf, False
        for i in range(num_elements):
            is_open = is_open or left[i] > 0
        if not is_open:
            break
        for j in range(k):
            if counts[j] < high[j]:
                met = 0
                for i in range(num_elements):
                    met += max(min(left[i], sets[j, i]), 0)
                if met and max(reduced[j], 0.0) / met < cheapest:
                    chosen, cheapest = j, max(reduced[j], 0.0) / met
        if chosen < 0:
            return np.inf
        counts[chosen] += 1
        for i in range(num_elements):
            left[i] -= sets[chosen, i]
    total = _drop_needless(cost, demand, sets, low, counts)
    if total < best_cost:
        best[:] = counts
    return total


@njit(nogil=True, cache=True)
def _drop_needless(
    cost: np.ndarray, demand: np.ndarray, sets: np.ndarray, low: np.ndarray, counts: np.ndarray
) -> float:
    """Lower counts as far as the demands allow, the dearest sets first; returns the cost that is left."""
    k, num_elements = sets.shape
    spare = -demand
    for j in range(k):
        for i in range(num_elements):
            spare[i] += counts[j] * sets[j, i]
    order = np.argsort(-cost, kind="mergesort")
    total = 0.0
    for j in order:
        fewer = counts[j] - low[j]
        for i in range(num_elements):
            if sets[j, i]:
                fewer = min(fewer, spare[i] // sets[j, i])
        fewer = max(fewer, 0)
        counts[j] -= fewer
        for i in range(num_elements):
            spare[i] -= fewer * sets[j, i]
        total += cost[j] * counts[j]
    return total


@njit(nogil=True, cache=True)
def _meets(demand: np.ndarray, sets: np.ndarray, counts: np.ndarray) -> bool:
    for i in range(demand.size):
        met = 0
        for j in range(counts.size):
            met += counts[j] * sets[j, i]
        if met < demand[i]:
            return False
    return True
