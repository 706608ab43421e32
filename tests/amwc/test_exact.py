"""Bound <= optimum <= every method, and the optimum itself against brute force."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from difflayers import multicut, mwc
from difflayers.amwc import AMWC, certify, evaluate, is_feasible, lower_bound, solve, solve_exact
from tests.amwc.brute_force import minimum_cost
from tests.amwc.problems import grid_problem, random_problem, random_problems


@settings(deadline=None, max_examples=60)
@given(random_problems(max_nodes=6, max_labels=3, max_edges=15))
def test_exact_is_the_least_over_all_labeled_partitions(problem):
    solution = solve_exact(problem)
    assert solution.proven_optimal
    assert solution.cost == pytest.approx(minimum_cost(problem), abs=1e-5)
    assert is_feasible(problem, solution.labels, solution.cuts)
    assert solution.cost == evaluate(problem, solution.labels, solution.cuts)


@settings(deadline=None, max_examples=40)
@given(random_problems(max_nodes=14, max_labels=4, max_edges=40))
def test_bound_exact_and_methods_are_in_order(problem):
    exact = solve_exact(problem)
    assert exact.proven_optimal
    assert exact.lower_bound <= exact.cost
    assert lower_bound(problem) <= exact.cost
    for method in ("fast", "default", "best"):
        assert exact.cost <= solve(problem, method).cost + 1e-5


@settings(deadline=None, max_examples=25)
@given(random_problems(max_nodes=10, max_labels=3, max_edges=25))
def test_exact_cost_does_not_depend_on_the_numbering_of_the_nodes(problem):
    order = np.random.default_rng(0).permutation(problem.num_nodes)
    number = np.argsort(order)
    permuted = AMWC(
        problem.node_costs[order],
        number[problem.edges].reshape(-1, 2),
        problem.edge_costs,
        problem.partitionable,
    )
    assert solve_exact(permuted).cost == pytest.approx(solve_exact(problem).cost, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_noisy_grids_of_180_nodes_are_proven_optimal(seed):
    problem = grid_problem(12, 15, num_labels=4, noise=0.8, seed=seed)
    solution = solve_exact(problem)
    assert solution.proven_optimal
    assert lower_bound(problem) <= solution.cost <= solve(problem, "best").cost + 1e-9


def test_without_time_the_best_known_solution_comes_back_unproven():
    problem = grid_problem(12, 15, num_labels=4, noise=0.8, seed=0)
    solution = solve_exact(problem, time_limit=0.0)
    assert not solution.proven_optimal
    assert solution.cost == solve(problem, "best").cost


def test_exact_mwc_and_multicut_agree_with_amwc():
    stuff = random_problem(1, num_nodes=12, num_labels=3, num_edges=30, things="none")
    fronted = mwc.MWC(stuff.node_costs, stuff.edges, stuff.edge_costs)
    assert mwc.solve_exact(fronted).cost == solve_exact(stuff).cost
    assert mwc.lower_bound(fronted) == lower_bound(stuff)
    cut = multicut.Multicut(12, stuff.edges, stuff.edge_costs)
    plain = AMWC(np.zeros((12, 1)), stuff.edges, stuff.edge_costs, np.ones(1, bool))
    assert multicut.solve_exact(cut).cost == solve_exact(plain).cost
    assert multicut.lower_bound(cut) == lower_bound(plain)


def test_bound_of_a_repulsive_pair_in_one_stuff_label_counts_the_cheaper_way_out():
    # Both nodes want label 0, which may not be split: keep both (cost 0) or move one (cost 1 - 3).
    problem = AMWC(np.array([[0.0, 1], [0, 2]]), np.array([[0, 1]]), np.array([-3.0]), np.zeros(2, bool))
    assert lower_bound(problem) == pytest.approx(-2.0)
    assert solve_exact(problem).cost == -2.0


@pytest.mark.parametrize(("noise", "most"), [(0.5, 0.001), (1.0, 0.02), (1.5, 0.1)])
def test_bound_of_a_noisy_grid_is_near(noise, most):
    for seed in range(4):
        problem = grid_problem(12, 15, num_labels=4, noise=noise, seed=seed)
        cost = solve(problem, "best").cost
        assert cost - lower_bound(problem) <= most * abs(cost)


def test_bound_of_two_confident_nodes_pays_the_edge_between_them():
    problem = AMWC(np.array([[0.0, 9], [9, 0]]), np.array([[0, 1]]), np.array([3.0]), np.array([True, False]))
    assert lower_bound(problem) == pytest.approx(3.0)


def test_bound_of_a_cycle_with_one_repulsive_edge_pays_its_weakest_edge():
    cycle = multicut.Multicut(4, np.array([[0, 1], [1, 2], [2, 3], [0, 3]]), np.array([5.0, 2, 4, -3]))
    assert multicut.lower_bound(cycle) == pytest.approx(-1.0)
    assert multicut.solve_exact(cycle).cost == -1.0


def test_bound_of_many_equal_cycles_is_not_above_the_optimum_by_rounding():
    pairs = np.arange(600_000).reshape(-1, 2)
    costs = np.repeat([0.3, -0.3], len(pairs))
    problem = multicut.Multicut(600_000, np.concatenate([pairs, pairs]), costs)
    assert multicut.lower_bound(problem) <= 0.0


@pytest.mark.parametrize("amount", [0.1, 0.3, 0.7])
def test_many_weak_cycles_leave_no_more_of_a_strong_edge_than_is_left(amount):
    # A strong edge and many weak repulsive ones between the same two nodes: cycles of two edges.
    costs = np.repeat([2.0**17, -amount, -(2.0**17) + 1000 * amount], [1, 1000, 1])
    problem = multicut.Multicut(2, np.zeros((1002, 2), int) + np.arange(2), costs)
    optimum = min(Fraction(0), sum(Fraction(cost) for cost in costs.tolist()))
    assert optimum - Fraction(1, 10**6) <= Fraction(multicut.lower_bound(problem)) <= optimum


def test_bound_of_a_node_with_many_edges_is_not_above_the_optimum_by_rounding():
    # The first node may have the label that all the others want, for less than it costs to cut all its edges.
    node_costs = np.repeat([[10.0, 0.0]], 300_001, axis=0)
    node_costs[0] = 1e6, 1_063_000.0
    edges = np.stack([np.zeros(300_000, int), np.arange(1, 300_001)], axis=1)
    problem = mwc.MWC(node_costs, edges, np.full(300_000, 0.7))
    assert 1_063_000.0 - 1e-2 <= mwc.lower_bound(problem) <= 1_063_000.0


@settings(deadline=None, max_examples=40)
@given(random_problems(max_nodes=14, max_labels=4, max_edges=40))
def test_a_certificate_contains_the_optimum_and_proves_only_optima(problem):
    optimum = solve_exact(problem).cost
    found = certify(problem, solve(problem, "best"))
    assert found.lower_bound <= optimum + 1e-9 * (1 + abs(optimum))
    assert found.gap == found.cost - found.lower_bound >= 0
    assert not found.proven_optimal or found.cost == pytest.approx(optimum, rel=1e-6, abs=1e-6)
    assert solve(problem).gap is None


def test_a_clear_scene_is_certified_as_optimal():
    problem = grid_problem(12, 16, num_labels=4, noise=0.05, seed=0)
    assert certify(problem, solve(problem)).proven_optimal


@pytest.mark.parametrize("limit", [-1.0, float("nan"), True, "1"])
def test_a_time_limit_that_is_none_is_refused(limit):
    with pytest.raises(ValueError, match="time_limit must be a number of seconds"):
        solve_exact(grid_problem(4, 4, num_labels=2, noise=0.1, seed=0), time_limit=limit)


@pytest.mark.parametrize("searches", [2**31, 0])
def test_a_bound_in_many_calls_of_the_kernels_is_that_of_one_call(monkeypatch, searches):
    problem = grid_problem(20, 30, num_labels=4, noise=1.2, seed=0)
    once = lower_bound(problem)
    monkeypatch.setattr("difflayers.amwc.cycles._AT_ONCE", 5)
    # With 0, stamps are cleared before every call but the first, as they are after 2³¹ searches.
    monkeypatch.setattr("difflayers.amwc.cycles._MOST_SEARCHES", searches)
    monkeypatch.setattr("difflayers.amwc.passing._AT_ONCE", 1000)
    assert lower_bound(problem) == once
