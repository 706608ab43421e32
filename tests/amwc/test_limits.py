"""Claims about "best" with a time limit, a number of rounds, or somebody who listens."""

import time
from itertools import pairwise

import numpy as np
import pytest

from difflayers import amwc, multicut, mwc
from difflayers.amwc import AMWC
from difflayers.graph import grid_edges
from difflayers.multicut import Multicut


def noisy_grid(side: int, seed: int) -> Multicut:
    edges = grid_edges((side, side), (1,))
    return Multicut(side * side, edges, np.random.default_rng(seed).choice([-1.0, 1.0], len(edges)))


@pytest.mark.parametrize("side", [5, 20])
@pytest.mark.parametrize("seed", range(10))
def test_best_never_costs_more_than_default_where_all_costs_tie(side, seed):
    problem = noisy_grid(side, seed)
    assert multicut.solve(problem, "best").cost <= multicut.solve(problem).cost
    assert multicut.solve(problem, "best", max_rounds=0).cost <= multicut.solve(problem).cost


def test_more_rounds_never_cost_more():
    problem = noisy_grid(40, seed=0)
    costs = [multicut.solve(problem, "best", max_rounds=rounds).cost for rounds in (0, 1, 5, 12, 24, 40, 60)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < costs[0]


def test_a_time_limit_alone_goes_on_beyond_the_usual_rounds():
    problem = noisy_grid(10, seed=1)
    begin = time.perf_counter()
    solution = multicut.solve(problem, "best", time_limit=0.3)
    assert time.perf_counter() - begin >= 0.3
    assert solution.cost <= multicut.solve(problem, "best").cost


def test_no_time_at_all_is_no_round_and_still_a_solution():
    problem = noisy_grid(40, seed=2)
    solution = multicut.solve(problem, "best", time_limit=0.0)
    assert solution.cost == multicut.solve(problem, "best", max_rounds=0).cost
    assert solution.cost <= multicut.solve(problem, "fast").cost


@pytest.mark.parametrize("unit", [1.0, 1e-60])
def test_progress_is_told_falling_costs_in_the_unit_of_the_costs(unit):
    problem = noisy_grid(20, seed=3)
    problem = Multicut(problem.num_nodes, problem.edges, unit * problem.edge_costs)
    told: list[tuple[float, float]] = []
    solution = multicut.solve(problem, "best", progress=lambda seconds, cost: told.append((seconds, cost)))
    seconds, costs = zip(*told, strict=True)
    assert list(seconds) == sorted(seconds)
    assert all(later <= earlier + 1e-9 * unit for earlier, later in pairwise(costs))
    assert costs[-1] == pytest.approx(solution.cost, rel=1e-9)


def test_limits_of_other_methods_and_unknown_ones_are_refused():
    problem = noisy_grid(4, seed=0)
    with pytest.raises(ValueError, match="time_limit is for method \"best\", got method 'fast'"):
        multicut.solve(problem, "fast", time_limit=1.0)
    with pytest.raises(ValueError, match="max_rounds must be at least 0, got -1"):
        multicut.solve(problem, "best", max_rounds=-1)
    with pytest.raises(TypeError, match="solve has no argument rounds"):
        multicut.solve(problem, "best", rounds=3)


def test_every_cut_problem_has_limits():
    rng = np.random.default_rng(0)
    edges, node_costs = grid_edges((8, 8), (1,)), rng.normal(size=(64, 3))
    costs = rng.normal(size=len(edges))
    problem = AMWC(node_costs, edges, costs, np.array([True, False, True]))
    forbidden = AMWC(np.where(node_costs > 2.0, np.inf, node_costs), edges, costs, problem.partitionable)
    for solution in (
        amwc.solve(problem, "best", max_rounds=3),
        amwc.solve(forbidden, "best", max_rounds=3),
        mwc.solve(mwc.MWC(node_costs, edges, costs), "best", max_rounds=3),
    ):
        assert np.isfinite(solution.cost)
