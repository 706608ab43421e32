import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from difflayers.graph.minimum import greater, lesser


@njit
def least_of(values):
    least = values[0]
    for value in values:
        least = lesser(least, value)
    return least


@njit
def greatest_of(values):
    greatest = values[0]
    for value in values:
        greatest = greater(greatest, value)
    return greatest


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_least_and_greatest_of_many_are_numpys(dtype):
    rng = np.random.default_rng(0)
    for size in (1, 7, 133):
        values = rng.normal(size=size).astype(dtype)
        values[rng.random(size) < 0.1] = np.inf
        assert least_of(values) == values.min()
        assert greatest_of(values) == values.max()


def test_numbers_of_different_kinds_are_refused():
    with pytest.raises(TypingError, match="lesser"):
        lesser(np.float32(1), np.float64(1))
    with pytest.raises(TypingError, match="lesser"):
        lesser(1, 2)
