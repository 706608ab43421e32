"""Claims about bounds, certificates, starts and limits of lifted multicuts."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from difflayers.graph import grid_edges
from difflayers.lifted_multicut import LiftedMulticut, certify, evaluate, lower_bound, solve, solve_exact
from tests.amwc.exact_arithmetic import exact_lifted_cost, lifted_optimum, wide_lifted_problem
from tests.lifted_multicut.test_lifted_multicut import METHODS, grid_problem, random_problems


@settings(deadline=None, max_examples=100)
@given(random_problems(max_nodes=7, max_edges=14))
def test_the_bound_is_below_the_exact_optimum_and_proofs_hold(problem):
    optimum = lifted_optimum(problem)
    assert Fraction(lower_bound(problem)) <= optimum
    for method in METHODS:
        certified = certify(problem, solve(problem, method))
        assert Fraction(certified.lower_bound) <= optimum
        if certified.proven_optimal:
            cost = exact_lifted_cost(problem, certified.segments.tolist())
            assert float(cost - optimum) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("kind", ["any", "tiny", "offsets"])
def test_bounds_hold_for_costs_of_any_magnitude(seed, kind):
    problem = wide_lifted_problem(seed, kind)
    optimum = lifted_optimum(problem)
    certified = certify(problem, solve(problem, "best"))
    slack = 2.0**-44 * (np.abs(problem.edge_costs).sum() + np.abs(problem.lifted_costs).sum())
    assert lower_bound(problem) <= float(optimum) + slack
    if certified.proven_optimal:
        assert certified.cost <= float(optimum) + slack


def test_attractive_costs_alone_are_proven_to_cost_nothing():
    edges, lifted = grid_edges((40, 40), (1,)), grid_edges((40, 40), (5,))
    rng = np.random.default_rng(0)
    problem = LiftedMulticut(1600, edges, rng.random(len(edges)), lifted, rng.random(len(lifted)))
    certified = certify(problem, solve(problem))
    assert (certified.cost, certified.lower_bound, certified.proven_optimal) == (0.0, 0.0, True)


def test_pairs_that_no_path_joins_are_paid_in_the_bound():
    problem = LiftedMulticut(4, [[0, 1], [2, 3]], [1.0, -2.0], [[0, 2], [1, 3]], [5.0, -1.0])
    certified = certify(problem, solve(problem))
    assert (certified.cost, certified.lower_bound, certified.proven_optimal) == (2.0, 2.0, True)


def test_exact_is_never_below_the_bound_it_is_given():
    problem = grid_problem(12, noise=1.5, seed=0)
    solution = solve_exact(problem, time_limit=0.0)
    assert lower_bound(problem) <= solution.lower_bound <= solution.cost


def test_certify_refuses_what_is_no_solution():
    problem = grid_problem(4, noise=1.0, seed=0)
    with pytest.raises(TypeError, match="solution must be a Solution of the problem, got a ndarray"):
        certify(problem, solve(problem).segments)


@settings(deadline=None, max_examples=60)
@given(random_problems(max_nodes=30, max_edges=80))
def test_a_start_is_never_made_worse(problem):
    for method in METHODS:
        first = solve(problem, method)
        again = solve(problem, method, start=first)
        assert again.cost <= first.cost + 1e-9
    alone = np.arange(problem.num_nodes)
    assert solve(problem, "fast", start=alone).cost <= evaluate(problem, alone) + 1e-9


def test_more_rounds_never_cost_more_and_progress_tells_falling_costs():
    problem = grid_problem(30, noise=2.0, seed=0)
    costs = [solve(problem, "best", max_rounds=rounds).cost for rounds in (0, 2, 8, 20, 40)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] <= solve(problem).cost
    told: list[tuple[float, float]] = []
    solution = solve(problem, "best", progress=lambda seconds, cost: told.append((seconds, cost)))
    assert [seconds for seconds, _ in told] == sorted(seconds for seconds, _ in told)
    assert [cost for _, cost in told] == sorted((cost for _, cost in told), reverse=True)
    assert told[-1][1] == pytest.approx(solution.cost, rel=1e-9)


def test_limits_are_for_best_alone():
    problem = grid_problem(4, noise=1.0, seed=0)
    with pytest.raises(ValueError, match="max_rounds is for method \"best\", got method 'fast'"):
        solve(problem, "fast", max_rounds=1)
    with pytest.raises(ValueError, match=r"start must have shape \(16,\), got \(3,\)"):
        solve(problem, start=[0, 1, 2])
