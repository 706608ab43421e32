"""Run a solver over a batch: the one way from tensors to problems and back, for every estimator and loss."""

import functools
import time
from collections.abc import Sequence
from typing import Any, Literal, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from difflayers.engine.checks import checked
from difflayers.engine.options import DEFAULTS, SolveOptions, Statistics
from difflayers.engine.tensors import solve_tensors
from difflayers.engine.workers import Workers
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

Rows = Sequence[int] | Tensor | Array | None
"""The instance (M,) of each of M problems; None where problem i is that of instance i modulo the batch."""

_CPU = torch.device("cpu")


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

    def minimized(self, costs: Tensor) -> Tensor:
        """Return the costs of the minimisation problem: negated where the solver maximises."""
        return -costs if self.maximize else costs

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


class BatchRun:
    """One forward call and its backward, as an estimator or loss sees it: everything minimises.

    Attributes:
        costs: (B, *shape) each, detached, float32 or float64, on the device to compute on.
        targets: (B, …) what a loss was given besides, in the dtype of the costs.
        batch: B.
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
        device = costs[0].device if solver.tensors else _CPU
        self.costs: list[Tensor] = [
            checked(cost, f"costs[{i}]", device, infinite=infinite) for i, cost in enumerate(costs)
        ]
        self.targets: list[Tensor] = []
        for index, target in enumerate(targets):
            group, number = divmod(index, len(costs))
            name = f"{names[group]}[{number}]" if group < len(names) else f"targets[{index}]"
            self.targets.append(checked(target, name, device, self.costs[0].dtype, infinite=infinite))
        self.batch: int = costs[0].shape[0]
        # Under vmap the batch is folded, and instance i has context i modulo their number.
        self.contexts: list[Any] | None = (
            None if context is None else [context[i % len(context)] for i in range(self.batch)]
        )
        self.any_failed: bool = False
        self.saved: Any = None
        self._starts: list[Any] | None = None
        # The backward of a GPU's tensors runs in another thread, where joblib's settings do not hold.
        self._backend = active_backend() if solver.n_jobs != 1 else None
        if solver.pool is not None:
            self._keys = solver.pool.keys(self.costs, self.contexts)
            self._cached = solver.pool.cached(self._keys)

    @functools.cached_property
    def failed(self) -> Tensor:
        """The instances (B,) that `on_failure` has taken out so far, as bool."""
        return torch.zeros(self.batch, dtype=torch.bool, device=self.costs[0].device)

    def solve(
        self,
        costs: Sequence[Any] | None = None,
        rows: Rows = None,
        note: str | Sequence[str] = "",
        any_shape: bool = False,
    ) -> list[Any]:
        """Minimise M problems, each of which belongs to an instance of the batch.

        Args:
            costs: (M, *shape) each, tensors or what `arrays` returns, never written to; those of the batch
                by default.
            rows: the instance of each problem, whose context it gets, see `Rows`.
            note: what to say of the problems in errors; several for equal parts of them, in order.
            any_shape: whether solutions may have another shape than the costs.

        Returns:
            Solutions (M, *shape) in type, dtype and device of the costs. Those of failed instances are zero.

        Raises:
            SolverError: naming the instance, for a failure that `on_failure` does not take out.
        """
        costs = self.costs if costs is None else costs
        count = costs[0].shape[0]
        if count == 0:
            return list(costs)
        arrays = self.arrays(costs)
        if not self.any_failed and self.solver.pool is None:
            solutions = self._ask(arrays, rows, note, any_shape)
        else:
            solutions = self._ask_where_needed(arrays, self._owners(count, rows), note, any_shape)
        if self.any_failed:
            failed = self.arrays([self.failed])[0][self._owners(count, rows)]
            for solution in solutions:
                solution[failed] = 0
        if self.solver.warm_start and rows is None and count == self.batch:
            self._starts = solutions
        return solutions if arrays[0] is costs[0] else [torch.from_numpy(each) for each in solutions]

    def arrays(self, tensors: Sequence[Any]) -> list[Any]:
        """Return tensors as what the solver takes: as NumPy arrays that share their memory, or themselves.

        What is an array already stays one. Arithmetic that both understand is several times faster on arrays,
        where a batch is small.
        """
        if self.solver.tensors:
            return list(tensors)
        return [each.numpy() if isinstance(each, Tensor) else each for each in tensors]

    def _owners(self, count: int, rows: Rows) -> Array:
        if rows is None:
            return np.arange(count) % self.batch
        return rows.numpy(force=True) if isinstance(rows, Tensor) else np.asarray(rows)

    def _ask(self, costs: Sequence[Any], rows: Rows, note: str | Sequence[str], any_shape: bool) -> list[Any]:
        count = costs[0].shape[0]
        contexts, starts = self.contexts, self._starts
        if contexts is not None:
            contexts = [contexts[row] for row in self._owners(count, rows).tolist()]
        if starts is not None:
            owners = self._owners(count, rows)
            starts = [start[owners] for start in starts]
        try:
            answers = self.solver.answer(costs, contexts, starts, self._backend, any_shape)
        except WorkerEnded as ended:
            unfinished = np.unique(self._owners(count, rows)[ended.unfinished])
            raise SolverError(f"one of the instances {', '.join(map(str, unfinished))}: {ended}") from ended
        if answers.failures:
            self._take_out(answers.failures, self._owners(count, rows), note)
        return answers.solutions

    def _take_out(self, failures: Sequence[Failure], owners: Array, note: str | Sequence[str]) -> None:
        """Note which instances failed, or raise as `on_failure` says."""
        for problem, error in sorted(failures, key=lambda failure: failure.problem or 0):
            if self.solver.on_failure == "raise" or not Failure(problem, error).expected:
                name = "the batch" if problem is None else f"instance {owners[problem]}"
                about = note if isinstance(note, str) else note[(problem or 0) * len(note) // len(owners)]
                kind = "" if isinstance(error, SolverError) else f"{type(error).__name__}: "
                raise SolverError(f"{name}{about and ', ' + about}: {kind}{error}") from error
            self.failed[owners[problem]] = self.any_failed = True

    def _ask_where_needed(
        self, costs: Sequence[Any], owners: Array, note: str | Sequence[str], any_shape: bool
    ) -> list[Any]:
        """As `_ask`, without the failed instances, and with the pool for those that it answers."""
        pool = self.solver.pool
        failed = self.failed.cpu().numpy()[owners]
        cached = np.zeros_like(failed) if pool is None else self._cached[owners] & ~failed
        solutions = [torch.as_tensor(cost).new_zeros(cost.shape) for cost in costs]
        asked = np.flatnonzero(~failed & ~cached)
        if len(asked):
            parts = asked * (1 if isinstance(note, str) else len(note)) // len(owners)
            notes = note if isinstance(note, str) else [note[part] for part in parts.tolist()]
            answers = self._ask([cost[asked] for cost in costs], owners[asked], notes, any_shape)
            for index, answer in enumerate(map(torch.as_tensor, answers)):
                if answer.shape[1:] != solutions[index].shape[1:]:
                    solutions[index] = answer.new_zeros(len(owners), *answer.shape[1:])
                solutions[index][asked] = answer
        if pool is None:
            return self.arrays(solutions)
        keys = [self._keys[row] for row in owners]
        found = asked[~self.failed.cpu().numpy()[owners[asked]]]
        if any(s.shape != c.shape for s, c in zip(solutions, costs, strict=True)):
            raise SolverError("a pool needs solutions of the shape of their costs")
        pool.add([keys[row] for row in found], torch.cat([s[found].flatten(1) for s in solutions], 1))
        looked_up = np.flatnonzero(cached)
        if len(looked_up):
            given = [torch.as_tensor(cost)[looked_up].flatten(1) for cost in costs]
            best = pool.best([keys[row] for row in looked_up], torch.cat(given, 1))
            for solution, part in zip(
                solutions, best.split([s[0].numel() for s in solutions], 1), strict=True
            ):
                solution[looked_up] = part.reshape(-1, *solution.shape[1:])
        return self.arrays(solutions)

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
