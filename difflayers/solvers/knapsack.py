"""0/1 knapsack with one or several capacities."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import njit

from difflayers._arguments import as_array
from difflayers.solver import Array
from difflayers.solvers.batch import batch_size, check_threads, checked_contexts, solve_batch

# Up to here the table of the dynamic programme, n times the capacity, is smaller than what it would save.
MAX_TABLE = 10_000_000
# What sums of parts of a capacity may exceed it by: 0.1 + 0.2 fits into 0.3.
ROUNDING = 1e-12
DUAL_STEPS = 60
TINY = 1e-300


@dataclass(frozen=True, eq=False)
class Knapsack:
    """The items of least total cost that do not exceed a capacity, or several capacities at once.

    Costs are minimised, so an item is worth taking only where its cost is negative: hand in −value. Exact:
    integer weights with one capacity are solved by dynamic programming in O(n capacity), all others by
    branch and bound, which is exponential in the worst case.

    Args:
        weights: (n,) non-negative numbers, or (d, n) for d dimensions.
        capacity: a non-negative number, or (d,) of them.
        n_threads: threads among which a batch is shared out.

    Raises:
        TypeError, ValueError: an argument has the wrong form, is negative or not finite.
    """

    weights: Array
    capacity: Any
    n_threads: int = 1
    _rows: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_threads(self.n_threads)
        weights, capacity = as_array("weights", self.weights), as_array("capacity", self.capacity)
        if weights.ndim not in (1, 2) or weights.shape[:-1] != capacity.shape:
            raise ValueError(
                "weights must have shape (n,) with a single capacity, or (d, n) with d capacities, "
                f"but have shape {weights.shape} with a capacity of shape {capacity.shape}"
            )
        for name, array in (("weights", weights), ("capacity", capacity)):
            if array.dtype.kind not in "iuf":
                raise TypeError(f"{name} must be real numbers, but have dtype {array.dtype}")
            if not np.isfinite(array).all() or (array < 0).any():
                raise ValueError(f"{name} must be finite and non-negative, but are {array.tolist()}")
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "capacity", capacity)
        object.__setattr__(self, "_rows", np.atleast_2d(weights).astype(np.float64))

    def __call__(self, costs: Any, contexts: Sequence[Any] | None = None) -> Array:
        """Solve a batch.

        Args:
            costs: (B, n) numbers; infinity forbids an item.
            contexts: for each instance its capacity, in place of the fixed one.

        Returns:
            (B, n) in the costs' dtype: 1 for the items taken, 0 for the others.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or minus infinity, or a capacity is negative.
        """
        batch = batch_size(costs)
        capacities = self._capacities(contexts, batch)
        num_items = self._rows.shape[1]
        whole = self.weights.dtype.kind in "iu" and self.weights.ndim == 1
        largest = float(capacities.max(initial=0))
        if whole and num_items * min(largest, self._rows.sum()) <= MAX_TABLE:
            kernel, structure = _fill_by_table, (self.weights.astype(np.int64),)
        else:
            kernel, structure = _fill_by_branching, (self._rows,)
        return solve_batch(
            kernel,
            costs,
            (num_items,),
            structure,
            failure="no solution",
            n_threads=self.n_threads,
            per_instance=(capacities,),
        )

    def _capacities(self, contexts: Sequence[Any] | None, batch: int) -> Array:
        capacities = checked_contexts(contexts, batch, self.capacity.astype(np.float64))
        capacities = capacities.reshape(batch, len(self._rows))
        wrong = ~((capacities >= 0) & (capacities < np.inf)).all(axis=1)
        if wrong.any():
            instance = int(wrong.argmax())
            raise ValueError(
                "capacities must be finite and non-negative, "
                f"but that of instance {instance} is {capacities[instance].tolist()}"
            )
        return capacities


@njit(nogil=True, cache=True)
def _fill_by_table(
    costs: np.ndarray, solutions: np.ndarray, capacities: np.ndarray, weights: np.ndarray
) -> int:
    """Best cost for every capacity, one item after the other, O(n capacity) an instance."""
    num_items, total = weights.size, weights.sum()
    largest = np.int64(min(capacities.max(), total))
    before, after = np.empty(largest + 1), np.empty(largest + 1)
    taken = np.empty((num_items, largest + 1), np.bool_)
    for row in range(len(costs)):
        capacity = np.int64(min(capacities[row, 0], total))
        before[: capacity + 1] = 0
        for item in range(num_items):
            weight, cost = weights[item], costs[row, item]
            if cost >= 0 or weight > capacity:
                taken[item, : capacity + 1] = False
                continue
            after[:weight] = before[:weight]
            taken[item, :weight] = False
            for room in range(weight, capacity + 1):
                with_item = before[room - weight] + cost
                taken[item, room] = with_item < before[room]
                after[room] = min(with_item, before[room])
            before, after = after, before
        for item in range(num_items - 1, -1, -1):
            if taken[item, capacity]:
                solutions[row, item] = 1
                capacity -= weights[item]
    return -1


@njit(nogil=True, cache=True)
def _fill_by_branching(
    costs: np.ndarray, solutions: np.ndarray, capacities: np.ndarray, weights: np.ndarray
) -> int:
    """Depth first, taking an item before leaving it; exponential, but the bound is that of the relaxation."""
    num_dims, num_items = weights.shape
    used = np.empty((num_items + 1, num_dims))  # parts of the capacities, after so many decisions
    spent = np.empty(num_items + 1)  # their weighted sum
    value = np.empty(num_items + 1)
    chosen, best = np.empty(num_items, np.bool_), np.empty(num_items, np.bool_)
    for row in range(len(costs)):
        items, share = _worthwhile(costs[row], weights, capacities[row])
        multipliers = _multipliers(costs[row][items], share)
        combined = np.zeros(items.size)
        for d in range(num_dims):
            combined += multipliers[d] * share[d]
        order = np.argsort(costs[row][items] / np.maximum(combined, TINY), kind="mergesort")
        items, combined = items[order], combined[order]
        gain, room = costs[row][items], multipliers.sum() * (1 + ROUNDING)
        used[0], spent[0], value[0] = 0, 0, 0
        best_value, depth = 0.0, 0
        best[:], chosen[:] = False, False
        while depth >= 0:
            while depth < items.size and (
                value[depth] + _fractional(gain, combined, depth, room - spent[depth]) < best_value
            ):
                fits = True
                for d in range(num_dims):
                    used[depth + 1, d] = used[depth, d] + share[d, order[depth]]
                    fits = fits and used[depth + 1, d] <= 1 + ROUNDING
                chosen[depth] = fits
                if not fits:
                    used[depth + 1] = used[depth]
                spent[depth + 1] = spent[depth] + combined[depth] * fits
                value[depth + 1] = value[depth] + gain[depth] * fits
                depth += 1
            if depth == items.size and value[depth] < best_value:
                best_value = value[depth]
                best[:] = chosen
            # Leave out the last item that was taken, and go on from there.
            depth -= 1
            while depth >= 0 and not chosen[depth]:
                depth -= 1
            if depth >= 0:
                chosen[depth] = False
                used[depth + 1] = used[depth]
                spent[depth + 1] = spent[depth]
                value[depth + 1] = value[depth]
                depth += 1
        for place in range(items.size):
            if best[place]:
                solutions[row, items[place]] = 1
    return -1


@njit(nogil=True, cache=True)
def _worthwhile(
    costs: np.ndarray, weights: np.ndarray, capacity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The items that would help and fit alone, and (d, items) the part of each capacity that they need."""
    num_dims = len(weights)
    fits = costs < 0
    for d in range(num_dims):
        fits &= weights[d] <= capacity[d] * (1 + ROUNDING)
    items = np.flatnonzero(fits)
    share = np.zeros((num_dims, items.size))
    for d in range(num_dims):
        if capacity[d] > 0:
            share[d] = weights[d][items] / capacity[d]
    return items, share


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
