"""One place that asks a solver: what the solver is given, and what it must return."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from difflayers._arguments import all_finite
from difflayers.solver import Array, InfeasibleError, MalformedSolutionError, Solver, SolverError


class Problems(NamedTuple):
    """Some problems of a batch, as a solver gets them.

    Attributes:
        costs: (M, *shape) each, arrays in C order or contiguous tensors; the solver may write into them.
        contexts: one object per problem; None if the solver takes no context.
        warm: whether the solver takes `start`.
        starts: (M, *shape) each, a solution of each problem to start from; None if there is none yet.
    """

    costs: list[Any]
    contexts: list[Any] | None = None
    warm: bool = False
    starts: list[Any] | None = None

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
    """A problem without a solution. The problem None stands for all problems of a batched solver."""

    problem: int | None
    error: Exception

    @property
    def expected(self) -> bool:
        """Whether the solver reported that it found no solution; otherwise there is a bug."""
        said = isinstance(self.error, SolverError | TimeoutError)
        return said and not isinstance(self.error, MalformedSolutionError) and self.problem is not None


class Answers(NamedTuple):
    """Solutions (M, *shape) for each cost; the rows of failed problems are arbitrary."""

    solutions: list[Any]
    failures: list[Failure]


def solve_together(solver: Solver, problems: Problems, any_shape: bool = False) -> Answers:
    """Ask a solver for the solutions of all problems in one call.

    Args:
        solver: see `Solver`; a batched one for arrays, a solver of tensors for tensors.
        problems: what to solve.
        any_shape: whether solutions may have another shape than their costs, the same for all problems.
    """
    costs, contexts, warm, starts = problems
    failures = []
    try:
        arguments = costs if contexts is None else [*costs, contexts]
        try:
            answer = solver(*arguments, start=starts and only(starts)) if warm else solver(*arguments)
        except InfeasibleError as error:
            answer = error.solutions
            failures = [Failure(problem, SolverError(error.reason)) for problem in error.instances]
        answers = (answer,) if len(costs) == 1 else _checked_tuple(answer, len(costs))
        outputs: list[Any] = []
        for solution, cost in zip(answers, costs, strict=True):
            outputs.append(_checked_batch(solution, cost, len(outputs), any_shape))
    except Exception as error:
        return Answers([], [Failure(None, error)])
    if type(costs[0]) is not np.ndarray or not all(map(all_finite, outputs)):
        failures += _not_finite(outputs, failures)
    return Answers(outputs, failures)


def solve_each(solver: Solver, problems: Problems, any_shape: bool = False, stop: bool = True) -> Answers:
    """Ask a solver for the solution of one problem after another.

    Args:
        solver: see `Solver`.
        problems: what to solve, as arrays.
        any_shape: whether solutions may have another shape than their costs, the same for all problems.
        stop: whether the first failure ends the loop over the problems; an unexpected failure always does.
    """
    costs, contexts, warm, starts = problems
    outputs = [np.zeros_like(cost) for cost in costs]
    shapes = [cost.shape[1:] for cost in costs]
    single, fixed = len(costs) == 1, not any_shape
    failures: list[Failure] = []
    # A problem that is a single number stays an array; iterating would give NumPy scalars.
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
                outputs[0][index], fixed = answer, True  # the usual case, which needs no other check
                continue
            answers = (answer,) if single else _checked_tuple(answer, len(costs))
            for output, given in enumerate(answers):
                solution = given
                if type(solution) is not np.ndarray or solution.dtype.kind not in "fbiu":
                    solution = _checked_numbers(given, output, costs[output].shape[1:])
                if solution.shape != shapes[output]:
                    if fixed:
                        raise _wrong_shape(output, given, solution.shape, shapes[output])
                    outputs[output] = np.zeros((len(costs[0]), *solution.shape), costs[output].dtype)
                    shapes[output] = solution.shape
                outputs[output][index] = solution
            fixed = True
        except Exception as error:
            failures.append(Failure(index, error))
            if stop or not failures[-1].expected:
                break
    return Answers(outputs, failures + _not_finite(outputs, failures))


def only(parts: Sequence[Any]) -> Any:
    """Return a single part itself, and several parts as a tuple."""
    return parts[0] if len(parts) == 1 else tuple(parts)


def _not_finite(outputs: Sequence[Any], known: Sequence[Failure]) -> list[Failure]:
    """Failures for the problems whose solution is not finite, except for those known to have failed."""
    failures: list[Failure] = []
    for output, solutions in enumerate(outputs):
        if type(solutions) is np.ndarray:
            if all_finite(solutions):
                continue
            finite = np.isfinite(solutions)
        else:
            finite = solutions.isfinite().cpu().numpy()
        failed = {failure.problem for failure in [*known, *failures]}
        for row in np.flatnonzero(~finite.all(axis=tuple(range(1, finite.ndim)))).tolist():
            if row not in failed:
                error = SolverError(f"solution {output} has a NaN or infinite value")
                failures.append(Failure(row, error))
    return failures


def _checked_batch(solution: Any, cost: Any, output: int, any_shape: bool) -> Any:
    """A copy of the solutions of all problems in type, dtype and device of the costs.

    It is a copy, because some solvers return the same buffer, or their input, at every call.
    """
    if type(cost) is np.ndarray:
        array: Any = solution
        if type(array) is not np.ndarray or array.dtype.kind not in "fbiu":
            array = _checked_numbers(solution, output, cost.shape)
    else:
        import torch  # only where there are tensors: workers in other processes do without torch

        if not isinstance(solution, torch.Tensor):
            error = SolverError if solution is None else MalformedSolutionError
            raise error(
                f"solution {output} must be a tensor, got {_describe(solution)}"
                f"{_advice(solution, tuple(cost.shape))}"
            )
        if solution.is_complex():
            raise MalformedSolutionError(f"solution {output} must hold real numbers, got {solution.dtype}")
        array = solution
    if array.shape != cost.shape and not (any_shape and array.shape[:1] == cost.shape[:1]):
        raise _wrong_shape(output, solution, tuple(array.shape), tuple(cost.shape))
    if type(cost) is np.ndarray:
        return np.array(array, dtype=cost.dtype)
    return torch.empty_like(array, dtype=cost.dtype, device=cost.device).copy_(array.detach())


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


def _checked_numbers(solution: Any, output: int, expected: tuple[int, ...]) -> Array:
    try:
        array = np.asarray(solution)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged, or a tensor that NumPy cannot read
        raise MalformedSolutionError(
            f"solution {output} must be an array of shape {expected}, got {_describe(solution)}"
            f"{_advice(solution, expected)} ({error})"
        ) from error
    if array.dtype.kind in "fbiu":
        return array
    kind = SolverError if solution is None else MalformedSolutionError
    raise kind(
        f"solution {output} is {_describe(solution)}, but should be an array of numbers"
        f"{_advice(solution, expected)}"
    )


def _advice(solution: Any, expected: tuple[int, ...]) -> str:
    """What to do if one of the returned parts is the solution and another one, say, the objective."""
    if isinstance(solution, tuple | list):
        for place, part in enumerate(solution):
            if getattr(part, "shape", None) == expected:
                return f". Return only the solution: lambda costs: solver(costs)[{place}]"
    return ""


def _wrong_shape(
    output: int, solution: Any, shape: tuple[int, ...], expected: tuple[int, ...]
) -> MalformedSolutionError:
    return MalformedSolutionError(
        f"solution {output} has shape {shape}, but its costs have shape {expected}"
        f"{_advice(solution, expected)}"
    )


def _describe(solution: Any) -> str:
    if solution is None:
        return "None"
    if isinstance(solution, np.ndarray):
        return f"one array of shape {solution.shape} and dtype {solution.dtype}"
    if isinstance(solution, tuple | list):
        return f"a {type(solution).__name__} of {len(solution)}"
    return f"a {type(solution).__name__}"
