"""Run a solver over a batch: the one way from tensors to instances and back, for every estimator."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from difflayers.parallel import active_backend, map_instances
from difflayers.solver import Array, Solver, SolverError, check_solutions


class Shift(NamedTuple):
    """A perturbation of a batch's costs, c + scale · direction."""

    scale: float
    directions: tuple[Array, ...]


@dataclass(frozen=True)
class BatchRun:
    """A solver, and how one forward and backward call runs it over its batch.

    Attributes:
        solver: see `Solver`.
        context: one object an instance, handed to the solver as its last argument; None for no such argument.
        batched: whether the solver takes the whole batch at once.
        n_jobs: how many solver calls run at the same time.
        backend: the joblib backend of the thread that called forward; None for the current thread's.
    """

    solver: Solver
    context: Sequence[Any] | None = None
    batched: bool = False
    n_jobs: int = 1
    backend: Any = None

    @classmethod
    def here(cls, solver: Solver, context: Sequence[Any] | None, batched: bool, n_jobs: int) -> "BatchRun":
        """Make one that keeps this thread's joblib backend for calls from other threads."""
        return cls(solver, context, batched, n_jobs, active_backend() if n_jobs != 1 else None)

    def solve(self, costs: Sequence[Array], rows: Sequence[int], shift: Shift | None = None) -> list[Array]:
        """Solve the instances `rows` of (B, *shape) costs; one (len(rows), *shape) array for each of them."""
        return self.solve_shifted(costs, rows, [shift])[0]

    def solve_shifted(
        self, costs: Sequence[Array], rows: Sequence[int], shifts: Sequence[Shift | None]
    ) -> list[list[Array]]:
        """Solve the instances `rows` once under each shift, all of them through one `map_instances`.

        Returns, for each shift, one (len(rows), *shape) array for each cost array.
        Raises SolverError naming the instance where the solver fails, or a solution is malformed or not
        finite.
        """
        if not rows:
            return [[cost[:0].copy() for cost in costs] for _ in shifts]
        # Only views are made here: the shifted costs exist while they are being solved and no longer.
        keys = [list(rows)] if self.batched else list(rows)
        calls = [
            (
                self.solver,
                [cost[key] for cost in costs],
                shift and (shift.scale, [direction[key] for direction in shift.directions]),
                () if self.context is None else (self._context(key),),
            )
            for shift in shifts
            for key in keys
        ]
        names = [_name(key, shift) for shift in shifts for key in keys]
        solved = map_instances(_solve_one, calls, self.n_jobs, names=names, backend=self.backend)

        results = []
        for index, shift in enumerate(shifts):
            mine = solved[index * len(keys) : (index + 1) * len(keys)]
            stacked = mine[0] if self.batched else [np.stack(column) for column in zip(*mine, strict=True)]
            for output, solutions in enumerate(stacked):
                bad = first_row(~np.isfinite(solutions))
                if bad is not None:
                    raise SolverError(
                        f"{_name(rows[bad], shift)}: solution {output} has a NaN or infinite value"
                    )
            results.append(list(stacked))
        return results

    def _context(self, key: Any) -> Any:
        assert self.context is not None
        return [self.context[row] for row in key] if self.batched else self.context[key]


def _solve_one(
    solver: Solver, costs: list[Array], shift: tuple[float, list[Array]] | None, context: tuple[Any, ...]
) -> tuple[Array, ...]:
    if shift is None:
        own = [np.array(cost, order="C") for cost in costs]  # a solver may write into its input
    else:
        scale, directions = shift
        own = [
            np.asarray(cost + scale * direction, order="C")
            for cost, direction in zip(costs, directions, strict=True)
        ]
    return check_solutions(solver(*own, *context), costs)


def _name(key: int | list[int], shift: Shift | None) -> str:
    name = "the batch" if isinstance(key, list) else f"instance {key}"
    return name if shift is None else f"{name}, perturbed with scale {shift.scale:g}"


def first_row(mask: Array) -> int | None:
    """Return the first index along dimension 0 where `mask` is true anywhere, or None."""
    if not mask.any():
        return None
    return int(mask.any(axis=tuple(range(1, mask.ndim))).argmax())


def check_call(costs: Sequence[Tensor], context: Sequence[Any] | None) -> None:
    """Check the tensors and contexts that a layer is called with.

    Raises TypeError for something that is no floating-point tensor, ValueError for batch sizes that differ.
    """
    if not costs:
        raise TypeError("the layer needs at least one cost tensor")
    for index, cost in enumerate(costs):
        if not isinstance(cost, Tensor):
            raise TypeError(f"costs[{index}] must be a tensor, but is a {type(cost).__name__}")
        if not cost.is_floating_point():
            raise TypeError(f"costs[{index}] must have a floating dtype, but has {cost.dtype}")
        if cost.ndim == 0:
            raise ValueError(f"costs[{index}] has no dimension, but the first one must be the batch")
        if len(cost) != len(costs[0]):
            raise ValueError(
                f"costs[{index}] has a batch of {len(cost)}, but costs[0] has a batch of {len(costs[0])}"
            )
    if context is not None and len(context) != len(costs[0]):
        raise ValueError(f"context has {len(context)} objects, but the costs have a batch of {len(costs[0])}")


def to_array(tensor: Tensor, name: str, *, infinite: bool) -> Array:
    """View or copy a (B, *shape) tensor as a NumPy array, float64 for float64 and float32 for all else.

    Raises ValueError naming `name` and the instance where there is a NaN or, unless they are allowed as the
    costs of what is forbidden, an infinite value.
    """
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    array: Array = tensor.detach().to("cpu", dtype).resolve_neg().numpy()
    bad = first_row(np.isnan(array) if infinite else ~np.isfinite(array))
    if bad is not None:
        raise ValueError(f"{name} has a NaN{'' if infinite else ' or infinite value'} in instance {bad}")
    return array


def to_tensor(array: Array, like: Tensor) -> Tensor:
    """Copy an array into a tensor with the device and dtype of `like`."""
    return torch.tensor(array, device=like.device, dtype=like.dtype)
