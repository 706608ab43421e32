"""Arguments as users hand them in by mistake, and what a front door owes them."""

import copy
import os

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from difflayers import SolverError

# `DIFFLAYERS_FUZZ=100` looks a hundred times as long, at other examples each time.
_FACTOR = int(os.environ.get("DIFFLAYERS_FUZZ", "1"))

VALUES = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    5e-324,
    -1e-310,
    1e-45,
    1e30,
    -1e30,
    3e38,
    1e300,
    -1e308,
    np.inf,
    -np.inf,
    np.nan,
)
DTYPES = ("f2", "f4", "f8", "g", ">f8", ">i4", "i1", "i8", "u1", "u8", "?", "c16", "O", "U3", "M8[s]")
JUNK = (
    None,
    "text",
    b"bytes",
    {},
    {"a": 1},
    [],
    [[1.0], [2.0, 3.0]],
    object(),
    -1,
    3,
    2.5,
    np.nan,
    True,
    1 << 70,
    range(3),
)


def budget(examples):
    """Settings of a fuzz test: so many examples, the same in every run unless more are asked for."""
    return settings(
        max_examples=examples * _FACTOR,
        deadline=None,
        derandomize=_FACTOR == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def spoiled(draw, good, changes=2):
    """A copy of the keyword arguments of a good call, of which at most `changes` are spoiled."""
    arguments = copy.deepcopy(good)
    for name in draw(st.lists(st.sampled_from(sorted(good)), min_size=1, max_size=changes, unique=True)):
        value = arguments[name]
        if not isinstance(value, np.ndarray) or draw(st.integers(0, 5)) == 0:
            arguments[name] = draw(st.sampled_from(JUNK))
            continue
        for how in draw(st.lists(st.sampled_from((_other_values, _other_dtype, _other_shape)), max_size=2)):
            value = how(draw, value)
        arguments[name] = _other_layout(draw, value)
    return arguments


def _other_values(draw, array):
    if array.dtype.kind != "f" or array.size == 0:
        return (
            array
            if array.dtype.kind not in "iu"
            else array.astype(np.int64) + draw(st.sampled_from((-1, 0, 1, 2**31, 2**33)))
        )
    array = array.copy()
    if draw(st.booleans()):
        with np.errstate(all="ignore"):
            return array * np.array(draw(st.sampled_from((1e-320, 1e-45, 1e-30, 1e30, 1e37, 1e307)))).astype(
                array.dtype
            )
    for place in draw(st.lists(st.integers(0, array.size - 1), min_size=1, max_size=3)):
        with np.errstate(all="ignore"):
            array.flat[place] = draw(st.sampled_from(VALUES))
    return array


def _other_dtype(draw, array):
    with np.errstate(all="ignore"):
        try:
            return array.astype(draw(st.sampled_from(DTYPES)))
        except (TypeError, ValueError, OverflowError, RuntimeError):
            return array


def _other_shape(draw, array):
    how = draw(st.sampled_from(("shorter", "longer", "empty", "scalar", "more", "flat", "no columns")))
    if how == "shorter":
        return array[:-1] if array.ndim else array
    if how == "longer":
        return np.concatenate([array, array[:1]]) if array.ndim else array
    if how == "no columns":
        return array[..., :0] if array.ndim else array
    return {
        "empty": array.ravel()[:0],
        "scalar": array.ravel()[:1].reshape(()) if array.size else array,
        "more": array[None],
        "flat": array.ravel(),
    }[how]


def _other_layout(draw, array):
    how = draw(
        st.sampled_from(
            ("as it is", "Fortran", "reversed", "strided", "read-only", "misaligned", "one value")
        )
    )
    if array.ndim == 0 or how == "as it is":
        return array
    if how == "Fortran":
        return np.asfortranarray(array)
    if how == "reversed":
        return array[::-1].copy()[::-1]
    if how == "strided":
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if how == "read-only":
        array = array.copy()
        array.flags.writeable = False
        return array
    if how == "one value" and array.size:
        return np.broadcast_to(array[(0,) * array.ndim], array.shape)
    if array.dtype.hasobject:
        return array
    buffer = np.zeros(array.nbytes + 1, np.uint8)
    moved = buffer[1:].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved


def attempt(call, errors=(TypeError, ValueError, SolverError)):
    """What the call returns, and None; or None, and the text of one of the errors."""
    try:
        return call(), None
    except errors as error:
        return None, f"{type(error).__name__}: {error}"


def survives(call, arguments, names=()):
    """What `call(**arguments)` returns, None for a clear error; the arguments stay as they are.

    Clear is a TypeError, ValueError or SolverError that names an argument, or one of the other `names`.
    """
    before = {name: _frozen(value) for name, value in arguments.items()}
    with np.errstate(all="ignore"):
        result, refusal = attempt(lambda: call(**arguments))
    assert refusal is None or any(name in refusal for name in (*arguments, *names)), refusal
    after = {name: _frozen(value) for name, value in arguments.items()}
    assert after == before, "an argument was written to"
    return result


def _frozen(value):
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value.dtype, value.shape, value.tobytes()
    return repr(value)
