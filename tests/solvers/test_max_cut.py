from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers.solvers import MaxCut
from difflayers.solvers import max_cut as kernels


def cuts_of_all_splits(num_nodes, edges):
    sides = np.array(list(product([0, 1], repeat=num_nodes)))
    return sides[:, edges[:, 0]] != sides[:, edges[:, 1]]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(0, 20), st.integers(0, 10**6), st.booleans())
def test_small_cuts_are_the_cheapest_of_all(num_nodes, num_edges, seed, ties):
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, num_nodes, (num_edges, 2))
    edges = edges[edges[:, 0] != edges[:, 1]]
    costs = rng.integers(-2, 3, (2, len(edges))).astype(float) if ties else rng.normal(size=(2, len(edges)))
    splits = cuts_of_all_splits(num_nodes, edges)
    for cost, cut in zip(costs, MaxCut(num_nodes, edges)(costs), strict=True):
        assert (splits == cut).all(axis=1).any()
        assert cost @ cut == pytest.approx((splits @ cost).min())


def test_local_search_finds_the_optimum_of_twelve_nodes_nearly_always(monkeypatch):
    edges = np.stack(np.triu_indices(12, 1), axis=1)
    costs = np.random.default_rng(0).normal(size=(50, len(edges)))
    solver = MaxCut(12, edges)
    optimum = (costs * solver(costs)).sum(axis=1)
    monkeypatch.setattr(kernels, "MAX_EXACT", 0)
    assert not solver.exact
    found = (costs * solver(costs)).sum(axis=1)
    assert (found >= optimum - 1e-9).all()
    assert np.isclose(found, optimum).mean() >= 0.95


def test_an_even_ring_is_cut_everywhere_and_an_attractive_graph_nowhere():
    ring = np.stack([np.arange(30), (np.arange(30) + 1) % 30], axis=1)
    solver = MaxCut(30, ring, restarts=200)
    assert (solver(np.ones((1, 30))) == 0).all()
    cut = solver(-np.ones((1, 30)))[0]
    assert cut.sum() >= 26  # a local optimum may leave some edges


def test_infinite_costs_are_refused_with_their_instance():
    solver = MaxCut(2, np.array([[0, 1]]))
    with pytest.raises(ValueError, match="infinity in instance 1"):
        solver(np.array([[1.0], [np.inf]]))
