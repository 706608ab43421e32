"""A solver with the options of running it over a batch, as every layer and loss holds one."""

import time
from collections.abc import Sequence
from typing import Any, Literal, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from difflayers.engine.options import DEFAULTS, SolveOptions, Statistics
from difflayers.engine.parallel import check_jobs
from difflayers.engine.pool import SolutionPool
from difflayers.engine.solving import Answers, Problems, solve_each, solve_together
from difflayers.engine.tensors import solve_tensors
from difflayers.engine.workers import Workers
from difflayers.solver import Solver


class BatchSolver(nn.Module):
    """A solver and how it is run over a batch; every layer and loss holds one, as `layer.solver`.

    Args:
        solver: see `difflayers.Solver`.
        batched: whether the solver takes the arrays and contexts of the whole batch at once.
        tensors: whether the solver takes and returns tensors on the costs' device, those of the whole batch.
        n_jobs: how many solver calls run at the same time, in threads or on joblib's configured backend, see
            `difflayers.engine.workers.Workers`; each takes a part of the batch if the solver is batched.
        maximize: whether the solver maximises <costs, solution>.
        on_failure: what follows where the solver says that it found no solution (see `Solver`). "raise" is an
            error. Otherwise the instance gets no gradient in this step; "zero_grad" makes its solution, and
            its loss, zero; "skip" makes them NaN, to be left out of averages, as our losses do.
        pool: solutions that may be reused, see `SolutionPool`.
        warm_start: whether the solver is also given `start=`, see `Solver`.

    Raises TypeError or ValueError for a solver or an option that cannot be.

    Attributes:
        statistics: what has been solved so far.
    """

    def __init__(self, solver: Solver, **options: Unpack[SolveOptions]) -> None:
        super().__init__()
        if not callable(solver):
            raise TypeError(f"solver must be callable, but is a {type(solver).__name__}")
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
        check_jobs(self.n_jobs)
        if self.tensors and self.n_jobs != 1:
            raise ValueError("a solver of tensors runs where the tensors are, so n_jobs must be 1")
        if self.on_failure not in ("raise", "skip", "zero_grad"):
            raise ValueError(f"on_failure must be 'raise', 'skip' or 'zero_grad', but is {self.on_failure!r}")
        if self.pool is not None and not isinstance(self.pool, SolutionPool):
            raise TypeError(f"pool must be a SolutionPool, but is a {type(self.pool).__name__}")
        self.workers: Workers = Workers(solver, self.batched, self.n_jobs)
        self.statistics: Statistics = Statistics()

    def minimized(self, costs: Sequence[Tensor]) -> list[Tensor]:
        """Return the costs to minimise, in float64 or float32: negated where the solver maximises.

        Rounding to half precision stays outside, in torch: a solution rounded to bfloat16 would look changed.
        """
        exact = [cost if cost.dtype == torch.float64 else cost.float() for cost in costs]
        return [-cost for cost in exact] if self.maximize else exact

    def answer(
        self,
        costs: Sequence[Any],
        contexts: list[Any] | None,
        starts: Sequence[Any] | None,
        backend: Any,
        any_shape: bool,
    ) -> Answers:
        """Solve M problems of the minimisation, here or in parallel, in what the solver takes."""
        # Copies in C order: a solver may write into what it gets.
        began = time.perf_counter()
        if self.tensors:
            copies = [(-cost if self.maximize else cost.clone()).contiguous() for cost in costs]
            own = None if starts is None else [start.clone() for start in starts]
            answers = solve_tensors(self.function, copies, contexts, self.warm_start, own, any_shape)
        else:
            copies = [np.negative(cost, order="C") if self.maximize else cost.copy() for cost in costs]
            own = None if starts is None else [start.copy() for start in starts]
            problems = Problems(copies, contexts, self.warm_start, own)
            stop = self.on_failure == "raise"
            if self.n_jobs != 1 and len(costs[0]) > 1:
                answers = self.workers.solve(problems, backend, any_shape, stop)
            elif self.batched:
                answers = solve_together(self.function, problems, any_shape)
            else:
                answers = solve_each(self.function, problems, any_shape, stop)
        statistics = self.statistics
        statistics.seconds += time.perf_counter() - began
        statistics.solves += costs[0].shape[0]
        statistics.failures += len(answers.failures)
        return answers

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of the pool, for `state_dict`."""
        return {} if self.pool is None else self.pool.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set the state of the pool, for `load_state_dict`."""
        if self.pool is not None and state:
            self.pool.load_state_dict(state)

    def extra_repr(self) -> str:
        """Name the solver and the options that are not the defaults, in `print(model)`."""
        name = getattr(self.function, "__qualname__", type(self.function).__name__)
        options = ((key, getattr(self, key), default) for key, default in DEFAULTS.items())
        changed = [f"{key}={value!r}" for key, value, default in options if value != default]
        return ", ".join([name, *changed])
