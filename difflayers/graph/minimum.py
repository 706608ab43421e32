"""Minimum and maximum of which compilers make vector instructions."""

from typing import Any

from llvmlite import ir
from numba import njit
from numba.core.types import Float
from numba.extending import intrinsic


@njit(nogil=True, cache=True)
def lesser(a: float, b: float) -> float:
    """The lesser of two floats of one type, neither of them NaN.

    In a kernel, a loop for the least of many is vectorized with this, and never with `min`: that minds NaN
    and the sign of zero.
    """
    return _minnum(a, b)  # type: ignore[call-arg]  # Numba passes an intrinsic its first argument


@njit(nogil=True, cache=True)
def greater(a: float, b: float) -> float:
    """The greater of two floats, in the same way."""
    return -lesser(-a, -b)


@intrinsic
def _minnum(_: Any, a: Any, b: Any) -> Any:
    if a != b or not isinstance(a, Float):
        return None

    def call(context: Any, builder: ir.IRBuilder, signature: Any, values: list[ir.Value]) -> ir.Value:
        kind = values[0].type
        minnum = builder.module.declare_intrinsic("llvm.minnum", [kind], ir.FunctionType(kind, [kind, kind]))
        return builder.call(minnum, values, fastmath=("nnan", "nsz"))

    return a(a, b), call
