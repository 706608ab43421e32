import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from difflayers.solver import SolverError
from difflayers.solvers import Ranking, TopK


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9), st.integers(0, 10**6), st.booleans())
def test_ranks_are_those_of_scipy_from_the_highest_down(num_items, seed, ties):
    costs = np.random.default_rng(seed).normal(size=(3, num_items))
    if ties:
        costs = np.rint(costs)
    expected = rankdata(-costs, method="ordinal", axis=1) if num_items else costs
    np.testing.assert_array_equal(Ranking()(costs), expected)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "f2", "f4", "i8", "u8"])
def test_ranks_beyond_the_range_of_the_dtype_do_not_wrap(dtype):
    for num_items in (100, 127, 128, 255, 256, 3000):
        costs = np.zeros((1, num_items), dtype)
        costs[0, 5] = 1
        ranks = Ranking()(costs)
        assert ranks.dtype.kind == np.dtype(dtype).kind
        assert ranks[0].tolist() == [2, 3, 4, 5, 6, 1, *range(7, num_items + 1)]


def test_whole_numbers_that_float64_would_round_are_told_apart():
    large = np.array([[2**53, 2**53 + 1, 2**53 - 1]])
    assert Ranking()(large).tolist() == [[2, 1, 3]]
    assert TopK(2)(-large).tolist() == [[1, 1, 0]]
    assert Ranking()(np.array([[2**64 - 1, 2**64 - 2]], np.uint64)).tolist() == [[1, 2]]


def test_ranking_minimises_over_permutations():
    costs = np.random.default_rng(0).normal(size=(4, 6))
    ranks = Ranking()(costs)
    others = np.random.default_rng(1).permuted(np.tile(np.arange(1, 7), (4, 200, 1)), axis=2)
    assert ((costs * ranks).sum(axis=1)[:, None] <= (costs[:, None] * others).sum(axis=2) + 1e-12).all()


def test_the_k_cheapest_are_taken_and_of_equal_ones_the_first():
    costs = np.array([[3.0, 1.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    assert TopK(2)(costs).tolist() == [[0, 1, 0, 1], [1, 1, 0, 0]]
    assert TopK(4)(costs).all()


def test_infinite_items_are_never_taken():
    costs = np.array([[np.inf, 1.0, np.inf], [np.inf, 1.0, 0.0]])
    assert TopK(1)(costs).tolist() == [[0, 1, 0], [0, 0, 1]]
    with pytest.raises(SolverError, match="instance 0: fewer than 2 items of finite cost"):
        TopK(2)(costs)


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_impossible_numbers_of_items_are_refused(k):
    with pytest.raises(ValueError, match="k must be an integer of at least 1"):
        TopK(k)
