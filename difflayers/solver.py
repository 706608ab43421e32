"""What a solver is, and the errors that it and its use raise."""

from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


class Solver(Protocol):
    """Any callable from cost arrays to a solution, such as a function, a method or a partial.

    It is called as `solver(*costs)`, or `solver(*costs, context)` where the layer was given contexts.
    `costs` are NumPy arrays in C order, float64 where the cost tensor was float64 and float32 otherwise;
    they are copies, so a solver may write into them. It returns one array of the same shape for each cost
    array (a single array for a single cost, a tuple or list for several), of any real or bool dtype: the
    minimiser of <costs, solution> over whatever is feasible, or a good guess at it. For an objective
    <costs, g(y)> that is not linear in y, it returns g(y).

    A batched solver gets the arrays of all instances at once, with the batch as first dimension, and the
    list of their contexts. So does a solver of tensors (option `tensors`), which gets and returns tensors
    instead, on the device of the costs.

    With the option `warm_start` it is also given `start=`: None in the first call for an instance, later its
    solution from there (in the same form as it returns them), as the perturbed problem has a similar one.

    A solver that finds no solution says so: it raises SolverError or TimeoutError, or returns None; a
    batched one returns NaN in that instance's row, or raises InfeasibleError. The layer's `on_failure`
    decides what follows.
    """

    def __call__(self, *costs_and_context: Any, **start: Any) -> Any: ...


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
        self.reason: str = reason
        self.instances: list[int] = instances
        self.solutions: Array = solutions

    def __str__(self) -> str:
        more = f" (and {len(self.instances) - 1} more)" if len(self.instances) > 1 else ""
        return f"instance {self.instances[0]}{more}: {self.reason}"


class MalformedSolutionError(SolverError):
    """A solution of the wrong number, shape or type: a bug, which no `on_failure` passes over."""
