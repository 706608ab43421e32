"""Run a solver over a batch: the one way from tensors to problems and back, for every estimator and loss."""

import time
from collections.abc import Sequence
from typing import Any, Literal, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from difflayers.checks import checked
from difflayers.options import DEFAULTS, SolveOptions, Statistics
from difflayers.parallel import WorkerEnded, active_backend, check_jobs
from difflayers.pool import SolutionPool
from difflayers.solver import (
    Answers,
    Array,
    Failure,
    Problems,
    Solver,
    SolverError,
    solve_each,
    solve_together,
)
from difflayers.tensors import solve_tensors
from difflayers.workers import Workers


class BatchSolver(nn.Module):
    """A solver and how it is run over a batch; every layer and loss holds one, as `layer.solver`.

    Args:
        solver: see `difflayers.Solver`.
        batched: whether the solver takes the arrays and contexts of the whole batch at once.
        tensors: whether the solver takes and returns tensors on the costs' device, those of the whole batch.
        n_jobs: how many solver calls run at the same time, in threads or on joblib's configured backend, see
            `difflayers.workers.Workers`; each takes a part of the batch if the solver is batched.
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

    def minimized(self, costs: Tensor) -> Tensor:
        """Return the costs of the minimisation problem: negated where the solver maximises."""
        return -costs if self.maximize else costs

    def answer(
        self,
        costs: Sequence[Tensor],
        contexts: list[Any] | None,
        starts: Sequence[Tensor] | None,
        backend: Any,
        any_shape: bool,
    ) -> Answers:
        """Solve M problems of the minimisation, here or in parallel; solutions are tensors."""
        # Copies in C order: a solver may write into what it gets.
        copies = [(-cost if self.maximize else cost.clone()).contiguous() for cost in costs]
        own = None if starts is None else [start.clone() for start in starts]
        began = time.perf_counter()
        if self.tensors:
            answers = solve_tensors(self.function, copies, contexts, self.warm_start, own, any_shape)
        else:
            problems = Problems(
                [cost.numpy() for cost in copies],
                contexts,
                self.warm_start,
                None if own is None else [start.numpy() for start in own],
            )
            stop = self.on_failure == "raise"
            if self.n_jobs != 1 and len(costs[0]) > 1:
                answers = self.workers.solve(problems, backend, any_shape, stop)
            elif self.batched:
                answers = solve_together(self.function, problems, any_shape)
            else:
                answers = solve_each(self.function, problems, any_shape, stop)
            answers = Answers([torch.from_numpy(s) for s in answers.solutions], answers.failures)
        statistics = self.statistics
        statistics.seconds += time.perf_counter() - began
        statistics.solves += len(costs[0])
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


class BatchRun:
    """One forward call and its backward, as an estimator or loss sees it: everything minimises.

    Attributes:
        costs: (B, *shape) each, detached, float32 or float64, on the device to compute on.
        targets: (B, …) what a loss was given besides, in the dtype of the costs.
        failed: (B,) bool, the instances that `on_failure` has taken out so far.
        any_failed: whether there is one.
        saved: what an estimator keeps for its backward.
    """

    def __init__(
        self,
        solver: BatchSolver,
        costs: Sequence[Tensor],
        targets: Sequence[Tensor] = (),
        context: Sequence[Any] | None = None,
        names: Sequence[str] = (),
        infinite: bool = True,
    ) -> None:
        self.solver = solver
        device = costs[0].device if solver.tensors else torch.device("cpu")
        self.costs: list[Tensor] = [
            checked(cost, f"costs[{i}]", device, infinite=infinite) for i, cost in enumerate(costs)
        ]
        named = [f"{name}[{i}]" for name in names for i in range(len(costs))]
        unnamed = [f"targets[{i}]" for i in range(len(named), len(targets))]
        self.targets: list[Tensor] = [
            checked(target, name, device, infinite=infinite).to(self.costs[0].dtype)
            for name, target in zip((named + unnamed)[: len(targets)], targets, strict=True)
        ]
        batch = len(costs[0])
        # Under vmap the batch is folded, and instance i has context i modulo their number.
        self.contexts: list[Any] | None = (
            None if context is None else [context[i % len(context)] for i in range(batch)]
        )
        self.failed: Tensor = torch.zeros(batch, dtype=torch.bool, device=device)
        self.any_failed: bool = False
        self.saved: Any = None
        self._starts: list[Tensor] | None = None
        self._turns = np.arange(batch)
        # The backward of a GPU's tensors runs in another thread, where joblib's settings do not hold.
        self._backend = active_backend() if solver.n_jobs != 1 else None
        if solver.pool is not None:
            self._keys = solver.pool.keys(self.costs, self.contexts)
            self._cached = solver.pool.cached(self._keys)

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
        count, batch = len(costs[0]), len(self.failed)
        if count == 0:
            return [torch.zeros_like(cost) for cost in costs]
        owners = self._owners(count, rows)
        if not self.any_failed and self.solver.pool is None:
            solutions = self._ask(costs, owners, note, any_shape)
        else:
            solutions = self._ask_where_needed(costs, owners, note, any_shape)
        if self.any_failed:
            for solution in solutions:
                solution[self.failed[owners]] = 0
        if self.solver.warm_start and rows is None and count == batch:
            self._starts = solutions
        return solutions

    def _owners(self, count: int, rows: Sequence[int] | Tensor | None) -> Array:
        if rows is not None:
            return rows.numpy(force=True) if isinstance(rows, Tensor) else np.asarray(rows)
        if len(self._turns) != count:
            self._turns = np.arange(count) % len(self.failed)
        return self._turns

    def _ask(
        self, costs: Sequence[Tensor], owners: Array, note: str | Sequence[str], any_shape: bool
    ) -> list[Tensor]:
        contexts = None if self.contexts is None else [self.contexts[row] for row in owners.tolist()]
        starts = None if self._starts is None else [start[owners] for start in self._starts]
        try:
            answers = self.solver.answer(costs, contexts, starts, self._backend, any_shape)
        except WorkerEnded as ended:
            name = "instances " + ", ".join(str(row) for row in np.unique(owners[ended.unfinished]))
            raise SolverError(f"one of the {name}: {ended}") from ended
        for problem, error in sorted(answers.failures, key=lambda failure: failure.problem or 0):
            if self.solver.on_failure == "raise" or not Failure(problem, error).expected:
                name = "the batch" if problem is None else f"instance {owners[problem]}"
                about = note if isinstance(note, str) else note[problem or 0]
                kind = "" if isinstance(error, SolverError) else f"{type(error).__name__}: "
                raise SolverError(f"{name}{about and ', ' + about}: {kind}{error}") from error
            self.failed[owners[problem]] = self.any_failed = True
        return answers.solutions

    def _ask_where_needed(
        self, costs: Sequence[Tensor], owners: Array, note: str | Sequence[str], any_shape: bool
    ) -> list[Tensor]:
        """As `_ask`, without the failed instances, and with the pool for those that it answers."""
        pool = self.solver.pool
        failed = self.failed.cpu().numpy()[owners]
        cached = np.zeros_like(failed) if pool is None else self._cached[owners] & ~failed
        solutions = [torch.zeros_like(cost) for cost in costs]
        asked = np.flatnonzero(~failed & ~cached)
        if len(asked):
            notes = note if isinstance(note, str) else [note[row] for row in asked.tolist()]
            answers = self._ask([cost[asked] for cost in costs], owners[asked], notes, any_shape)
            for index, answer in enumerate(answers):
                if answer.shape[1:] != solutions[index].shape[1:]:
                    solutions[index] = answer.new_zeros(len(owners), *answer.shape[1:])
                solutions[index][asked] = answer
        if pool is None:
            return solutions
        keys = [self._keys[row] for row in owners]
        found = asked[~self.failed.cpu().numpy()[owners[asked]]]
        if any(s.shape != c.shape for s, c in zip(solutions, costs, strict=True)):
            raise SolverError("a pool needs solutions of the shape of their costs")
        pool.add([keys[row] for row in found], torch.cat([s[found].flatten(1) for s in solutions], 1))
        looked_up = np.flatnonzero(cached)
        if len(looked_up):
            best = pool.best(
                [keys[row] for row in looked_up], torch.cat([c[looked_up].flatten(1) for c in costs], 1)
            )
            for solution, part in zip(
                solutions, best.split([s[0].numel() for s in solutions], 1), strict=True
            ):
                solution[looked_up] = part.reshape(-1, *solution.shape[1:])
        return solutions

    def remember(self, solutions: Sequence[Tensor]) -> None:
        """Add solutions (B, *shape) that were not solved for here, one for each instance, to the pool."""
        assert self.solver.pool is not None
        rows = np.flatnonzero(~self.failed.cpu().numpy())
        flat = torch.cat([each[rows].reshape(len(rows), each.shape[1:].numel()) for each in solutions], 1)
        self.solver.pool.add([self._keys[row] for row in rows], flat)

    def seen(self) -> list[tuple[Tensor, Tensor]]:
        """Return the pool's solutions for each group of instances that share them.

        A group is the rows (R,) of its instances in the batch, and flat solutions (K, D), of all outputs one
        after another, in dtype and on device of the costs. Instances without any are in no group.
        """
        assert self.solver.pool is not None
        keys, like = np.array(self._keys), self.costs[0]
        groups = []
        for key in dict.fromkeys(self._keys):
            solutions = self.solver.pool.seen(key)
            if solutions is not None:
                rows = torch.from_numpy(np.flatnonzero(keys == key)).to(like.device)
                groups.append((rows, solutions.to(like)))
        return groups


def only(outputs: Sequence[Any]) -> Any:
    """Return the single output itself, and several as a tuple."""
    return outputs[0] if len(outputs) == 1 else tuple(outputs)
