"""What a solver is, and what its answer must look like."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


class Solver(Protocol):
    """Any callable from cost arrays to a solution, such as a function, a method or a partial.

    It is called as `solver(*costs)`, or `solver(*costs, context)` where the layer was given contexts.
    `costs` are NumPy arrays in C order, float64 where the cost tensor was float64 and float32 otherwise;
    they are copies, so a solver may write into them. It returns one array of the same shape for each cost
    array (a single array for a single cost, a tuple or list for several), of any real or bool dtype: the
    minimiser of <costs, solution> over whatever is feasible, or a good guess at it.

    A batched solver gets the arrays of all instances at once, with the batch as first dimension, and the
    list of their contexts.
    """

    def __call__(self, *costs_and_context: Any) -> Any: ...


class SolverError(RuntimeError):
    """A solver raised, or returned something that is no solution; the message says for which instance.

    The solver's own exception, with its traceback, is the `__cause__`.
    """


class InfeasibleError(SolverError):
    """A batched solver found some instances without a solution, and solved the others.

    Attributes:
        reason: what is wrong with those instances.
        instances: their numbers in the batch, in order; the message names the first.
        solutions: (B, *shape), of which the rows of those instances hold anything.
    """

    def __init__(self, reason: str, instances: list[int], solutions: Array) -> None:
        super().__init__(reason, instances, solutions)
        self.reason, self.instances, self.solutions = reason, instances, solutions

    def __str__(self) -> str:
        more = f" (and {len(self.instances) - 1} more)" if len(self.instances) > 1 else ""
        return f"instance {self.instances[0]}{more}: {self.reason}"


def check_solutions(solutions: Any, costs: Sequence[Array]) -> tuple[Array, ...]:
    """Copy what a solver returned into one array for each cost array, of the same shape and dtype.

    Raises SolverError where the number of solutions, a shape or a dtype is wrong. (A copy, because some
    solvers return the same buffer at every call.)
    """
    if len(costs) == 1:
        solutions = (solutions,)
    elif not isinstance(solutions, tuple | list):
        raise SolverError(
            f"the solver returned {_describe(solutions)}, "
            f"but {len(costs)} cost tensors need a tuple of {len(costs)} solutions"
        )
    elif len(solutions) != len(costs):
        raise SolverError(
            f"the solver returned {len(solutions)} solutions, but there are {len(costs)} cost tensors"
        )
    return tuple(
        _check_solution(solution, cost, output)
        for output, (solution, cost) in enumerate(zip(solutions, costs, strict=True))
    )


def _check_solution(solution: Any, cost: Array, output: int) -> Array:
    array = np.asarray(solution)
    if array.dtype.kind not in "biuf":
        raise SolverError(f"solution {output} is {_describe(solution)}, but should be an array of numbers")
    if array.shape != cost.shape:
        raise SolverError(f"solution {output} has shape {array.shape}, but its costs have shape {cost.shape}")
    return np.array(array, dtype=cost.dtype)


def _describe(solution: Any) -> str:
    if solution is None:
        return "None"
    if isinstance(solution, np.ndarray):
        return f"one array of shape {solution.shape} and dtype {solution.dtype}"
    return f"a {type(solution).__name__}"
