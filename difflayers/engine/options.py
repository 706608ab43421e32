"""The options of running a solver, which every layer and loss takes, and the count of what it did."""

from dataclasses import dataclass
from typing import Literal, TypedDict

from difflayers.engine.pool import SolutionPool


class SolveOptions(TypedDict, total=False):
    """How a solver is run: the keyword arguments that every layer and loss passes on to `BatchSolver`."""

    batched: bool
    tensors: bool
    n_jobs: int
    maximize: bool
    on_failure: Literal["raise", "skip", "zero_grad"]
    pool: SolutionPool | None
    warm_start: bool


DEFAULTS = SolveOptions(
    batched=False,
    tensors=False,
    n_jobs=1,
    maximize=False,
    on_failure="raise",
    pool=None,
    warm_start=False,
)


@dataclass
class Statistics:
    """Problems solved so far, those of them without a solution, and the wall-clock time in seconds."""

    solves: int = 0
    failures: int = 0
    seconds: float = 0.0
