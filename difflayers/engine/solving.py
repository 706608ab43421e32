"""How a solver is called on a batch: what it is given and what it must return."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from difflayers._arguments import all_finite
from difflayers.solver import Array, InfeasibleError, MalformedSolutionError, Solver, SolverError


class Problems(NamedTuple):
    """Some problems of a batch, as a solver gets them.

    Attributes:
        costs: (M, *shape) each, in C order; the solver may write into them.
        contexts: one object a problem, or None for no such argument.
        warm: whether the solver takes `start`.
        starts: (M, *shape) each, a solution of each problem to start from; None where there is none yet.
    """

    costs: list[Array]
    contexts: list[Any] | None = None
    warm: bool = False
    starts: list[Array] | None = None

    def part(self, rows: range) -> "Problems":
        """Return some consecutive ones of the problems."""
        own = slice(rows.start, rows.stop)
        return Problems(
            [cost[own] for cost in self.costs],
            None if self.contexts is None else self.contexts[own],
            self.warm,
            None if self.starts is None else [start[own] for start in self.starts],
        )


class Failure(NamedTuple):
    """A problem without a solution, or, with None for its index, all problems of a batched solver."""

    problem: int | None
    error: Exception

    @property
    def expected(self) -> bool:
        """Whether the solver said that it found nothing; otherwise it, or its use, has a bug."""
        said = isinstance(self.error, SolverError | TimeoutError)
        return said and not isinstance(self.error, MalformedSolutionError) and self.problem is not None


class Answers(NamedTuple):
    """Solutions (M, *shape) for each cost array, where rows of failed problems hold anything."""

    solutions: list[Any]
    failures: list[Failure]


def solve_each(solver: Solver, problems: Problems, any_shape: bool = False, stop: bool = True) -> Answers:
    """Call a solver once a problem.

    Args:
        solver: see `Solver`.
        problems: what to solve.
        any_shape: whether solutions may have another shape than their costs, the same for all problems.
        stop: whether the first failure ends it; an unexpected one always does.
    """
    costs, contexts, warm, starts = problems
    outputs = [np.zeros_like(cost) for cost in costs]
    shapes = [cost.shape[1:] for cost in costs]
    single, fixed = len(costs) == 1, not any_shape
    failures: list[Failure] = []
    # A problem of a single number is an array too, where iterating would give NumPy scalars.
    columns: list[Any] = [
        cost if cost.ndim > 1 else [cost[i, ...] for i in range(len(cost))] for cost in costs
    ]
    if contexts is not None:
        columns.append(contexts)
    for index, arguments in enumerate(zip(*columns, strict=True)):
        try:
            if warm:
                answer = solver(*arguments, start=starts and only([start[index] for start in starts]))
            else:
                answer = solver(*arguments)
            if (
                single
                and type(answer) is np.ndarray
                and answer.shape == shapes[0]
                and answer.dtype.kind in "fbiu"
            ):
                outputs[0][index], fixed = answer, True  # the usual case, without what is below
                continue
            for output, solution in enumerate((answer,) if single else _checked_tuple(answer, len(costs))):
                if type(solution) is not np.ndarray or solution.dtype.kind not in "fbiu":
                    solution = _checked_numbers(solution, output)
                if solution.shape != shapes[output]:
                    if fixed:
                        raise _wrong_shape(output, solution.shape, shapes[output])
                    outputs[output] = np.zeros((len(costs[0]), *solution.shape), costs[output].dtype)
                    shapes[output] = solution.shape
                outputs[output][index] = solution
            fixed = True
        except Exception as error:
            failures.append(Failure(index, error))
            if stop or not failures[-1].expected:
                break
    return Answers(outputs, failures + _not_finite(outputs, failures))


def solve_together(solver: Solver, problems: Problems, any_shape: bool = False) -> Answers:
    """Call a batched solver once for all problems; NaN in a row is that problem's failure."""
    costs, contexts, warm, starts = problems
    failures = []
    try:
        arguments = costs if contexts is None else [*costs, contexts]
        try:
            answer = solver(*arguments, start=starts and only(starts)) if warm else solver(*arguments)
        except InfeasibleError as error:
            answer = error.solutions
            failures = [Failure(problem, SolverError(error.reason)) for problem in error.instances]
        outputs = []
        for output, solution in enumerate(
            (answer,) if len(costs) == 1 else _checked_tuple(answer, len(costs))
        ):
            array, shape = _checked_numbers(solution, output), costs[output].shape
            if array.shape != shape and not (any_shape and array.shape[:1] == shape[:1]):
                raise _wrong_shape(output, array.shape, shape)
            # A copy, since some solvers return the same buffer at every call.
            outputs.append(np.array(array, dtype=costs[output].dtype))
    except Exception as error:
        return Answers([], [Failure(None, error)])
    return Answers(outputs, failures + _not_finite(outputs, failures))


def only(parts: Sequence[Any]) -> Any:
    """Return the single part itself, and several as a tuple."""
    return parts[0] if len(parts) == 1 else tuple(parts)


def _not_finite(outputs: Sequence[Array], known: Sequence[Failure]) -> list[Failure]:
    """Failures for the problems whose solution is not finite, beside those that are known to have failed."""
    failures = []
    for output, solutions in enumerate(outputs):
        if not all_finite(solutions):
            finite = np.isfinite(solutions)
            failed = {failure.problem for failure in known}
            rows = np.flatnonzero(~finite.all(axis=tuple(range(1, finite.ndim))))
            error = SolverError(f"solution {output} has a NaN or infinite value")
            failures += [Failure(int(row), error) for row in rows if int(row) not in failed]
    return failures


def _checked_tuple(solutions: Any, count: int) -> Any:
    if isinstance(solutions, tuple | list):
        if len(solutions) == count:
            return solutions
        raise MalformedSolutionError(
            f"the solver returned {len(solutions)} solutions, but there are {count} cost tensors"
        )
    error = SolverError if solutions is None else MalformedSolutionError
    raise error(
        f"the solver returned {_describe(solutions)}, but {count} cost tensors "
        f"need a tuple of {count} solutions"
    )


def _checked_numbers(solution: Any, output: int) -> Array:
    array = np.asarray(solution)
    if array.dtype.kind in "fbiu":
        return array
    error = SolverError if solution is None else MalformedSolutionError
    raise error(f"solution {output} is {_describe(solution)}, but should be an array of numbers")


def _wrong_shape(output: int, shape: tuple[int, ...], expected: tuple[int, ...]) -> MalformedSolutionError:
    return MalformedSolutionError(f"solution {output} has shape {shape}, but its costs have shape {expected}")


def _describe(solution: Any) -> str:
    if solution is None:
        return "None"
    if isinstance(solution, np.ndarray):
        return f"one array of shape {solution.shape} and dtype {solution.dtype}"
    return f"a {type(solution).__name__}"
