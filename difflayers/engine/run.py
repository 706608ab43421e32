"""One call of a layer or loss on a batch, forward and backward: what its solver is asked."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from difflayers.engine.batch import BatchSolver
from difflayers.engine.checks import checked
from difflayers.engine.parallel import WorkerEnded, active_backend
from difflayers.engine.solving import Failure
from difflayers.solver import Array, SolverError

Rows = Sequence[int] | Tensor | Array | None
"""The instance (M,) of each of M problems; None where problem i is that of instance i modulo the batch."""


class BatchRun:
    """One forward call and its backward, as an estimator or loss sees it: everything minimises.

    Attributes:
        costs: (B, *shape) each, float32 or float64, as the solver takes them: NumPy arrays, since their
            arithmetic takes a fraction of the time where a batch is small, or detached tensors. They may
            share the memory of the caller's tensors, so nothing writes to them.
        targets: (B, …) what a loss was given besides, likewise, in the dtype of their cost.
        device: that of the tensors, or None for arrays.
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
        self.device: torch.device | None = costs[0].device if solver.tensors else None
        self.costs: list[Any] = [
            checked(cost, f"costs[{i}]", self.device, infinite=infinite) for i, cost in enumerate(costs)
        ]
        self.targets: list[Any] = []
        for index, target in enumerate(targets):
            group, number = divmod(index, len(costs))
            name = f"{names[group]}[{number}]" if group < len(names) else f"targets[{index}]"
            dtype = costs[number].dtype
            self.targets.append(checked(target, name, self.device, dtype, infinite=infinite))
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
        return torch.zeros(self.batch, dtype=torch.bool, device=self.device or "cpu")

    def solve(
        self,
        costs: Sequence[Any] | None = None,
        rows: Rows = None,
        note: str | Sequence[str] = "",
        any_shape: bool = False,
    ) -> list[Any]:
        """Minimise M problems, each of which belongs to an instance of the batch.

        Args:
            costs: (M, *shape) each, arrays or tensors, never written to; those of the batch by default.
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
        if self.device is None and isinstance(costs[0], Tensor):
            return self.tensors(self.solve(self.values(costs), rows, note, any_shape))
        if not self.any_failed and self.solver.pool is None:
            solutions = self._ask(costs, rows, note, any_shape)
        else:
            solutions = self._ask_where_needed(costs, self._owners(count, rows), note, any_shape)
        if self.any_failed:
            failed = self.values([self.failed])[0][self._owners(count, rows)]
            for solution in solutions:
                solution[failed] = 0
        if self.solver.warm_start and rows is None and count == self.batch:
            self._starts = solutions
        return solutions

    def tensors(self, values: Sequence[Any]) -> list[Tensor]:
        """Return arrays as tensors that share their memory; tensors stay themselves."""
        return [value if isinstance(value, Tensor) else torch.from_numpy(value) for value in values]

    def values(self, tensors: Sequence[Any]) -> list[Any]:
        """Undo `tensors`, for a solver that takes arrays; what is an array stays itself."""
        if self.device is not None:
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
            return self.values(solutions)
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
        return self.values(solutions)

    def remember(self, solutions: Sequence[Tensor]) -> None:
        """Add solutions (B, *shape) that were not solved for here, one for each instance, to the pool."""
        assert self.solver.pool is not None
        rows = np.flatnonzero(~self.failed.cpu().numpy())
        flat = torch.cat(
            [each[rows].reshape(len(rows), each.shape[1:].numel()) for each in self.tensors(solutions)], 1
        )
        self.solver.pool.add([self._keys[row] for row in rows], flat)

    def seen(self) -> list[tuple[Tensor, Tensor]]:
        """Return the pool's solutions for each group of instances that share them.

        A group is the rows (R,) of its instances in the batch, and flat solutions (K, D), of all outputs one
        after another, in dtype and on device of the costs. Instances without any are in no group.
        """
        assert self.solver.pool is not None
        keys, (like, *_) = np.array(self._keys), self.tensors(self.costs)
        groups = []
        for key in dict.fromkeys(self._keys):
            solutions = self.solver.pool.seen(key)
            if solutions is not None:
                rows = torch.from_numpy(np.flatnonzero(keys == key)).to(like.device)
                groups.append((rows, solutions.to(like)))
        return groups
