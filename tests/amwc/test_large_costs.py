"""Costs of many orders of magnitude, up to 1e15: exact optima, bounds below them and no false proof."""

from fractions import Fraction

import numpy as np
import pytest

from difflayers import lifted_multicut, multicut, mwc
from difflayers.amwc import AMWC, certify, lower_bound, solve, solve_exact
from difflayers.amwc.hardening import harden
from difflayers.graph import grid_edges
from difflayers.lifted_multicut import LiftedMulticut
from tests.amwc.exact_arithmetic import (
    KINDS,
    exact_cost,
    exact_lifted_cost,
    lifted_optimum,
    optimum,
    wide_lifted_problem,
    wide_problem,
)

METHODS = ("fast", "default", "best")


def rounding(*costs: np.ndarray) -> Fraction:
    """What float64 may lose in a sum of the costs: nothing if they are whole and add up to less than 2⁵³."""
    finite = [Fraction(cost) for part in costs for cost in part.ravel().tolist() if abs(cost) < np.inf]
    total = sum((abs(cost) for cost in finite), Fraction(0))
    whole = all(cost.denominator == 1 for cost in finite)
    return Fraction(0) if whole and total < 2**53 else total / 2**46


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_proofs_hold_in_whole_numbers_of_any_size(seed, kind):
    problem = wide_problem(seed, kind)
    least = optimum(problem)
    if least is None:
        with pytest.raises(ValueError, match="must be"):
            solve_exact(problem)
        return
    slack = rounding(problem.node_costs, problem.edge_costs)
    exact, bound = solve_exact(problem), lower_bound(problem)
    assert bound <= least
    assert min(bound, exact.cost) <= exact.lower_bound <= least
    assert exact.proven_optimal
    assert exact_cost(problem, exact.labels, exact.segments) <= least + slack
    assert exact.cost - exact.lower_bound <= slack
    for method in METHODS:
        found = certify(problem, solve(problem, method))
        assert found.lower_bound <= least
        cost = exact_cost(problem, found.labels, found.segments)
        assert cost is not None
        assert not found.proven_optimal or cost <= least + slack


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(8))
def test_proofs_of_lifted_multicuts_hold_in_whole_numbers_of_any_size(seed, kind):
    problem = wide_lifted_problem(seed, kind)
    least, slack = lifted_optimum(problem), rounding(problem.edge_costs, problem.lifted_costs)
    exact = lifted_multicut.solve_exact(problem)
    assert exact.lower_bound <= least
    assert exact.proven_optimal
    assert exact_lifted_cost(problem, exact.segments) <= least + slack
    assert exact.cost - exact.lower_bound <= slack


@pytest.mark.parametrize("large", [1e5, 1e7, 1e10, 1e15])
@pytest.mark.parametrize("method", METHODS)
def test_one_large_cost_hides_no_optimum(method, large):
    things = np.array([True, True])
    edges, edge_costs = [[0, 2], [0, 2], [1, 0], [1, 0]], np.array([0, 2, 2, 0.0])
    problems = [
        (AMWC(np.array([[0, 3], [large, 2], [1, -2.0]]), edges, edge_costs, things), 3.0),
        (AMWC(np.array([[2, 2], [2, large]]), [[0, 1]], np.array([-1.0]), ~things), 3.0),
        (AMWC(np.array([[1, 3], [large, 2], [0, 1.0]]), [[2, 0]], np.array([-2.0]), ~things), 2.0),
    ]
    for problem, least in problems:
        exact = solve_exact(problem)
        assert (exact.cost, exact.lower_bound, exact.proven_optimal) == (least, least, True)
        found = certify(problem, solve(problem, method))
        assert found.lower_bound <= least <= found.cost
        assert found.proven_optimal <= (found.cost == least)
        assert problem is problems[0][0] or found.cost == least


@pytest.mark.parametrize("large", [1e5, 1e7, 1e10, 1e15])
def test_one_large_cost_hides_no_optimum_of_a_lifted_multicut(large):
    edges, lifted = [(3, 2), (0, 3), (1, 0), (3, 2)], [(0, 2), (1, 0)]
    problem = LiftedMulticut(4, edges, np.array([-3.0, 0, large, 3]), lifted, np.array([1.0, 3]))
    exact = lifted_multicut.solve_exact(problem)
    assert (exact.cost, exact.lower_bound, exact.proven_optimal) == (0.0, 0.0, True)


@pytest.mark.parametrize("offset", [1e5, -1e5, 1e9])
@pytest.mark.parametrize("method", METHODS)
def test_a_common_offset_of_all_node_costs_changes_no_solution(method, offset):
    rng = np.random.default_rng(0)
    edges = grid_edges((12, 15), [1, 3])
    # Multiples of 2⁻¹⁰, which stay exact beside the offset.
    node_costs = np.round(1024 * rng.normal(size=(180, 3))) / 1024
    edge_costs = np.round(1024 * rng.normal(size=len(edges))) / 1024
    partitionable = np.array([True, False, True])
    plain = solve(AMWC(node_costs, edges, edge_costs, partitionable), method)
    shifted = AMWC(node_costs + offset, edges, edge_costs, partitionable)
    solution = solve(shifted, method)
    assert (solution.segments == plain.segments).all()
    assert solution.cost == plain.cost + 180 * offset


def test_labels_dearer_than_all_edges_of_their_node_and_consistent_links_become_constraints():
    node_costs = np.array([[0.0, 1e9], [1.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 3]])
    problem = AMWC(node_costs, edges, np.array([1.0, 1e7, -1e7, 2.0]), np.array([True, False]))
    hardened, offsets = harden(problem)[:2]
    assert hardened.node_costs[0].tolist() == [0.0, np.inf]
    assert hardened.edge_costs.tolist() == [1.0, np.inf, -np.inf, 2.0]
    assert offsets.sum() == -1e7
    exact = solve_exact(problem)
    assert exact.cost == float(optimum(problem))


def test_large_costs_that_contradict_each_other_are_weighed():
    # Two of the three large edges have to give in, or the third: 1e7 + 2 or 1e7 + 3.
    edges = np.array([[0, 1], [1, 2], [0, 2]])
    problem = multicut.Multicut(3, edges, np.array([1e7 + 2, 1e7 + 3, -1e7 - 1]))
    exact = multicut.solve_exact(problem)
    assert (exact.cost, exact.proven_optimal) == (0.0, True)
    closer = multicut.Multicut(3, edges, np.array([1e7 + 2, 1e7 + 3, -1e7 - 5]))
    exact = multicut.solve_exact(closer)
    assert (exact.cost, exact.proven_optimal) == (-3.0, True)
    assert exact.cuts.tolist() == [1, 0, 1]


@pytest.mark.parametrize("weights", ["ones", "normal"])
def test_the_cost_zero_of_a_grid_without_repulsion_is_certified(weights):
    edges = grid_edges((40, 40), [1])
    costs = {"ones": np.ones(len(edges)), "normal": np.abs(np.random.default_rng(0).normal(size=len(edges)))}
    problem = multicut.Multicut(1600, edges, costs[weights])
    found = multicut.certify(problem, multicut.solve(problem))
    assert (found.cost, found.lower_bound, found.proven_optimal) == (0.0, 0.0, True)


def test_a_grid_with_forbidden_labels_is_proven_like_one_without_these_labels():
    rng = np.random.default_rng(0)
    edges = grid_edges((10, 12), [1])
    node_costs, edge_costs = rng.normal(size=(120, 2)), rng.normal(size=len(edges)) + 0.5
    forbidden = np.concatenate([node_costs, np.full((120, 1), 1e9)], axis=1)
    plain, other = mwc.MWC(node_costs, edges, edge_costs), mwc.MWC(forbidden, edges, edge_costs)
    first, second = mwc.solve_exact(plain), mwc.solve_exact(other)
    assert first.proven_optimal
    assert second.proven_optimal
    assert second.cost == pytest.approx(first.cost, rel=1e-14)
    assert (second.labels == first.labels).all()
