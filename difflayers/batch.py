"""Run a solver over a batch: the one way from tensors to instances and back, for every estimator and loss."""

from collections.abc import Sequence
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from difflayers.parallel import active_backend, check_jobs, map_instances
from difflayers.solver import (
    Answers,
    Failure,
    Problems,
    Solver,
    SolverError,
    solve_each,
    solve_together,
)

ON_FAILURE = ("raise", "skip", "zero_grad")


class SolveOptions(TypedDict, total=False):
    """How a solver is run: the keyword arguments that every layer and loss passes on to `BatchSolver`."""

    batched: bool
    n_jobs: int
    maximize: bool
    on_failure: Literal["raise", "skip", "zero_grad"]


class BatchSolver(nn.Module):
    """A solver and how it is run over a batch; every layer and loss holds one.

    Args:
        solver: see `difflayers.Solver`.
        batched: whether the solver takes the arrays and contexts of the whole batch at once.
        n_jobs: how many solver calls run at the same time, see `difflayers.parallel.map_instances`.
        maximize: whether the solver maximises <costs, solution>.
        on_failure: what follows where the solver says that it found no solution (see `Solver`). "raise" is an
            error. Otherwise the instance gets no gradient in this step; "zero_grad" makes its solution, and
            its loss, zero; "skip" makes them NaN, to be left out of averages, as our losses do.

    Raises TypeError or ValueError for a solver or an option that cannot be.
    """

    def __init__(self, solver: Solver, **options: Unpack[SolveOptions]) -> None:
        super().__init__()
        if not callable(solver):
            raise TypeError(f"solver must be callable, but is a {type(solver).__name__}")
        unknown = options.keys() - SolveOptions.__annotations__.keys()
        if unknown:
            raise TypeError(
                f"unknown option {min(unknown)!r}; there are {', '.join(SolveOptions.__annotations__)}"
            )
        self.function = solver
        self.batched = options.get("batched", False)
        self.n_jobs = options.get("n_jobs", 1)
        self.maximize = options.get("maximize", False)
        self.on_failure = options.get("on_failure", "raise")
        check_jobs(self.n_jobs)
        if self.on_failure not in ON_FAILURE:
            raise ValueError(f"on_failure must be one of {ON_FAILURE}, but is {self.on_failure!r}")

    def minimized(self, costs: Tensor) -> Tensor:
        """Return the costs of the minimisation problem: negated where the solver maximises."""
        return -costs if self.maximize else costs

    def answer(self, problems: Problems, backend: Any, any_shape: bool) -> Answers:
        """Solve problems of the minimisation, here or in parallel."""
        if self.maximize:
            for cost in problems.costs:
                np.negative(cost, out=cost)
        if self.batched:
            return solve_together(self.function, problems, any_shape)
        stop = self.on_failure == "raise"
        count = len(problems.costs[0])
        if self.n_jobs == 1 or count == 1:
            return solve_each(self.function, problems, any_shape, stop)
        chunks = [
            (
                self.function,
                Problems(
                    [cost[i : i + 1] for cost in problems.costs],
                    problems.contexts and problems.contexts[i : i + 1],
                    problems.starts and problems.starts[i : i + 1],
                ),
                any_shape,
                stop,
            )
            for i in range(count)
        ]
        parts = map_instances(solve_each, chunks, self.n_jobs, backend=backend)
        return Answers(
            [np.concatenate(column) for column in zip(*(part.solutions for part in parts), strict=True)],
            [Failure(i, failure.error) for i, part in enumerate(parts) for failure in part.failures],
        )

    def extra_repr(self) -> str:
        """Name the solver and the options that are not the defaults in `print(model)`."""
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        options = {"batched": False, "n_jobs": 1, "maximize": False, "on_failure": "raise"}
        changed = [
            f"{key}={getattr(self, key)!r}"
            for key, default in options.items()
            if getattr(self, key) != default
        ]
        return ", ".join([name, *changed])


class BatchRun:
    """One forward call and its backward, as an estimator or loss sees it: everything minimises.

    Attributes:
        costs: (B, *shape) each, detached, float32 or float64, on the device to compute on.
        targets: (B, …) what a loss was given besides, in the dtype of the costs.
        failed: (B,) bool, the instances that have been taken out by `on_failure`.
        saved: what an estimator keeps for its backward.
    """

    def __init__(
        self,
        solver: BatchSolver,
        costs: Sequence[Tensor],
        targets: Sequence[Tensor] = (),
        context: Sequence[Any] | None = None,
    ) -> None:
        self.solver = solver
        self.costs = [checked(cost, f"costs[{i}]", infinite=True) for i, cost in enumerate(costs)]
        self.targets = [
            checked(target, f"targets[{i}]", infinite=True).to(self.costs[0].dtype)
            for i, target in enumerate(targets)
        ]
        self.context = context
        self.failed = torch.zeros(len(self.costs[0]), dtype=torch.bool)
        self.saved: Any = None
        # The backward of a GPU's tensors runs in another thread, where joblib's settings do not hold.
        self._backend = active_backend() if solver.n_jobs != 1 else None

    def solve(
        self,
        costs: Sequence[Tensor] | None = None,
        rows: Sequence[int] | Tensor | None = None,
        note: str | Sequence[str] = "",
        any_shape: bool = False,
    ) -> list[Tensor]:
        """Minimise M problems, each of which belongs to an instance of the batch.

        Args:
            costs: (M, *shape) each, never written to; those of the batch by default.
            rows: (M,) the instance of each problem, whose context it gets; i modulo B by default.
            note: what to say of the problems in errors, for all of them or one for each.
            any_shape: whether solutions may have another shape than the costs.

        Returns:
            Solutions (M, *shape) in dtype and device of the costs. Those of failed instances are zero.

        Raises:
            SolverError: naming the instance, for a failure that `on_failure` does not take out.
        """
        costs = self.costs if costs is None else costs
        owners = (
            torch.arange(len(costs[0])) % max(len(self.failed), 1) if rows is None else torch.as_tensor(rows)
        )
        open_ = torch.nonzero(~self.failed[owners])[:, 0]
        if len(open_) == 0:
            return [torch.zeros_like(cost) for cost in costs]
        every = len(open_) == len(owners)
        arrays = [(cost.clone() if every else cost[open_]).contiguous().numpy() for cost in costs]
        contexts = None
        if self.context is not None:
            contexts = [self.context[row % len(self.context)] for row in owners[open_].tolist()]
        answers = self.solver.answer(Problems(arrays, contexts), self._backend, any_shape)
        for failure in answers.failures:
            problem = None if failure.problem is None else int(open_[failure.problem])
            if self.solver.on_failure == "raise" or not failure.expected:
                raise self._error(problem, owners, note, failure.error) from failure.error
            self.failed[owners[problem]] = True
        solutions = [torch.from_numpy(solution) for solution in answers.solutions]
        if not every:
            full = [solution.new_zeros(len(owners), *solution.shape[1:]) for solution in solutions]
            for whole, solution in zip(full, solutions, strict=True):
                whole[open_] = solution
            solutions = full
        if self.failed.any():
            for solution in solutions:
                solution[self.failed[owners]] = 0
        return solutions

    def _error(
        self, problem: int | None, owners: Tensor, note: str | Sequence[str], error: Exception
    ) -> SolverError:
        name = "the batch" if problem is None else f"instance {int(owners[problem])}"
        about = note if isinstance(note, str) else note[problem or 0]
        kind = "" if isinstance(error, SolverError) else f"{type(error).__name__}: "
        return SolverError(f"{name}{about and ', ' + about}: {kind}{error}")


def check_call(costs: Sequence[Tensor], targets: Sequence[Tensor], context: Sequence[Any] | None) -> None:
    """Check the tensors and contexts that a layer or loss is called with.

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
    names = [f"costs[{i}]" for i in range(len(costs))] + [f"targets[{i}]" for i in range(len(targets))]
    for name, tensor in zip(names, (*costs, *targets), strict=True):
        if len(tensor) != len(costs[0]):
            raise ValueError(
                f"{name} has a batch of {len(tensor)}, but costs[0] has a batch of {len(costs[0])}"
            )
    if context is not None and len(context) != len(costs[0]):
        raise ValueError(f"context has {len(context)} objects, but the costs have a batch of {len(costs[0])}")


def checked(tensor: Tensor, name: str, *, infinite: bool) -> Tensor:
    """Detach a (B, *shape) tensor and bring it to where solvers are, in float64 or float32.

    Raises ValueError naming `name` and the instance where there is a NaN or, unless they are allowed as the
    costs of what is forbidden, an infinite value.
    """
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    tensor = tensor.detach().to("cpu", dtype).resolve_neg()
    bad = tensor.isnan() if infinite else ~tensor.isfinite()
    if bad.any():
        row = int(bad.flatten(1).any(1).int().argmax()) if bad.ndim > 1 else int(bad.int().argmax())
        raise ValueError(f"{name} has a NaN{'' if infinite else ' or infinite value'} in instance {row}")
    return tensor


def only(outputs: Sequence[Any]) -> Any:
    """Return the single output itself, and several as a tuple."""
    return outputs[0] if len(outputs) == 1 else tuple(outputs)
