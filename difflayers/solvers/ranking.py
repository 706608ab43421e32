"""Ranks and the k cheapest items: sorting as a solver."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from difflayers._arguments import as_array, count
from difflayers.solver import Array, InfeasibleError
from difflayers.solvers.batch import checked_rows


@dataclass(frozen=True)
class Ranking:
    """The rank of every item of a list, 1 for the highest cost: argmin over permutations π of <costs, π>.

    This is the solver of Rolínek et al. (Optimizing Rank-based Metrics with Blackbox Differentiation, CVPR
    2020), where the costs are the scores of the items. Exact, in O(n log n) per instance. Of equal items, the
    first ranks higher.

    Examples:
        >>> import numpy as np
        >>> Ranking()(np.array([[0.1, 0.7, 0.2]]))
        array([[3., 1., 2.]])
    """

    sense: ClassVar[str] = "minimize"

    def __call__(self, costs: Any) -> Array:
        """Solve a batch.

        Args:
            costs: (B, n) numbers, for any n.

        Returns:
            (B, n), per instance a permutation of 1 to n, in the dtype of the costs. If that dtype does not
            hold n, a larger dtype of the same kind is used, such as int16 for 200 costs of dtype int8.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or minus infinity.
        """
        array = as_array("costs", costs)
        checked_rows(array, None)
        num_items = array.shape[1]
        # Sorted as they are: float64 would round integers beyond 2^53. Read backwards twice, so that the
        # order is descending and the first of equal items comes first.
        order = num_items - 1 - np.argsort(array[:, ::-1], axis=1, kind="stable")[:, ::-1]
        ranks = np.empty(array.shape, _holding(num_items, array.dtype))
        np.put_along_axis(ranks, order, np.arange(1, num_items + 1, dtype=ranks.dtype)[None], axis=1)
        return ranks


@dataclass(frozen=True)
class TopK:
    """The k cheapest items of a list, which are the k best items if the costs are negative scores.

    Exact, in O(n log n) per instance. Of equal items, the first ones are taken.

    Args:
        k: number of items to take.

    Raises:
        ValueError: k is not a positive integer.

    Examples:
        >>> import numpy as np
        >>> TopK(2)(np.array([[3.0, 1.0, 2.0]]))
        array([[0., 1., 1.]])
    """

    sense: ClassVar[str] = "minimize"
    k: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", count("k", self.k))

    def __call__(self, costs: Any) -> Array:
        """Solve a batch.

        Args:
            costs: (B, n) numbers, for any n ≥ k; infinity forbids an item.

        Returns:
            (B, n) in the costs' dtype: 1 for the k cheapest items, 0 for the others.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or minus infinity.
            InfeasibleError: an instance has fewer than k items of finite cost.
        """
        array = as_array("costs", costs)
        rows = checked_rows(array, None)
        solutions = np.zeros(array.shape, array.dtype)
        order = np.argsort(array, axis=1, kind="stable")[:, : self.k]
        np.put_along_axis(solutions, order, solutions.dtype.type(1), axis=1)
        failed = np.flatnonzero((rows < np.inf).sum(axis=1) < self.k).tolist()
        if failed:
            raise InfeasibleError(f"fewer than {self.k} items of finite cost", failed, solutions)
        return solutions


def _holding(number: int, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype if it holds all integers up to a number, else the next larger one of its kind that does."""
    for candidate in (dtype, *(np.dtype(f"{dtype.kind}{size}") for size in (2, 4, 8))):
        most = np.iinfo(candidate).max if dtype.kind in "iu" else 2 ** (np.finfo(candidate).nmant + 1)
        if number <= most:
            return candidate
    return dtype
