"""Checks of arguments that many functions and layers have in common."""

import math
import operator
import time
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, TypeVar, get_args

import numpy as np

Choice = TypeVar("Choice", bound=str)


def positive(name: str, value: float) -> float:
    """Return the value as a float; raises ValueError naming it unless it is positive and finite."""
    if isinstance(value, bool) or not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return float(value)


def deadline_after(time_limit: float | None) -> float:
    """Return when `time_limit` seconds are over, by `time.monotonic`; raises ValueError if it is negative."""
    if time_limit is None:
        return math.inf
    if isinstance(time_limit, bool) or not (isinstance(time_limit, Real) and time_limit >= 0):
        raise ValueError(f"time_limit must be a number of seconds, at least 0, or None, got {time_limit!r}")
    return time.monotonic() + float(time_limit)


def count(name: str, value: int, least: int = 1) -> int:
    """Return the value; raises ValueError naming it unless it is an integer of at least `least`.

    NumPy's integers are integers too. Values from 2³¹ on are refused, because no index here can reach them.
    """
    try:
        number = -1 if isinstance(value, bool | np.bool_) else operator.index(value)
    except TypeError:
        number = -1
    if number < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    if number >= 2**31:
        raise ValueError(f"{name} must be below 2**31, got {value!r}")
    return number


def counts(name: str, values: Sequence[int], expected: str, length: int | None = None) -> tuple[int, ...]:
    """Return positive integers as a tuple; raises ValueError naming the argument if they are anything else.

    Args:
        name: of the argument.
        values: the integers; floats that are whole numbers count.
        expected: what the message says that the values must be.
        length: the number of values, if it is fixed.
    """
    try:
        numbers = tuple(int(value) for value in values)
        good = all(number == value for number, value in zip(numbers, values, strict=True))
    except (TypeError, ValueError, OverflowError):
        numbers, good = (), False
    if not good or any(not 1 <= number < 2**31 for number in numbers) or length not in (None, len(numbers)):
        raise ValueError(f"{name} must be {expected}, got {values!r}")
    return numbers


def indices(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return integers as an int64 array; raises ValueError naming the argument if shape or dtype is wrong."""
    array = as_array(name, value)
    if array.shape != shape or array.dtype.kind not in "iu" or array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must be integers of shape {shape}, got {value!r}")
    return array.astype(np.int64)


def as_array(name: str, value: Any) -> np.ndarray[Any, Any]:
    """Return the value as a NumPy array; raises ValueError naming it if it has no shape (ragged lists)."""
    try:
        return np.asarray(value)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{name} is no array: {error}") from error


def one_of_names(name: str, value: str, names: Iterable[str]) -> str:
    """Return the value; raises ValueError naming the argument unless it is one of the names."""
    known = list(names)
    if value not in known:
        raise ValueError(f"{name} must be among {', '.join(map(repr, known))}, got {value!r}")
    return value


def one_of(name: str, value: Choice, choices: Any) -> Choice:
    """Return the value; raises ValueError naming the argument unless it is a value of the Literal type."""
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, get_args(choices)))}, got {value!r}")
    return value


def all_finite(array: np.ndarray[Any, Any]) -> bool:
    """Return whether floats are surely finite.

    The dot product is finite only if every number is finite, and it is the fastest such test. Numbers whose
    squares overflow are not surely finite.
    """
    return math.isfinite(np.vdot(array, array))
