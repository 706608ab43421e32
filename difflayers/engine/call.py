"""One call of a layer or loss on a batch: what an estimator sees of it, forward and backward."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from difflayers.engine.batch import BatchSolver
from difflayers.engine.parallel import WorkerEnded
from difflayers.engine.pool import Shelf
from difflayers.engine.solving import Failure
from difflayers.solver import Array, SolverError


class Estimator(Protocol):
    """What a layer or loss is for the engine: a solver and two methods."""

    solver: BatchSolver

    def solve(self, call: "Call") -> list[Tensor]:
        """Return the outputs of the forward pass for `call.costs`, and `call.save` what backward needs."""
        ...

    def pull_back(self, call: "Call", gradients: list[Tensor]) -> list[Tensor]:
        """Return a gradient for each of `call.costs`, from one gradient per output (a loss: of the first)."""
        ...

    def saved_like(self, costs: list[Tensor]) -> list[Tensor]:
        """Return empty tensors of the shapes that `solve` saves, for torch.compile."""
        ...


class Plan(NamedTuple):
    """How a call is made: everything that is not a tensor.

    Attributes:
        solver: what is asked.
        estimator: what is differentiated, if anything is.
        costs: how many of the tensors are costs; those behind them are targets.
        targets: the names of the targets; each has one tensor per cost.
        loss: whether the first output is a loss, and the others have no gradient.
        solutions: whether a loss returns its solutions too.
        context: one object per instance, or None.
        backend: the joblib backend of the thread that called forward. `joblib.parallel_config` holds for one
            thread only, and autograd runs the backward pass of a GPU's tensors in another thread.
        shelves: in backward, where the pool files the solutions of each instance (`SolutionPool.keys`).
        fixed: whether saved tensors must have the shapes of `Estimator.saved_like`, for torch.compile.
    """

    solver: BatchSolver
    estimator: Any
    costs: int
    targets: tuple[str, ...] = ()
    loss: bool = False
    solutions: bool = True
    context: Sequence[Any] | None = None
    backend: Any = None
    shelves: list[Shelf] | None = None
    fixed: bool = False

    @property
    def outputs(self) -> int:
        """How many outputs there are."""
        return self.costs + self.loss if self.solutions else 1


class Call:
    """One forward call or its backward; every solver minimizes here.

    Attributes:
        costs: (B, *shape) each, float32 or float64, detached, on the device on which the solver works. They
            may share the memory of the caller's tensors, so nothing writes to them.
        targets: by name, what a loss was given besides, likewise, in the dtypes of their costs.
        batch: B.
        saved: in backward, what `save` kept in forward.
        failed: (B,) bool, the instances that `on_failure` took out; None as long as there are none.
    """

    saved: tuple[Tensor, ...] = ()
    failed: Tensor | None = None
    _whole: "tuple[Call, Tensor] | None" = None  # of a part: the call and the rows that it is a part of
    _starts: list[Tensor] | None = None
    _cached: Tensor | None = None

    def __init__(self, plan: Plan, costs: list[Tensor], targets: dict[str, list[Tensor]]) -> None:
        self.plan: Plan = plan
        self.solver: BatchSolver = plan.solver
        self.costs: list[Tensor] = costs
        self.targets: dict[str, list[Tensor]] = targets
        self.batch: int = costs[0].shape[0]
        self._shelves: list[Shelf] = plan.shelves or []

    def solve(
        self,
        costs: Sequence[Tensor] | None = None,
        notes: str | Sequence[str] = "",
        any_shape: bool = False,
    ) -> list[Tensor]:
        """Minimize one or several problems per instance.

        Args:
            costs: (…, B, *shape) each: with leading dimensions (N, …), N · … problems per instance. Those of
                the batch by default. They are never written to.
            notes: what errors say of the problems; several for the N parts of the first dimension.
            any_shape: whether solutions may have another shape than the costs.

        Returns:
            Solutions (…, B, *shape) in dtype and device of the costs. Those of failed instances are zero.

        Raises:
            SolverError: with the instance, for a failure that `on_failure` does not take out.
        """
        costs = self.costs if costs is None else costs
        leading = costs[0].shape[: costs[0].ndim - self.costs[0].ndim]
        problems = list(costs)
        if leading:
            for index, cost in enumerate(costs):
                problems[index] = cost.flatten(0, len(leading))
        if problems[0].shape[0] == 0:
            return list(costs)
        if self.failed is None and self.solver.pool is None:
            solutions = self._ask(problems, None, notes, any_shape)
        else:
            solutions = self._ask_where_needed(problems, notes, any_shape)
        if self.failed is not None:
            failed = self.failed[self._owners(len(problems[0]))]
            for solution in solutions:
                solution[failed] = 0
        if self.solver.warm_start and self._starts is None and not leading:
            self._starts = solutions
        if leading:
            for index, solution in enumerate(solutions):
                solutions[index] = solution.reshape(*leading, self.batch, *solution.shape[1:])
        return solutions

    def solve_several(self, problems: Sequence[Sequence[Tensor]], notes: Sequence[str]) -> list[list[Tensor]]:
        """Minimize several problems per instance in one go: a list of costs each, as `solve` takes them.

        Returns the solutions of each; `notes` are what errors say of them.
        """
        if len(problems) == 1:
            return [self.solve(problems[0], notes[0])]
        stacked = [torch.stack(column) for column in zip(*problems, strict=True)]
        columns = [solutions.unbind() for solutions in self.solve(stacked, notes)]
        return [list(row) for row in zip(*columns, strict=True)]

    def save(self, *tensors: Tensor) -> None:
        """Keep tensors for the backward pass, as `saved`. Each has one row per instance, (B, …)."""
        self.saved = tensors

    def kept(self) -> tuple[Tensor, ...]:
        """Return all tensors that `resumed` needs, each with one row per instance."""
        own: tuple[Tensor, ...] = ()
        if self.solver.on_failure != "raise":
            own += (self._mask(self.failed),)
        if self.solver.pool is not None:
            own += (self._mask(self._cached),)
        if self.solver.warm_start:  # an estimator that solves no instance as it is has nothing to start from
            own += tuple(self._starts or [cost.new_empty(0) for cost in self.costs])
        return own + self.saved

    def kept_like(self) -> list[Tensor]:
        """Return empty tensors of the shapes of `kept`, for torch.compile."""
        self.saved = tuple(self.plan.estimator.saved_like(self.costs))
        return list(self.kept())

    @classmethod
    def resumed(cls, plan: Plan, costs: list[Tensor], kept: Sequence[Tensor]) -> "Call":
        """Return the call that a backward pass continues."""
        call, rest, solver = cls(plan, costs, {}), list(kept), plan.solver
        if solver.on_failure != "raise":
            failed = rest.pop(0)
            call.failed = failed if failed.any() else None
        if solver.pool is not None:
            call._cached = rest.pop(0)
        if solver.warm_start:
            starts, rest = rest[: plan.costs], rest[plan.costs :]
            call._starts = starts if len(starts[0]) == call.batch else None
        call.saved = tuple(rest)
        return call

    def _mask(self, mask: Tensor | None) -> Tensor:
        return self.costs[0].new_zeros(self.batch, dtype=torch.bool) if mask is None else mask

    def part(self, rows: Tensor) -> "Call":
        """Return the call of some instances only, with row numbers (M,) int64."""
        part = Call(
            self.plan,
            [cost[rows] for cost in self.costs],
            {name: [target[rows] for target in group] for name, group in self.targets.items()},
        )
        part.saved = tuple([tensor[rows] for tensor in self.saved])
        part.failed = None if self.failed is None else self.failed[rows]
        part._whole = self, rows
        part._starts = None if self._starts is None else [start[rows] for start in self._starts]
        part._cached = None if self._cached is None else self._cached[rows]
        part._shelves = [self._shelves[row] for row in rows.tolist()] if self._shelves else []
        return part

    def remember(self, solutions: Sequence[Tensor]) -> None:
        """Add solutions (B, *shape), one per instance that did not fail, to the pool."""
        assert self.solver.pool is not None
        rows = range(self.batch) if self.failed is None else (~self.failed).nonzero()[:, 0].tolist()
        flat = torch.cat([each.flatten(1) if each.ndim > 1 else each[:, None] for each in solutions], 1)
        self.solver.pool.add([self._shelves[row] for row in rows], flat[list(rows)])

    def seen(self) -> list[tuple[Tensor, Tensor]]:
        """Return the pool's solutions for each group of instances that share them.

        A group is the rows (R,) of its instances in the batch, and flat solutions (K, D), of all outputs one
        after another, in dtype and on the device of the costs. An instance without solutions is in no group.
        """
        assert self.solver.pool is not None
        members: dict[Shelf, list[int]] = {}
        for row, shelf in enumerate(self._shelves):
            members.setdefault(shelf, []).append(row)
        like, groups = self.costs[0], []
        for shelf, own in members.items():
            solutions = self.solver.pool.seen(shelf)
            if solutions is not None:
                groups.append((torch.tensor(own, device=like.device), solutions.to(like)))
        return groups

    def _owners(self, count: int) -> Tensor:
        """The instance (M,) of each problem; problem i belongs to instance i % B."""
        return torch.arange(count, device=self.costs[0].device) % self.batch

    def _names(self, owners: Array) -> Array:
        """The numbers of instances in the whole batch."""
        if self._whole is None:
            return owners
        whole, rows = self._whole
        return whole._names(rows.cpu().numpy()[owners])

    def _ask(
        self, costs: list[Tensor], owners: Tensor | None, notes: str | Sequence[str], any_shape: bool
    ) -> list[Tensor]:
        """Ask the solver for all of these problems."""
        contexts, starts = None, self._starts
        if starts is not None or self.plan.context is not None:
            owners = self._owners(costs[0].shape[0]) if owners is None else owners
            contexts = self._contexts(owners.cpu().numpy())
            starts = None if starts is None else [start[owners] for start in starts]
        try:
            answers = self.solver.ask(costs, contexts, starts, self.plan.backend, any_shape)
        except WorkerEnded as ended:
            owners = self._owners(costs[0].shape[0]) if owners is None else owners
            unfinished = np.unique(self._names(owners.cpu().numpy())[ended.unfinished])
            raise SolverError(f"one of the instances {', '.join(map(str, unfinished))}: {ended}") from ended
        if answers.failures:
            owners = self._owners(costs[0].shape[0]) if owners is None else owners
            self._take_out(answers.failures, owners, notes)
        return answers.solutions

    def _take_out(self, failures: Sequence[Failure], owners: Tensor, notes: str | Sequence[str]) -> None:
        """Note which instances failed, or raise as `on_failure` says."""
        failed = torch.zeros(self.batch, dtype=torch.bool, device=owners.device)
        numbers = owners.cpu().numpy()
        for problem, error in sorted(failures, key=lambda failure: failure.problem or 0):
            if self.solver.on_failure == "raise" or not Failure(problem, error).expected:
                name = "the batch" if problem is None else f"instance {self._names(numbers)[problem]}"
                about = notes if isinstance(notes, str) else notes[(problem or 0) * len(notes) // len(owners)]
                kind = "" if isinstance(error, SolverError) else f"{type(error).__name__}: "
                raise SolverError(
                    f"{name}{about and ', ' + about}: {kind}{error}{self._advice(error)}"
                ) from error
            failed[int(numbers[problem])] = True
        self._fail(failed)

    def _fail(self, failed: Tensor) -> None:
        self.failed = failed if self.failed is None else self.failed | failed
        if self._whole is not None:
            whole, rows = self._whole
            whole._fail(whole._mask(None).index_put((rows,), failed))

    def _advice(self, error: Exception) -> str:
        """What a newcomer may have forgotten, if the error is about shapes."""
        if isinstance(error, SolverError):
            return ""
        if self.costs[0].ndim == 1:
            return (
                f". Costs of shape {tuple(self.costs[0].shape)} are {self.batch} instances of one number; "
                "one instance needs a batch dimension: costs[None]"
            )
        per_instance = not (self.solver.batched or self.solver.tensors)
        if per_instance and any(word in str(error) for word in ("shape", "dimension", "axis")):
            return ". If the solver takes the whole batch at once, set batched=True"
        return ""

    def _ask_where_needed(
        self, costs: list[Tensor], notes: str | Sequence[str], any_shape: bool
    ) -> list[Tensor]:
        """As `_ask`, without the failed instances, and with the pool for those that it answers."""
        pool, count = self.solver.pool, costs[0].shape[0]
        owners = self._owners(count)
        out = torch.zeros_like(owners, dtype=torch.bool) if self.failed is None else self.failed[owners]
        if pool is not None:
            if not self._shelves:
                self._shelves = pool.keys(self.costs, self._contexts(np.arange(self.batch)))
                self.plan = self.plan._replace(shelves=self._shelves)  # for the backward
            if self._cached is None:  # decided at the first solve, for the backward too
                self._cached = torch.from_numpy(pool.cached(self._shelves)).to(owners.device)
        cached = torch.zeros_like(out) if self._cached is None else self._cached[owners] & ~out
        solutions = [torch.zeros_like(cost) for cost in costs]
        asked = (~out & ~cached).nonzero()[:, 0]
        if len(asked):
            parts = (asked * (1 if isinstance(notes, str) else len(notes)) // count).tolist()
            own = notes if isinstance(notes, str) else [notes[part] for part in parts]
            answers = self._ask([cost[asked] for cost in costs], owners[asked], own, any_shape)
            for index, answer in enumerate(answers):
                if answer.shape[1:] != solutions[index].shape[1:]:
                    solutions[index] = answer.new_zeros(count, *answer.shape[1:])
                solutions[index][asked] = answer
        if pool is None:
            return solutions
        if any(s.shape != c.shape for s, c in zip(solutions, costs, strict=True)):
            raise SolverError("a pool needs solutions of the shape of their costs")
        keys = [self._shelves[row] for row in owners.tolist()]
        found = asked if self.failed is None else asked[~self.failed[owners[asked]]]
        joined = torch.cat([s.reshape(count, -1) for s in solutions], 1)
        pool.add([keys[row] for row in found.tolist()], joined[found])
        looked_up = cached.nonzero()[:, 0]
        if len(looked_up):
            given = torch.cat([cost.reshape(count, -1) for cost in costs], 1)[looked_up]
            joined[looked_up] = pool.best([keys[row] for row in looked_up.tolist()], given)
            parts = joined.split([s.numel() // count for s in solutions], 1)
            solutions = [part.reshape(s.shape).to(s.dtype) for part, s in zip(parts, solutions, strict=True)]
        return solutions

    def _contexts(self, owners: Array) -> list[Any] | None:
        """The contexts of some instances; under vmap the batch is folded, and i has context i % length."""
        context = self.plan.context
        if context is None:
            return None
        return [context[row % len(context)] for row in self._names(owners).tolist()]
