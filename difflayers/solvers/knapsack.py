"""0/1 knapsack with one or several capacities."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from difflayers._arguments import as_array
from difflayers.solver import Array
from difflayers.solvers.batch import batch_size, check_threads, checked_contexts, solve_batch
from difflayers.solvers.knapsack_branching import fill_by_branching
from difflayers.solvers.knapsack_states import fill_by_states

# Beyond, float64 does not hold all whole numbers.
LARGEST_WHOLE = 2**53
# In sums of weights below 2^62, nothing overflows.
SUM_BITS = 62
# The weight of items that do not fit alone. Capacities are lower.
UNFIT = 2**64 - 1


@dataclass(frozen=True, eq=False)
class Knapsack:
    """The items of least total cost that do not exceed a capacity, or several capacities at once.

    Costs are minimized, so only items of negative cost are taken: hand in −value as cost. Exact. One capacity
    is solved by dynamic programming, and several capacities by branch and bound. Both are exponential at
    worst.

    Weights are added up without rounding. If all weights are whole numbers, their sum does not exceed the
    capacity. Otherwise the sum may exceed the capacity by a relative (n + 2) ε, where ε is the machine
    epsilon of the dtype: numbers such as 0.1 are rounded, and 0.1 and 0.2 are to fit into 0.3.

    Args:
        weights: (n,) non-negative numbers, or (d, n) for d dimensions.
        capacity: a non-negative number, or (d,) of them.
        n_threads: number of threads that share a batch.

    Raises:
        TypeError, ValueError: an argument has the wrong form, is negative or not finite.

    Examples:
        >>> import numpy as np
        >>> values = np.array([[4.0, 5.0, 3.0]])
        >>> Knapsack(weights=[3, 4, 2], capacity=5)(-values)
        array([[1., 0., 1.]])
        >>> Knapsack(weights=[[3, 4, 2], [1, 1, 1]], capacity=[9, 1])(-values)
        array([[0., 1., 0.]])
    """

    sense: ClassVar[str] = "minimize"
    weights: Array
    capacity: Any
    n_threads: int = 1
    _units: tuple[Array, Array] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_threads(self.n_threads)
        weights, capacity = as_array("weights", self.weights), as_array("capacity", self.capacity)
        if weights.ndim not in (1, 2) or weights.shape[:-1] != capacity.shape:
            raise ValueError(
                "weights must have shape (n,) with a single capacity, or (d, n) with d capacities, "
                f"got {weights.shape} with a capacity of shape {capacity.shape}"
            )
        for name, array in (("weights", weights), ("capacity", capacity)):
            if array.dtype.kind not in "iuf":
                raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
            if not np.isfinite(array).all() or (array < 0).any():
                raise ValueError(f"{name} must be finite and non-negative, got {array.tolist()}")
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "capacity", capacity)
        object.__setattr__(self, "_units", in_units(np.atleast_2d(weights), np.atleast_1d(capacity)))

    def __call__(self, costs: Any, contexts: Sequence[Any] | None = None) -> Array:
        """Solve a batch.

        Args:
            costs: (B, n) numbers; infinity forbids an item.
            contexts: per instance its capacity, or a pair of its weights and its capacity, in place of those
                that the solver was built with.

        Returns:
            (B, n) in the costs' dtype: 1 for the items taken, 0 for the others.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or minus infinity, or a weight or capacity is
                negative.
        """
        batch = batch_size(costs)
        weights, capacities, which = self._instances(contexts, batch)
        num_dims, num_items = weights.shape[1:]
        if num_dims == 1 and all(sum(row[row < UNFIT].tolist()) < 2**SUM_BITS for row in weights):
            kernel = fill_by_states
            structure: Array = np.minimum(weights[:, 0], 2**SUM_BITS).astype(np.int64)
            capacities = np.minimum(capacities[:, 0], 2**SUM_BITS - 1).astype(np.int64)
        else:
            kernel, structure = fill_by_branching, weights
        return solve_batch(
            kernel,
            costs,
            (num_items,),
            (structure,),
            failure="no solution",
            n_threads=self.n_threads,
            per_instance=(capacities, which),
        )

    def _instances(self, contexts: Sequence[Any] | None, batch: int) -> tuple[Array, Array, Array]:
        """Weights (k, d, n) in units; per instance its capacities (B, d) and which weights it has (B,)."""
        if contexts is None:
            weights, capacity = self._units
            return weights[None], np.tile(capacity, (batch, 1)), np.zeros(batch, np.int64)
        if any(isinstance(context, tuple) and self._is_pair(context) for context in contexts):
            return self._pairs(contexts, batch)
        checked = checked_contexts(contexts, batch, self.capacity.astype(np.float64))
        _check_sizes("capacities", checked.reshape(batch, -1))
        # Not through float64, which would round whole numbers.
        exact = np.array([np.asarray(context) for context in contexts]).reshape(batch, -1)
        different, which = np.unique(exact, axis=0, return_inverse=True)
        return self._in_units([(self.weights, capacity) for capacity in different], which.reshape(batch))

    def _is_pair(self, context: tuple[Any, ...]) -> bool:
        """Whether a context is a pair of weights and capacity, not d = 2 capacities."""
        return len(context) == 2 and np.ndim(context[0]) == self.weights.ndim

    def _pairs(self, contexts: Sequence[Any], batch: int) -> tuple[Array, Array, Array]:
        """As `_instances`, for contexts of which some are pairs."""
        pairs = [
            context if isinstance(context, tuple) and self._is_pair(context) else (self.weights, context)
            for context in contexts
        ]
        all_weights = checked_contexts([pair[0] for pair in pairs], batch, self.weights.astype(np.float64))
        all_capacities = checked_contexts(
            [pair[1] for pair in pairs], batch, self.capacity.astype(np.float64)
        )
        _check_sizes("weights", all_weights.reshape(batch, -1))
        _check_sizes("capacities", all_capacities.reshape(batch, -1))
        return self._in_units([(np.asarray(w), np.asarray(c)) for w, c in pairs], np.arange(batch))

    def _in_units(self, pairs: Sequence[tuple[Array, Array]], which: Array) -> tuple[Array, Array, Array]:
        """Weights (k, d, n) of k pairs of weights and capacity; per instance its capacities and its pair."""
        rows = [in_units(np.atleast_2d(weights), np.atleast_1d(capacity)) for weights, capacity in pairs]
        shape = np.atleast_2d(self.weights).shape
        weights = np.array([row[0] for row in rows], np.uint64).reshape(len(rows), *shape)
        capacities = np.array([row[1] for row in rows], np.uint64).reshape(len(rows), -1)[which]
        return weights, capacities, which.astype(np.int64)


def _check_sizes(name: str, values: Array) -> None:
    """Raise ValueError naming the instance if a value (B, k) is negative or not finite."""
    wrong = ~((values >= 0) & (values < np.inf)).all(axis=1)
    if wrong.any():
        instance = int(wrong.argmax())
        raise ValueError(
            f"{name} must be finite and non-negative, got {values[instance].tolist()} for instance {instance}"
        )


def in_units(weights: Array, capacity: Array) -> tuple[Array, Array]:
    """Weights (d, n) and capacities (d,) as uint64 multiples of some unit for each dimension.

    Items that do not fit alone weigh UNFIT.
    """
    units = np.empty(weights.shape, np.uint64)
    room = np.empty(len(weights), np.uint64)
    for d in range(len(weights)):
        units[d], room[d] = _row_in_units(weights[d], capacity[d])
    return units, room


def _row_in_units(weights: Array, capacity: Any) -> tuple[Array, int]:
    """One dimension: whole weights as they are, others as multiples of a power of two."""
    num_items = len(weights)
    if weights.dtype.kind in "iu" or (
        (weights == np.floor(weights)).all() and float(weights.max(initial=0)) < LARGEST_WHOLE
    ):
        exact, most = weights.astype(np.uint64), int(capacity)
    else:
        dtypes = [array.dtype for array in (weights, np.asarray(capacity)) if array.dtype.kind == "f"]
        tolerance = (num_items + 2) * max(float(np.finfo(dtype).eps) for dtype in dtypes)
        real, limit = weights.astype(np.float64), float(capacity) * (1 + tolerance)
        heaviest = real.max(where=real <= limit, initial=0)
        shift = SUM_BITS - 1 - num_items.bit_length() - int(np.frexp(heaviest)[1])
        fits = real <= limit
        exact = np.ldexp(np.where(fits, real, 0), shift).astype(np.uint64)
        scaled = np.ldexp(limit, shift)
        most = int(scaled) if scaled < 2.0**SUM_BITS else 2**SUM_BITS
        exact[~fits] = UNFIT
    most = min(most, UNFIT - 1)
    fitting = exact <= most
    divisor = max(1, int(np.gcd.reduce(exact[fitting], initial=0)))
    return np.where(fitting, exact // np.uint64(divisor), np.uint64(UNFIT)), most // divisor
