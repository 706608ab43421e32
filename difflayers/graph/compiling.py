"""How small functions are compiled that kernels call at every step."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def borrowing(function: F) -> F:
    """Compile a function that keeps no array beyond the call, without counting references to its arguments.

    Numba counts the references to every array that one compiled function passes to another. In a function of
    a few steps, the counting takes as long as the steps. The function must create no array and return none.
    """
    compiled: F = njit(nogil=True, cache=True, _nrt=False)(function)  # type: ignore[call-overload]  # not in its types
    return compiled
