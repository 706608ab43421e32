import itertools

import numpy as np
import pytest

from difflayers.solvers import DiverseMatching


def matchings(rows, columns):
    for size in range(min(rows, columns) + 1):
        for some in itertools.combinations(range(rows), size):
            for others in itertools.permutations(range(columns), size):
                yield list(zip(some, others, strict=True))


@pytest.mark.parametrize("seed", range(12))
def test_no_matching_with_the_shares_costs_less(seed):
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(1, 5, 2)
    similar = rng.random((rows, columns)) < 0.5
    shares = rng.choice([0.0, 0.25, 0.5], 2)
    costs = rng.normal(size=(2, rows, columns)) - 0.5
    for cost, pairs in zip(costs, DiverseMatching(similar, *shares)(costs), strict=True):
        assert (pairs.sum(axis=0) <= 1).all()
        assert (pairs.sum(axis=1) <= 1).all()
        assert pairs[similar].sum() >= shares[0] * pairs.sum() - 1e-9
        assert pairs[~similar].sum() >= shares[1] * pairs.sum() - 1e-9
        best = 0.0
        for pairing in matchings(rows, columns):
            alike = sum(similar[pair] for pair in pairing)
            if alike >= shares[0] * len(pairing) and len(pairing) - alike >= shares[1] * len(pairing):
                best = min(best, sum(cost[pair] for pair in pairing))
        assert (cost * pairs).sum() == pytest.approx(best, abs=1e-9)


def test_contexts_say_which_pairs_are_similar_and_infinity_forbids_a_pair():
    solver = DiverseMatching([[True, True]], least_different=1.0)
    costs = np.array([[[-2.0, -1.0]]] * 3)
    contexts = [[[True, True]], [[True, False]], [[False, False]]]
    assert solver(costs, contexts).tolist() == [[[0, 0]], [[0, 1]], [[1, 0]]]
    assert DiverseMatching([[True, True]])(np.array([[[-np.inf, -1.0]]]) * -1).tolist() == [[[0, 0]]]
    np.testing.assert_array_equal(solver(1e-9 * costs, contexts), solver(costs, contexts))


def test_impossible_shares_are_refused_by_name():
    with pytest.raises(ValueError, match=r"must add up to 1 at most, got 0\.6 and 0\.5"):
        DiverseMatching([[True]], 0.6, 0.5)
    with pytest.raises(ValueError, match="least_similar must be from 0 to 1, got -1"):
        DiverseMatching([[True]], -1)
    with pytest.raises(TypeError, match="similar must be booleans, got dtype int64"):
        DiverseMatching([[1]])
