"""A solver in other threads or processes: sent there once, and given chunks that are worth the trip."""

import math
import os
import pickle
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from difflayers.engine.parallel import WorkerEnded, portable, run_tasks
from difflayers.engine.solving import Answers, Failure, Problems, solve_each, solve_together
from difflayers.solver import MalformedSolutionError, Solver

# The least time that a chunk should take, against some 0.1 ms of overhead in threads and 1 ms in processes.
_THREAD_SECONDS, _PROCESS_SECONDS = 0.001, 0.01


class Workers:
    """Solves problems on n_jobs workers of any joblib backend.

    A worker process gets a solver once, with the first chunk that it sees, and keeps it: the solver must not
    be changed later. Problems travel in chunks whose size follows from the measured time of a solve.
    """

    def __init__(self) -> None:
        self._seconds: float | None = None  # of one solve, as last measured
        self._key: str = ""
        self._solver: Solver | None = None
        self._pickled: bytes | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]  # a copy's solver may be changed before its first use

    def _start(self, solver: Solver) -> None:
        if solver is not self._solver:
            self._key, self._solver, self._pickled, self._seconds = uuid.uuid4().hex, solver, None, None

    def solve(
        self,
        solver: Solver,
        problems: Problems,
        together: bool,
        any_shape: bool,
        stop: bool,
        n_jobs: int,
        backend: Any,
    ) -> Answers:
        """Solve problems; see `difflayers.engine.solving`.

        Args:
            solver: see `Solver`.
            problems: what to solve, as arrays.
            together: whether the solver takes all problems of a chunk in one call.
            any_shape: whether solutions may have another shape than their costs.
            stop: whether the first failure ends a chunk.
            n_jobs: the number of workers, -1 for all cores.
            backend: of joblib, from `active_backend`.

        Raises:
            WorkerEnded: a worker process died; its `unfinished` are problems.
        """
        self._start(solver)
        count = len(problems.costs[0])
        shared = getattr(backend, "supports_sharedmem", False)
        workers = max(1, backend.effective_n_jobs(n_jobs))
        least = _THREAD_SECONDS if shared else _PROCESS_SECONDS
        ranges = chunks(count, workers, self._seconds, least)
        known = shared or self._pickled is not None
        tasks = [
            _Task(
                self._key,
                solver if shared else None,
                None if known else self._pickle(),
                together,
                problems.part(rows),
                any_shape,
                stop,
                os.getpid(),
            )
            for rows in ranges
        ]
        done = _run(tasks, ranges, n_jobs, backend)
        missing = [index for index, result in enumerate(done) if result is None]
        if missing:  # workers that came after the solver was sent
            again = [tasks[index]._replace(pickled=self._pickle()) for index in missing]
            redone = _run(again, [ranges[index] for index in missing], n_jobs, backend)
            for index, result in zip(missing, redone, strict=True):
                done[index] = result
        self._seconds = sum(seconds for _, seconds in done) / count
        return _joined([answers for answers, _ in done], ranges)

    def _pickle(self) -> bytes:
        if self._pickled is None:
            import joblib

            # As loky does: with cloudpickle, so that lambdas and functions of __main__ can travel.
            wrapped = joblib.wrap_non_picklable_objects(self._solver, keep_wrapper=False)
            self._pickled = pickle.dumps(wrapped)
        return self._pickled


def _run(tasks: Sequence["_Task"], ranges: Sequence[range], n_jobs: int, backend: Any) -> list[Any]:
    results: list[Any] = [None] * len(tasks)
    try:
        for index, result in run_tasks([(_solve_chunk, task) for task in tasks], n_jobs, backend):
            results[index] = result
    except WorkerEnded as ended:
        ended.unfinished = [row for index in ended.unfinished for row in ranges[index]]
        raise
    return results


def chunks(count: int, workers: int, seconds: float | None, least: float) -> list[range]:
    """Cut `count` problems into chunks of at least `least` seconds, with at least one chunk per worker.

    As long as the time of a solve is unknown, every worker gets one chunk, so that the solver travels once
    per worker.
    """
    length = math.ceil(count / workers)
    if seconds is not None:
        length = min(length, math.ceil(least / max(seconds, 1e-9)))
    return [range(start, min(start + length, count)) for start in range(0, count, length)]


class _Task(NamedTuple):
    """A chunk on its way to a worker. The solver travels as itself or pickled, or is there already."""

    key: str
    solver: Solver | None
    pickled: bytes | None
    together: bool
    problems: Problems
    any_shape: bool
    stop: bool
    caller: int


# In a worker process: the solvers that it was last sent.
_SOLVERS: OrderedDict[str, Solver] = OrderedDict()
_KEPT = 16


def _solve_chunk(task: _Task) -> tuple[Answers, float] | None:
    """Return answers and seconds, or None where the solver is not here."""
    solver = task.solver
    if solver is None:
        if task.key not in _SOLVERS:
            if task.pickled is None:
                return None
            _SOLVERS[task.key] = pickle.loads(task.pickled)
        _SOLVERS.move_to_end(task.key)
        solver = _SOLVERS[task.key]
        while len(_SOLVERS) > _KEPT:
            _SOLVERS.popitem(last=False)
    start = time.perf_counter()
    if task.together:
        answers = solve_together(solver, task.problems, task.any_shape)
    else:
        answers = solve_each(solver, task.problems, task.any_shape, task.stop)
    seconds = time.perf_counter() - start
    if os.getpid() != task.caller:
        # One error may stand for several problems, and travels once.
        ready = {id(error): error for _, error in answers.failures}
        ready = {key: portable(error) for key, error in ready.items()}
        answers = answers._replace(
            failures=[Failure(problem, ready[id(error)]) for problem, error in answers.failures]
        )
    return answers, seconds


def _joined(parts: Sequence[Answers], ranges: Sequence[range]) -> Answers:
    failures = [
        Failure(None if problem is None else rows[problem], error)
        for part, rows in zip(parts, ranges, strict=True)
        for problem, error in part.failures
    ]
    if any(failure.problem is None for failure in failures):
        return Answers([], [failure for failure in failures if failure.problem is None])
    solutions = []
    for column in zip(*(part.solutions for part in parts), strict=True):
        # A chunk in which every problem failed knows no shape but that of its costs.
        known = [s for s, part in zip(column, parts, strict=True) if len(part.failures) < len(s)] or column
        shape = known[0].shape[1:]
        for array in known:
            if array.shape[1:] != shape:
                error = MalformedSolutionError(f"solutions have shapes {shape} and {array.shape[1:]}")
                return Answers([], [Failure(None, error)])
        fitting = [s if s.shape[1:] == shape else np.zeros((len(s), *shape), s.dtype) for s in column]
        solutions.append(np.concatenate(fitting))
    return Answers(solutions, failures)
