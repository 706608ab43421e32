"""Set cover: the sets of least cost that cover every element as often as demanded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from difflayers._arguments import as_array, count
from difflayers.solver import Array
from difflayers.solvers.batch import batch_size, check_threads, checked_contexts, solve_batch
from difflayers.solvers.set_cover_branching import cover_by_branching


@dataclass(frozen=True, eq=False)
class SetCover:
    """How often to take each set so that every element is covered as often as demanded, at least cost.

    With `at_most=1` and demands of 1 this is set cover, with other demands set multi-cover. Exact, by branch
    and bound with Lagrangian bounds, up to a relative 1e-10 of the least cost. Exponential at worst.

    Args:
        members: (e, s) whole numbers or booleans: how often set j covers element i.
        demands: (e,) whole numbers, or one number for all elements.
        at_most: how often a set may be taken.
        n_threads: number of threads that share a batch.

    Raises:
        TypeError, ValueError: an argument has the wrong form, is negative or not whole.

    Examples:
        >>> import numpy as np
        >>> solver = SetCover([[1, 0, 1], [0, 1, 1]])
        >>> solver(np.array([[1.0, 1.0, 3.0], [2.0, 2.0, 3.0]]))
        array([[1., 1., 0.],
               [0., 0., 1.]])
        >>> SetCover([[1, 0, 1], [0, 1, 1]], demands=[2, 0], at_most=2)(np.array([[1.0, 1.0, 3.0]]))
        array([[2., 0., 0.]])
    """

    sense: ClassVar[str] = "minimize"
    members: Array
    demands: Any = 1
    at_most: int = 1
    n_threads: int = 1
    _demands: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_threads(self.n_threads)
        object.__setattr__(self, "at_most", count("at_most", self.at_most))
        members = _whole("members", self.members)
        if members.ndim != 2:
            raise ValueError(f"members must have shape (elements, sets), got {members.shape}")
        demands = _whole("demands", self.demands)
        if demands.shape not in ((), members.shape[:1]):
            raise ValueError(f"demands must have shape ({len(members)},), got {demands.shape}")
        object.__setattr__(self, "members", np.ascontiguousarray(members))
        object.__setattr__(self, "_demands", np.broadcast_to(demands, members.shape[:1]).copy())

    def __call__(self, costs: Any, contexts: Sequence[Any] | None = None) -> Array:
        """Solve a batch.

        Args:
            costs: (B, s) numbers; infinity forbids a set.
            contexts: per instance its demands (e,), in place of the demands that the solver was built with.

        Returns:
            (B, s) in the costs' dtype: how often each set is taken.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or minus infinity, or demands are negative.
            InfeasibleError: an instance has demands that no sets of finite cost meet.
        """
        demands = checked_contexts(contexts, batch_size(costs), self._demands)
        if demands.min(initial=0) < 0:
            instance = int((demands < 0).any(axis=1).argmax())
            raise ValueError(
                f"demands must not be negative, got {demands[instance].tolist()} for instance {instance}"
            )
        return solve_batch(
            cover_by_branching,
            costs,
            (self.members.shape[1],),
            (self.members, self.at_most),
            failure="no sets of finite cost meet the demands",
            n_threads=self.n_threads,
            per_instance=(demands,),
        )


def _whole(name: str, value: Any) -> Array:
    """Non-negative whole numbers as int64; raises TypeError or ValueError naming them."""
    array = as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be whole numbers, got dtype {array.dtype}")
    if array.size and not (np.isfinite(array) & (array >= 0) & (array < 2**31) & (array == array // 1)).all():
        raise ValueError(f"{name} must be whole numbers of at least 0, below 2**31, got {array.tolist()}")
    return array.astype(np.int64)
