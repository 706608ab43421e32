"""The options of running a solver, which every layer and loss takes, and the count of what it did."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypedDict

from difflayers.engine.pool import SolutionPool


class SolveOptions(TypedDict, total=False):
    """How a solver is run: the keyword arguments that every layer and loss takes.

    - `batched`: the solver takes the arrays and contexts of the whole batch in one call.
    - `tensors`: the solver takes and returns tensors of the whole batch, on the device of the costs.
    - `n_jobs`: the number of solver calls that run at the same time, in threads or on the joblib backend of
      an enclosing `joblib.parallel_config`; -1 for all cores. A batched solver gets a part of the batch.
    - `maximize`: the solver maximizes ⟨costs, solution⟩.
    - `on_failure`: what happens if the solver finds no solution. "raise" raises SolverError. With "zero_grad"
      the solution of that instance is zero, with "skip" it is NaN, so that averages can leave it out; the
      instance then has no gradient.
    - `pool`: a `SolutionPool` of solutions that may be reused.
    - `warm_start`: the solver also takes `start=`, see `Solver`.
    - `loss_scale`: a function that returns what the loss is multiplied by, such as `GradScaler.get_scale`.
      Incoming gradients are divided by this number before λ is applied, and the results are multiplied by it.

    ```python
    >>> import difflayers, torch
    >>> layer = difflayers.BlackboxLayer(difflayers.solvers.TopK(1), batched=True, on_failure="skip")
    >>> layer(torch.tensor([[3.0, 1.0, 2.0]])).tolist()
    [[0.0, 1.0, 0.0]]

    ```
    """

    batched: bool
    tensors: bool
    n_jobs: int
    maximize: bool
    on_failure: Literal["raise", "skip", "zero_grad"]
    pool: SolutionPool | None
    warm_start: bool
    loss_scale: Callable[[], float] | None


DEFAULTS = SolveOptions(
    batched=False,
    tensors=False,
    n_jobs=1,
    maximize=False,
    on_failure="raise",
    pool=None,
    warm_start=False,
    loss_scale=None,
)


@dataclass
class Statistics:
    """What a solver has done so far.

    Attributes:
        solves: the number of problems that were solved.
        failures: the number of those without a solution.
        seconds: the wall-clock time of the solver calls, in seconds.
        nonfinite_gradients: the number of incoming gradients, per instance, that had a NaN or infinite value.
    """

    solves: int = 0
    failures: int = 0
    seconds: float = 0.0
    nonfinite_gradients: int = 0
