"""How long the method "best" goes on, and to whom it reports."""

import time
from collections.abc import Callable
from typing import TypedDict

# Called with the seconds since the start and the cost of the best solution so far.
Progress = Callable[[float, float], object]


class Limits(TypedDict, total=False):
    """What "best" may be told; without any of it, "best" does a fixed number of rounds.

    Attributes:
        time_limit: seconds after which no new round begins. Rounds are then unlimited unless `max_rounds` is
            given too.
        max_rounds: number of rounds. A round finds another solution, or fuses one with the best so far.
        progress: called after every round with the seconds and the cost of the best solution so far.
    """

    time_limit: float | None
    max_rounds: int | None
    progress: Progress | None


def check_limits(method: str, limits: Limits) -> None:
    """Raise ValueError if a method other than "best" is limited, or a limit is negative."""
    given = [name for name, value in limits.items() if value is not None]
    unknown = [name for name in given if name not in Limits.__annotations__]
    if unknown:
        raise TypeError(f"solve has no argument {unknown[0]}")
    if given and method != "best":
        raise ValueError(f'{given[0]} is for method "best", got method {method!r}')
    for name, value in (("time_limit", limits.get("time_limit")), ("max_rounds", limits.get("max_rounds"))):
        if value is not None and not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value!r}")


def in_unit(limits: Limits, unit: float) -> Limits:
    """The same limits for a problem whose costs are divided by `unit`."""
    progress = limits.get("progress")
    if progress is None:
        return limits
    return {**limits, "progress": lambda seconds, cost: progress(seconds, cost * unit)}


class Clock:
    """Says when to stop: after `rounds` unless the limits say otherwise."""

    def __init__(self, limits: Limits, rounds: int) -> None:
        self.begin: float = time.perf_counter()
        self.time_limit: float | None = limits.get("time_limit")
        most = limits.get("max_rounds")
        self.rounds: float = (rounds if self.time_limit is None else float("inf")) if most is None else most
        self.done: int = 0

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.begin

    def goes_on(self) -> bool:
        """Whether another round may begin; counts it."""
        self.done += 1
        return self.done <= self.rounds and (self.time_limit is None or self.seconds < self.time_limit)
