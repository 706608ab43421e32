"""The unit of the costs changes nothing but the unit of the answers."""

import numpy as np
import pytest

from difflayers.amwc import AMWC, certify, lower_bound, solve, solve_exact
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.lifted_multicut import solve as solve_lifted
from difflayers.lifted_multicut import solve_exact as solve_lifted_exactly
from tests.amwc.problems import constrained_problem, random_problem

POWERS = [-900, -100, -40, 40, 100, 900]


def scaled(problem: AMWC, power: int) -> AMWC:
    node_costs, edge_costs = np.ldexp(problem.node_costs, power), np.ldexp(problem.edge_costs, power)
    return AMWC(node_costs, problem.edges, edge_costs, problem.partitionable)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("method", ["fast", "default", "best"])
def test_solutions_from_scratch_and_from_a_start_are_those_of_any_other_unit(power, method):
    for seed in range(5):
        plain = random_problem(seed, num_nodes=30, num_labels=3, num_edges=90)
        start = np.random.default_rng(seed).integers(3, size=30)
        for begin in (None, start):
            expected = solve(plain, method, start=begin)
            solution = solve(scaled(plain, power), method, start=begin)
            assert (solution.segments == expected.segments).all()
            assert solution.cost == np.ldexp(expected.cost, power)


@pytest.mark.parametrize("power", POWERS)
def test_constraints_are_kept_at_the_same_cost_in_any_unit(power):
    plain = constrained_problem(4, 12, 3, 24, "some", 0.3, np.float64)
    other = scaled(plain, power)
    assert other.constrained
    assert solve(other, "best").cost == pytest.approx(np.ldexp(solve(plain, "best").cost, power))
    assert lower_bound(other) == pytest.approx(np.ldexp(lower_bound(plain), power))
    assert solve_exact(other).cost == pytest.approx(np.ldexp(solve_exact(plain).cost, power))


@pytest.mark.parametrize("power", POWERS)
def test_optima_are_proven_and_nothing_else_is_in_any_unit(power):
    for seed in range(5):
        plain = random_problem(seed, num_nodes=14, num_labels=3, num_edges=35)
        optimum, other = solve_exact(plain).cost, scaled(plain, power)
        exact = solve_exact(other)
        assert exact.proven_optimal
        assert exact.cost == pytest.approx(np.ldexp(optimum, power))
        poor = solve(other, "fast", start=np.zeros(14, int))
        assert certify(other, poor).proven_optimal <= (poor.cost <= exact.cost * (1 + 1e-9))
        assert lower_bound(other) == pytest.approx(np.ldexp(lower_bound(plain), power))


def test_two_nodes_that_repel_each_other_faintly_are_not_certified_as_one():
    problem = AMWC(np.zeros((2, 1)), np.array([[0, 1]]), np.array([-1e-12]), np.ones(1, bool))
    solution = solve(problem, start=np.zeros(2, int))
    assert solution.cuts.tolist() == [1]
    assert certify(problem, solution).proven_optimal


@pytest.mark.parametrize("power", POWERS)
def test_lifted_multicuts_are_those_of_any_other_unit(power):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        pairs = rng.permuted(np.tile(np.arange(10), (40, 1)), axis=1)[:, :2]
        costs = rng.normal(size=40)
        plain = LiftedMulticut(10, pairs[:20], costs[:20], pairs[20:], costs[20:])
        costs = np.ldexp(costs, power)
        other = LiftedMulticut(10, pairs[:20], costs[:20], pairs[20:], costs[20:])
        for solver in (solve_lifted, solve_lifted_exactly):
            assert (solver(other).segments == solver(plain).segments).all()
            assert solver(other).cost == np.ldexp(solver(plain).cost, power)
        assert solve_lifted_exactly(other).proven_optimal
