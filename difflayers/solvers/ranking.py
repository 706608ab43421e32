"""Ranks and the k cheapest items: sorting as a solver."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from difflayers._arguments import as_array, count
from difflayers.solver import Array, InfeasibleError
from difflayers.solvers.batch import checked_rows


@dataclass(frozen=True)
class Ranking:
    """The rank of every item of a list, 1 for the highest cost: argmin over permutations π of <costs, π>.

    This is the solver of Rolínek et al. (Optimizing Rank-based Metrics with Blackbox Differentiation, CVPR
    2020), with the scores of the items as costs. Exact, in O(n log n); of equal items the first ranks
    higher.
    """

    def __call__(self, costs: Any) -> Array:
        """Solve a batch.

        Args:
            costs: (B, n) numbers, for any n.

        Returns:
            (B, n) in the costs' dtype: a permutation of 1 to n an instance.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or minus infinity.
        """
        array = as_array("costs", costs)
        rows = checked_rows(array, None)
        ranks = np.empty_like(rows)
        order = np.argsort(-rows, axis=1, kind="stable")
        np.put_along_axis(ranks, order, np.arange(1.0, rows.shape[1] + 1)[None], axis=1)
        return ranks.astype(array.dtype, copy=False)


@dataclass(frozen=True)
class TopK:
    """The k cheapest items of a list (the k best, if the costs are negative scores).

    Exact, in O(n log n); of equal items the first ones are taken.

    Args:
        k: how many items.

    Raises:
        ValueError: k is no positive integer.
    """

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
        taken = np.zeros_like(rows)
        order = np.argsort(rows, axis=1, kind="stable")[:, : self.k]
        np.put_along_axis(taken, order, 1.0, axis=1)
        solutions = taken.astype(array.dtype, copy=False)
        failed = np.flatnonzero((rows < np.inf).sum(axis=1) < self.k).tolist()
        if failed:
            raise InfeasibleError(f"fewer than {self.k} items of finite cost", failed, solutions)
        return solutions
