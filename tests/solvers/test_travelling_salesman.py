from itertools import permutations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from difflayers.solver import SolverError
from difflayers.solvers import TravellingSalesman
from difflayers.solvers import travelling_salesman as kernels


def assert_tour(edges, tour, num_nodes):
    chosen = nx.Graph(edges[tour > 0].tolist())
    assert len(chosen) == num_nodes == chosen.number_of_edges()
    assert nx.is_connected(chosen)
    assert {degree for _, degree in chosen.degree} == {2}


def cheapest_tour(costs, num_nodes):
    between = np.zeros((num_nodes, num_nodes))
    between[np.triu_indices(num_nodes, 1)] = costs
    between = between + between.T
    orders = [(0, *rest) for rest in permutations(range(1, num_nodes))]
    return min(sum(between[order[k - 1], order[k]] for k in range(num_nodes)) for order in orders)


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 7), st.integers(0, 10**6), st.sampled_from(["normal", "ties", "forbidden"]))
def test_short_tours_are_the_cheapest_of_all(num_nodes, seed, kind):
    solver = TravellingSalesman(num_nodes)
    rng = np.random.default_rng(seed)
    costs = rng.normal(size=len(solver.edges))
    if kind == "ties":
        costs = np.rint(costs)
    if kind == "forbidden":
        costs[rng.random(len(costs)) < 0.25] = np.inf
    expected = cheapest_tour(costs, num_nodes)
    if expected == np.inf:
        with pytest.raises(SolverError, match="instance 0: no tour of finite cost"):
            solver(costs[None])
        return
    tour = solver(costs[None])[0]
    assert_tour(solver.edges, tour, num_nodes)
    assert costs[tour > 0].sum() == pytest.approx(expected)


def test_local_search_is_within_five_per_cent_of_the_optimum_on_twelve_points(monkeypatch):
    points = np.random.default_rng(0).random((20, 12, 2))
    exact = TravellingSalesman(12)
    costs = np.linalg.norm(points[:, exact.edges[:, 0]] - points[:, exact.edges[:, 1]], axis=2)
    optimum = (costs * exact(costs)).sum(axis=1)
    monkeypatch.setattr(kernels, "MAX_EXACT", 0)
    assert not exact.exact
    found = (costs * exact(costs)).sum(axis=1)
    assert (found >= optimum - 1e-9).all()
    assert (found <= 1.05 * optimum).all()


def test_long_tours_leave_no_move_that_gains():
    rng = np.random.default_rng(0)
    solver = TravellingSalesman(25, starts=3)
    assert not solver.exact
    costs = rng.normal(size=(2, len(solver.edges)))
    costs[rng.random(costs.shape) < 0.1] = np.inf
    for cost, tour in zip(costs, solver(costs), strict=True):
        assert_tour(solver.edges, tour, 25)
        walk = [u for u, _ in nx.find_cycle(nx.Graph(solver.edges[tour > 0].tolist()), 0)]
        between = np.zeros((25, 25))
        between[np.triu_indices(25, 1)] = cost
        between = between + between.T
        length = sum(between[walk[k - 1], walk[k]] for k in range(25))
        for first in range(25):
            for last in range(first + 1, 25):
                turned = walk[:first] + walk[first : last + 1][::-1] + walk[last + 1 :]
                assert sum(between[turned[k - 1], turned[k]] for k in range(25)) >= length - 1e-9


def shortest_length_by_milp(num_nodes, edges, costs):
    """Length of the shortest tour: degree 2 everywhere, and no subtours."""
    degrees = np.zeros((num_nodes, len(edges)))
    degrees[edges.T, np.arange(len(edges))] = 1
    constraints = [LinearConstraint(degrees, 2, 2)]
    while True:
        chosen = milp(costs, constraints=constraints, integrality=1, bounds=Bounds(0, 1)).x > 0.5
        parts = list(nx.connected_components(nx.Graph(edges[chosen].tolist())))
        if len(parts) == 1:
            return costs @ chosen
        for part in parts:
            leaving = (np.isin(edges, list(part)).sum(axis=1) == 1).astype(float)
            constraints.append(LinearConstraint(leaving, 2, np.inf))


@pytest.mark.parametrize("kind", ["uniform", "clustered", "grid"])
def test_tours_of_forty_points_are_within_half_a_per_cent_of_the_optimum_of_milp(kind):
    solver = TravellingSalesman(40)
    excess = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        points = rng.random((40, 2))
        if kind == "clustered":
            points = 0.05 * rng.normal(size=(40, 2)) + rng.random((4, 2))[rng.integers(0, 4, 40)]
        if kind == "grid":
            points = np.stack(np.divmod(rng.permutation(49)[:40], 7), axis=1)
        costs = np.linalg.norm(points[solver.edges[:, 0]] - points[solver.edges[:, 1]], axis=1)
        tour = solver(costs[None])[0]
        assert_tour(solver.edges, tour, 40)
        excess.append(costs @ tour / shortest_length_by_milp(40, solver.edges, costs) - 1)
    assert min(excess) > -1e-9
    assert np.mean(excess) <= 0.005


@pytest.mark.parametrize("num_nodes", [16, 17, 40])
def test_long_tours_end_however_wide_the_range_of_costs(num_nodes):
    solver = TravellingSalesman(num_nodes)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        costs = rng.normal(size=(3, len(solver.edges)))
        costs[0] *= 1e17 * 10.0 ** -rng.integers(0, 18, len(solver.edges))
        costs[1] *= 10.0 ** rng.integers(-300, 300, len(solver.edges))
        costs[2] *= rng.choice([0.0, 5e-324, 1e-300])
        for tour in solver(costs):
            assert_tour(solver.edges, tour, num_nodes)


def test_a_tour_that_can_avoid_prohibitive_costs_is_about_as_short_as_if_they_were_infinite():
    solver = TravellingSalesman(20)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        costs = rng.integers(1, 100, len(solver.edges)).astype(float)
        dear = rng.random(len(costs)) < 0.3
        lengths = []
        for prohibitive in (np.inf, 1e15, 1e10, 1e5):
            costs[dear] = prohibitive
            lengths.append(costs[solver(costs[None])[0] > 0].sum())
        assert max(lengths) <= 1.05 * min(lengths)


def test_points_on_a_circle_are_visited_in_order():
    angles = 2 * np.pi * np.arange(40) / 40
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    solver = TravellingSalesman(40)
    costs = np.linalg.norm(points[solver.edges[:, 0]] - points[solver.edges[:, 1]], axis=1)
    steps = np.diff(solver.edges[solver(costs[None])[0] > 0], axis=1).ravel()
    assert sorted(set(steps.tolist())) == [1, 39]


def test_where_long_tours_are_impossible_the_instance_is_named():
    solver = TravellingSalesman(16)
    costs = np.ones((2, len(solver.edges)))
    costs[1, (solver.edges == 5).any(axis=1)] = np.inf
    with pytest.raises(SolverError, match="instance 1: no tour of finite cost was found"):
        solver(costs)


def test_three_nodes_have_one_tour_and_two_have_none():
    assert TravellingSalesman(3)(np.array([[1.0, -2.0, 3.0]])).tolist() == [[1, 1, 1]]
    with pytest.raises(ValueError, match="num_nodes must be an integer of at least 3"):
        TravellingSalesman(2)
