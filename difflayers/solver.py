"""What a solver is, and the errors that it and its use raise."""

from typing import Any, Protocol

import numpy as np

Array = np.ndarray[Any, Any]


class Solver(Protocol):
    """Any callable from cost arrays to a solution, such as a function, a method or a partial.

    **Call.** A layer calls it as `solver(*costs)`, or as `solver(*costs, context)` if the layer was given
    contexts. `costs` are NumPy arrays in C order, float64 for a cost tensor in float64 and float32 otherwise.
    They are copies, so that a solver may write into them.

    **Result.** It returns one array of the same shape per cost array: a single array for a single cost, a
    tuple or list for several, of any real or bool dtype. The result is the minimizer of ⟨costs, solution⟩
    over what is feasible, or a good guess at it. For an objective ⟨costs, g(y)⟩ that is not linear in y, the
    solver returns g(y).

    **Batches.** With the option `batched` the solver gets the arrays of all instances at once, with the batch
    as first dimension, and the list of their contexts. With the option `tensors` it gets and returns tensors
    in place of arrays, on the device of the costs.

    **Starts.** With the option `warm_start` the solver is also given `start=`. This is None in the first call
    for an instance, and later the solution from there, in the form in which the solver returned it.

    **No solution.** A solver that finds no solution raises SolverError or TimeoutError, or returns None. A
    batched solver returns NaN in the row of that instance, or raises InfeasibleError. The option `on_failure`
    of the layer decides what follows.

    **Sense.** A solver may have an attribute `sense`, "minimize" or "maximize". A layer whose option
    `maximize` does not fit is then refused.

    ```python
    >>> import difflayers, torch
    >>> def cheapest(costs):
    ...     return (costs == costs.min()).astype(costs.dtype)
    >>> difflayers.BlackboxLayer(cheapest)(torch.tensor([[3.0, 1.0, 2.0]])).tolist()
    [[0.0, 1.0, 0.0]]

    ```
    """

    def __call__(self, *costs_and_context: Any, **start: Any) -> Any: ...


class SolverError(RuntimeError):
    """A solver raised, or returned something that is no solution; the message names the instance.

    The solver's own exception, with its traceback, is the `__cause__`.

    ```python
    >>> import difflayers, torch
    >>> try:
    ...     difflayers.BlackboxLayer(lambda costs: None)(torch.zeros(1, 3))
    ... except difflayers.SolverError as error:
    ...     print(error)
    instance 0: solution 0 is None, but should be an array of numbers

    ```
    """


class InfeasibleError(SolverError):
    """A batched solver found some instances without a solution, and solved the others.

    Args:
        reason: what is wrong with those instances.
        instances: their numbers in the batch, in order; the message names the first.
        solutions: (B, *shape), in which the rows of those instances are arbitrary.

    ```python
    >>> import numpy as np
    >>> from difflayers.solver import InfeasibleError
    >>> str(InfeasibleError("no path", [2, 5], np.zeros((8, 3))))
    'instance 2 (and 1 more): no path'

    ```
    """

    def __init__(self, reason: str, instances: list[int], solutions: Any) -> None:
        super().__init__(reason, instances, solutions)
        self.reason: str = reason
        self.instances: list[int] = instances
        self.solutions: Any = solutions

    def __str__(self) -> str:
        more = f" (and {len(self.instances) - 1} more)" if len(self.instances) > 1 else ""
        return f"instance {self.instances[0]}{more}: {self.reason}"


class MalformedSolutionError(SolverError):
    """A solution has the wrong number, shape or type. This is a bug, which `on_failure` never passes over.

    ```python
    >>> from difflayers.solver import MalformedSolutionError, SolverError
    >>> issubclass(MalformedSolutionError, SolverError)
    True

    ```
    """
