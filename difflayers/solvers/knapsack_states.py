"""The knapsack with one capacity: dynamic programming over the states that can still become the best.

A state is a choice among the first items. It has a room, which is the capacity left, and a gain, which is the
value so far. The items go from the best value per weight to the worst. After each item, two kinds of states
are dropped: those that have neither more room nor more gain than another state (Nemhauser and Ullmann, 1969),
and those whose bound does not exceed the best value found. The bound fills the room with the next items, the
last of them in part (Dantzig, 1957). If a table of all rooms is smaller than the list of states, the rest of
the items is solved in such a table. If both are too large for memory, branch and bound solves the instance.

Weights and rooms are exact int64, so that nothing is taken that does not fit.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from difflayers.solvers.batch import spend
from difflayers.solvers.knapsack_branching import branch

# A table takes its memory in bits, 128 MB at this size, and a room of it a tenth of the time of a state.
MAX_TABLE_BITS = 2**30
STATES_PER_ROOM = 0.1
SMALL_TABLE = 1000
MAX_STATES = 2**21
# Between compactions of the tree of choices, in which three quarters or more are then dead ends.
RECORDS = 1 << 10
EXACT_WHOLE = 2.0**53


SOLVED, STOPPED, TOO_LARGE, NO_BETTER = 0, 1, 2, 3


class States(NamedTuple):
    """States in falling order of room and so in rising order of gain; room for more."""

    room: np.ndarray
    gain: np.ndarray
    end: np.ndarray  # the last choice, or -1


class Choices(NamedTuple):
    """A tree of choices: each adds an item to its parent's."""

    item: np.ndarray
    parent: np.ndarray


@njit(nogil=True, cache=True)
def fill_by_states(
    costs: np.ndarray,
    solutions: np.ndarray,
    meter: np.ndarray,
    capacities: np.ndarray,
    which: np.ndarray,
    weights: np.ndarray,
) -> int:
    """Solve rows of costs; row i has the capacity `capacities[i]` and the weights `weights[which[i]]`.

    At most O(2^n) and O(n capacity) states per instance, with good bounds far fewer.
    """
    for row in range(len(costs)):
        outcome = _fill(costs[row], solutions[row], meter, capacities[row], weights[which[row]])
        if outcome == TOO_LARGE:
            capacity = np.full(1, capacities[row]).astype(np.uint64)
            weight = weights[which[row]].astype(np.uint64).reshape(1, -1)
            outcome = SOLVED if branch(costs[row], solutions[row], meter, capacity, weight) else STOPPED
        if outcome == STOPPED:
            return row
    return -1


@njit(nogil=True, cache=True)
def _fill(
    costs: np.ndarray, solution: np.ndarray, meter: np.ndarray, capacity: int, all_weights: np.ndarray
) -> int:
    """Solve one instance, unless stopped or too large for memory."""
    items, total = np.empty(costs.size, np.int64), 0
    count = 0
    for item in range(costs.size):
        if costs[item] < 0 and all_weights[item] <= capacity:
            items[count] = item
            total += int(all_weights[item])
            count += 1
    items = items[:count]
    if total <= capacity:
        for k in range(count):
            solution[items[k]] = 1
        return SOLVED
    # Scaled by a power of two, which is exact, so that neither sums nor ratios can overflow.
    exponent = math.frexp(-costs[items].min())[1]
    values = np.empty(count)
    ratio = np.empty(count)
    for k in range(count):
        values[k] = math.ldexp(-costs[items[k]], -exponent)
        ratio[k] = -values[k] / max(all_weights[items[k]], 1) - 2 * (all_weights[items[k]] == 0)
    order = np.argsort(ratio, kind="mergesort")
    items, values = items[order], values[order]
    weights = all_weights[items]
    taken = np.zeros(count, np.bool_)
    granularity = _granularity(costs[items], exponent)
    outcome = _choose(taken, values, weights, capacity, granularity, meter)
    if outcome != SOLVED:
        return outcome
    for k in range(count):
        solution[items[k]] = taken[k]
        if taken[k]:
            capacity -= weights[k]
    # Values so small beside the others that they vanished in sums.
    for k in range(count):
        if not taken[k] and weights[k] <= capacity:
            solution[items[k]] = 1
            capacity -= weights[k]
    return SOLVED


@njit(nogil=True, cache=True)
def _granularity(costs: np.ndarray, exponent: int) -> float:
    """What two different sums of the scaled values differ by at least: 1, scaled, if the costs are whole."""
    total = 0.0
    for cost in costs:
        if cost != np.floor(cost):
            return 0.0
        total += abs(cost)
    return math.ldexp(1 - 1e-6, -exponent) if total < EXACT_WHOLE / 4 else 0.0


@njit(nogil=True, cache=True)
def _choose(
    taken: np.ndarray,
    values: np.ndarray,
    weights: np.ndarray,
    capacity: int,
    granularity: float,
    meter: np.ndarray,
) -> int:
    """Mark which items to take (n,), given from the best value per weight to the worst."""
    count = values.size
    value_before, weight_before = np.zeros(count + 1), np.zeros(count + 1, np.int64)
    for k in range(count):
        value_before[k + 1] = value_before[k] + values[k]
        weight_before[k + 1] = weight_before[k] + weights[k]
    old, new = _states(64), _states(64)
    old.room[0], old.gain[0], old.end[0], size = capacity, 0, -1, 1
    choices, num_choices = Choices(np.empty(RECORDS, np.int32), np.empty(RECORDS, np.int32)), 0
    best, best_end, best_from, best_to = 0.0, -1, 0, 0
    for k in range(count):
        if size == 0:
            break
        if spend(meter, 20 * (size + count)):
            return STOPPED
        cells = float(count - k) * capacity
        if cells < SMALL_TABLE or (size > STATES_PER_ROOM * capacity + 64 and cells < MAX_TABLE_BITS):
            outcome = _finish_in_table(taken, best, values, weights, k, old, size, choices, capacity, meter)
            if outcome != NO_BETTER:
                return outcome
            break
        if size > MAX_STATES:
            return TOO_LARGE
        if num_choices + size > choices.item.size:
            choices, num_choices, best_end = _compacted(choices, num_choices, old.end[:size], best_end)
        if 2 * size > new.room.size:
            new = _states(4 * size)
        found, highest, without, taking, to = 0, -1.0, 0, 0, count
        while taking < size:
            # The next state in the order of rooms, of equal rooms the more valuable: without or with item k.
            room, gain, end = old.room[taking] - weights[k], old.gain[taking] + values[k], old.end[taking]
            with_item = without == size or (
                room > old.room[without] or (room == old.room[without] and gain > old.gain[without])
            )
            if not with_item:
                room, gain, end = old.room[without], old.gain[without], old.end[without]
                without += 1
            elif room < 0:
                taking = size
                continue
            else:
                taking += 1
            if gain <= highest:
                continue
            highest = gain
            while weight_before[to] - weight_before[k + 1] > room:
                to -= 1
            lower = upper = gain + (value_before[to] - value_before[k + 1])
            if to < count:
                left = room - (weight_before[to] - weight_before[k + 1])
                upper += left * (values[to] / weights[to])
            open_ = upper > max(best, lower) and upper >= max(best, lower) + granularity
            if with_item and (open_ or lower > best):
                choices.item[num_choices], choices.parent[num_choices] = k, end
                end = num_choices
                num_choices += 1
            if lower > best:
                best, best_end, best_from, best_to = lower, end, k + 1, to
            if open_:
                new.room[found], new.gain[found], new.end[found] = room, gain, end
                found += 1
        old, new, size = new, old, found
    taken[best_from:best_to] = True
    _mark(choices, best_end, taken)
    return SOLVED


@njit(nogil=True, cache=True)
def _states(size: int) -> States:
    return States(np.empty(size, np.int64), np.empty(size), np.empty(size, np.int32))


@njit(nogil=True, cache=True)
def _mark(choices: Choices, end: int, taken: np.ndarray) -> None:
    while end >= 0:
        taken[choices.item[end]] = True
        end = choices.parent[end]


@njit(nogil=True, cache=True)
def _compacted(choices: Choices, count: int, ends: np.ndarray, best_end: int) -> tuple[Choices, int, int]:
    """The choices that lead to the states with these ends or to the best one, their number, and its new end.

    The ends are changed in place. Parents stand before their children.
    """
    alive = np.zeros(count + 1, np.bool_)  # the last entry is for ends of -1
    alive[best_end] = True
    for end in ends:
        alive[end] = True
    kept = 0
    for node in range(count - 1, -1, -1):
        if alive[node]:
            alive[choices.parent[node]] = True
            kept += 1
    size = 4 * (kept + ends.size) + RECORDS
    compacted = Choices(np.empty(size, np.int32), np.empty(size, np.int32))
    number = np.full(count + 1, -1, np.int32)
    kept = 0
    for node in range(count):
        if alive[node]:
            compacted.item[kept], compacted.parent[kept] = choices.item[node], number[choices.parent[node]]
            number[node] = kept
            kept += 1
    for state in range(ends.size):
        ends[state] = number[ends[state]]
    return compacted, kept, number[best_end]


@njit(nogil=True, cache=True)
def _finish_in_table(
    taken: np.ndarray,
    known: float,
    values: np.ndarray,
    weights: np.ndarray,
    first: int,
    states: States,
    size: int,
    choices: Choices,
    capacity: int,
    meter: np.ndarray,
) -> int:
    """Decide the items from `first` on for every room, O((n - first) capacity).

    Marks the items taken if that gives a higher value than what is known.
    """
    count = values.size
    best = np.full(capacity + 1, -np.inf)
    for state in range(size):
        best[states.room[state]] = states.gain[state]
    words = capacity // 64 + 1
    decided = np.zeros((count - first, words), np.uint64)
    for k in range(first, count):
        if spend(meter, capacity):
            return STOPPED
        weight, value = weights[k], values[k]
        # In place, upwards: a room is left before it is reached.
        for word in range((capacity - weight) // 64 + 1):
            begin = word * 64
            end = min(begin + 64, capacity - weight + 1)
            bits = np.uint64(0)
            for room in range(begin, end):
                with_item = best[room + weight] + value
                better = with_item > best[room]
                best[room] = with_item if better else best[room]
                bits |= np.uint64(better) << np.uint64(room - begin)
            decided[k - first, word] = bits
    room = int(np.argmax(best))
    if not best[room] > known:
        return NO_BETTER
    for k in range(count - 1, first - 1, -1):
        if decided[k - first, room // 64] >> np.uint64(room % 64) & np.uint64(1):
            taken[k] = True
            room += int(weights[k])
    for state in range(size):
        if states.room[state] == room:
            _mark(choices, states.end[state], taken)
    return SOLVED
