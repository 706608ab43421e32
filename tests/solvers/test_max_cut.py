from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

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


@pytest.mark.parametrize("num_nodes", [7, 16])
def test_a_prohibitive_cost_does_not_blur_the_others(num_nodes):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        edges = np.stack(np.triu_indices(num_nodes, 1), axis=1)
        costs = rng.integers(-5, 6, len(edges)).astype(float)
        forced = rng.random(len(edges)) < 0.1
        costs[forced] = 10.0 ** rng.integers(5, 16, forced.sum())
        cut = MaxCut(num_nodes, edges)(costs[None])[0] > 0
        found = sum(map(int, costs[cut]))
        # Gray code by hand, in whole numbers.
        between = np.zeros((num_nodes, num_nodes), np.int64)
        between[edges[:, 0], edges[:, 1]] = between[edges[:, 1], edges[:, 0]] = costs
        sides = 1 - 2 * (np.arange(2 ** (num_nodes - 1))[:, None] >> np.arange(num_nodes) & 1)
        values = (between.sum() - np.einsum("su,su->s", sides @ between, sides)) // 4
        assert found == values.min()


def torus(height, width):
    cells = np.arange(height * width).reshape(height, width)
    steps = [np.stack([cells.ravel(), np.roll(cells, -1, axis).ravel()], axis=1) for axis in (0, 1)]
    return np.concatenate(steps)


def test_on_a_frustrated_torus_the_optimum_of_milp_is_found():
    edges = torus(6, 6)
    for seed in range(3):
        costs = np.random.default_rng(seed).choice([-1.0, 1.0], len(edges))
        cut = MaxCut(36, edges)(costs[None])[0]
        assert costs @ cut == pytest.approx(cut_cost_by_milp(36, edges, costs))


def cut_cost_by_milp(num_nodes, edges, costs):
    """Least cost of a cut, with a variable per node and one per edge."""
    rows = []
    for e, (u, v) in enumerate(edges.tolist()):
        for signs in ((1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, 1)):
            row = np.zeros(num_nodes + len(edges))
            row[[u, v, num_nodes + e]] = signs
            rows.append(row)
    upper = np.tile([0.0, 0.0, 0.0, 2.0], len(edges))
    constraints = LinearConstraint(csr_array(np.array(rows)), -np.inf, upper)
    objective = np.append(np.zeros(num_nodes), costs)
    return milp(objective, constraints=constraints, integrality=1, bounds=Bounds(0, 1)).fun


def test_an_even_ring_is_cut_everywhere_and_an_attractive_graph_nowhere():
    ring = np.stack([np.arange(30), (np.arange(30) + 1) % 30], axis=1)
    solver = MaxCut(30, ring)
    assert (solver(np.ones((1, 30))) == 0).all()
    cut = solver(-np.ones((1, 30)))[0]
    assert cut.all()


def test_infinite_costs_are_refused_with_their_instance():
    solver = MaxCut(2, np.array([[0, 1]]))
    with pytest.raises(ValueError, match="infinity in instance 1"):
        solver(np.array([[1.0], [np.inf]]))
