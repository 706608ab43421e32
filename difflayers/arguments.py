"""Checks of the options that layers are built with."""

import math
from typing import Any, TypeVar, get_args

Choice = TypeVar("Choice", bound=str)


def positive(name: str, value: float) -> float:
    """Return the value as a float; raises ValueError naming it unless it is positive and finite."""
    if isinstance(value, bool) or not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite, but is {value}")
    return float(value)


def count(name: str, value: int, least: int = 1) -> int:
    """Return the value; raises ValueError naming it unless it is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, but is {value!r}")
    return value


def one_of(name: str, value: Choice, choices: Any) -> Choice:
    """Return the value; raises ValueError naming it unless it is one of a Literal type's."""
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(choices)))}, but is {value!r}")
    return value
