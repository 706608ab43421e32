"""Solvers that work on tensors, on whatever device the costs are: what they must return."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from difflayers.engine.solving import Answers, Failure, only
from difflayers.solver import MalformedSolutionError, Solver, SolverError


def solve_tensors(
    solver: Solver,
    costs: Sequence[Tensor],
    contexts: Sequence[Any] | None,
    warm: bool,
    starts: Sequence[Tensor] | None,
    any_shape: bool,
) -> Answers:
    """Call a solver of tensors once for all problems, as `solve_together` does one of arrays.

    Arguments and solutions are those of `Problems` and `Answers`, as tensors.
    """
    try:
        arguments = costs if contexts is None else [*costs, contexts]
        answer = solver(*arguments, start=starts and only(starts)) if warm else solver(*arguments)
        solutions = _checked(answer, costs, any_shape)
    except Exception as error:
        return Answers([], [Failure(None, error)])
    failures = []
    for index, solution in enumerate(solutions):
        finite = solution.isfinite()
        if not finite.all():
            unusable = SolverError(f"solution {index} has a NaN or infinite value")
            rows = (~finite).reshape(len(finite), -1).any(1).nonzero()[:, 0].tolist()
            failures += [Failure(row, unusable) for row in rows]
    return Answers(solutions, failures)


def _checked(answer: Any, costs: Sequence[Tensor], any_shape: bool) -> list[Tensor]:
    answers = (answer,) if len(costs) == 1 else answer
    if not isinstance(answers, tuple | list) or len(answers) != len(costs):
        raise MalformedSolutionError(f"the solver must return a tuple of {len(costs)} tensors")
    solutions = []
    for index, (solution, cost) in enumerate(zip(answers, costs, strict=True)):
        if not isinstance(solution, Tensor):
            raise MalformedSolutionError(
                f"solution {index} is a {type(solution).__name__}, but must be a tensor"
            )
        if solution.shape != cost.shape and not (any_shape and solution.shape[:1] == cost.shape[:1]):
            raise MalformedSolutionError(
                f"solution {index} has shape {tuple(solution.shape)}, but its costs have {tuple(cost.shape)}"
            )
        # A copy, since a solver may return the same tensor, or its input, at every call.
        solutions.append(torch.empty_like(solution, dtype=cost.dtype, device=cost.device).copy_(solution))
    return solutions
