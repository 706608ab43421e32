"""A solver with the options of running it over a batch, as every layer and loss holds one."""

import copy
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from difflayers.engine.options import DEFAULTS, SolveOptions, Statistics
from difflayers.engine.parallel import check_jobs
from difflayers.engine.pool import SolutionPool
from difflayers.engine.solving import Answers, Problems, solve_each, solve_together
from difflayers.engine.workers import Workers
from difflayers.solver import Solver


class BatchSolver(nn.Module):
    """A solver and its options; every layer and loss holds one, as `layer.solver`.

    A copy made by `copy.deepcopy` has the same solver object, because solvers from elsewhere often cannot be
    copied. Only a solver that is a `torch.nn.Module` is copied with the layer.

    Args:
        solver: see `difflayers.Solver`.
        options: see `SolveOptions`.

    Raises:
        TypeError: the solver cannot be called, or an option is unknown or of a wrong type.
        ValueError: an option has a wrong value, or does not fit the solver.

    Attributes:
        function: the solver.
        statistics: what has been solved so far.
    """

    def __init__(self, solver: Solver, **options: Unpack[SolveOptions]) -> None:
        super().__init__()
        if not callable(solver):
            raise TypeError(f"solver must be callable, got a {type(solver).__name__}")
        for name in options.keys() - DEFAULTS.keys():
            raise TypeError(f"unknown option {name!r}, expected one of {', '.join(DEFAULTS)}")
        given: SolveOptions = {**DEFAULTS, **options}
        self.function = solver
        self.batched: bool = given["batched"]
        self.tensors: bool = given["tensors"]
        self.n_jobs: int = given["n_jobs"]
        self.maximize: bool = given["maximize"]
        self.on_failure: Literal["raise", "skip", "zero_grad"] = given["on_failure"]
        self.pool: SolutionPool | None = given["pool"]
        self.warm_start: bool = given["warm_start"]
        self.loss_scale: Callable[[], float] | None = given["loss_scale"]
        check_jobs(self.n_jobs)
        if self.tensors and self.n_jobs != 1:
            raise ValueError("n_jobs must be 1 for a solver of tensors, which runs where the tensors are")
        if self.on_failure not in ("raise", "skip", "zero_grad"):
            raise ValueError(f"on_failure must be 'raise', 'skip' or 'zero_grad', got {self.on_failure!r}")
        if self.pool is not None and not isinstance(self.pool, SolutionPool):
            raise TypeError(f"pool must be a SolutionPool, got a {type(self.pool).__name__}")
        if self.loss_scale is not None and not callable(self.loss_scale):
            raise TypeError(
                f"loss_scale must be a function such as GradScaler.get_scale, got {self.loss_scale!r}"
            )
        sense = _sense(solver)
        if sense == "minimize" and self.maximize:
            raise ValueError(
                f"maximize=True, but {_name(solver)} minimizes. Leave the option out and give the layer the "
                "negative of the rewards, or wrap the solver: lambda rewards: solver(-rewards)"
            )
        if sense == "maximize" and not self.maximize:
            raise ValueError(f"maximize must be True for {_name(solver)}, which maximizes")
        self.workers: Workers = Workers()
        self.statistics: Statistics = Statistics()

    def oriented(self, costs: Sequence[Tensor]) -> list[Tensor]:
        """Negate the costs if the solver maximizes: from its sense to minimization, and back."""
        return [-cost for cost in costs] if self.maximize else list(costs)

    def ask(
        self,
        costs: Sequence[Tensor],
        contexts: list[Any] | None,
        starts: Sequence[Tensor] | None,
        backend: Any,
        any_shape: bool,
    ) -> Answers:
        """Minimize M problems, here or in parallel; solutions are tensors on the device of the costs."""
        began = time.perf_counter()
        warm = self.warm_start
        own: list[Any] = self.oriented(costs) if self.maximize else list(costs)
        first: list[Any] | None = None if starts is None else [start.clone() for start in starts]
        # Contiguous copies: a solver may write into what it gets.
        if self.tensors:
            own = [cost.clone(memory_format=torch.contiguous_format) for cost in own]
            answers = solve_together(self.function, Problems(own, contexts, warm, first), any_shape)
        else:
            for index, cost in enumerate(own):
                own[index] = cost.numpy().copy()
            first = None if first is None else [start.numpy() for start in first]
            problems = Problems(own, contexts, warm, first)
            if self.n_jobs != 1 and costs[0].shape[0] > 1:
                stop = self.on_failure == "raise"
                answers = self.workers.solve(
                    self.function, problems, self.batched, any_shape, stop, self.n_jobs, backend
                )
            elif self.batched:
                answers = solve_together(self.function, problems, any_shape)
            else:
                answers = solve_each(self.function, problems, any_shape, self.on_failure == "raise")
            answers = Answers(list(map(torch.from_numpy, answers.solutions)), answers.failures)
        statistics = self.statistics
        statistics.seconds += time.perf_counter() - began
        statistics.solves += costs[0].shape[0]
        statistics.failures += len(answers.failures)
        return answers

    def __deepcopy__(self, memo: dict[int, Any]) -> "BatchSolver":
        if not isinstance(self.function, nn.Module):
            memo[id(self.function)] = self.function
        if self.loss_scale is not None:
            memo[id(self.loss_scale)] = self.loss_scale
        twin = self.__class__.__new__(self.__class__)
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def extra_repr(self) -> str:
        """Name the solver and the options that are not the defaults, in `print(model)`."""
        options = ((key, getattr(self, key), default) for key, default in DEFAULTS.items())
        changed = [f"{key}={value!r}" for key, value, default in options if value != default]
        return ", ".join([_name(self.function), *changed])


def _name(solver: Solver) -> str:
    return getattr(solver, "__qualname__", type(solver).__name__)


def _sense(solver: Any) -> str | None:
    """The sense that a solver states ("minimize" or "maximize"), if it or what it is made from states one."""
    while isinstance(solver, functools.partial):
        solver = solver.func
    owner = getattr(solver, "__self__", solver)
    return getattr(solver, "sense", None) or getattr(owner, "sense", None)
