"""Star inequalities: valid for every partition, and what the search for violated ones returns."""

import numpy as np
import pytest

from difflayers import multicut
from difflayers.graph.stars import pair_numbers, violated_stars
from difflayers.multicut import Multicut
from tests.amwc.brute_force import minimum_cost


def complete(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    tails, heads = np.triu_indices(num_nodes, 1)
    return tails, heads


def test_the_violated_stars_of_a_fractional_point_are_violated_and_hold_for_every_partition():
    rng = np.random.default_rng(0)
    tails, heads = complete(9)
    table = pair_numbers(9, tails, heads)
    values = np.round(rng.random(len(tails)) * 2) / 2
    stars = violated_stars(table, values)
    assert stars
    for rays, between in stars:
        least = len(rays) - 1 - len(between)
        assert values[rays].sum() - values[between].sum() < least
        for _ in range(200):
            segments = rng.integers(rng.integers(1, 9), size=9)
            cut = (segments[tails] != segments[heads]).astype(float)
            assert cut[rays].sum() - cut[between].sum() >= least


def test_a_centre_half_joined_to_three_leaves_that_lie_apart_is_the_smallest_star():
    tails, heads = complete(4)
    values = np.where(tails == 0, 0.5, 1.0)
    assert violated_stars(pair_numbers(4, tails, heads), values) == [([0, 1, 2], [3, 4, 5])]


@pytest.mark.parametrize("seed", range(4))
def test_complete_graphs_of_random_signs_are_solved_as_by_brute_force(seed):
    tails, heads = complete(7)
    costs = np.random.default_rng(seed).choice([-1.0, 1.0], size=len(tails))
    problem = Multicut(7, np.stack([tails, heads], axis=1), costs)
    exact = multicut.solve_exact(problem)
    assert exact.proven_optimal
    assert exact.cost == minimum_cost(problem.as_amwc)


def test_a_complete_graph_of_16_nodes_and_random_signs_is_proven():
    tails, heads = complete(16)
    costs = np.random.default_rng(1).choice([-1.0, 1.0], size=len(tails))
    exact = multicut.solve_exact(Multicut(16, np.stack([tails, heads], axis=1), costs))
    assert exact.proven_optimal
    assert exact.lower_bound == exact.cost
