"""Claims about greedy merging: it is the plain greedy, and no default solution costs more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers import amwc, multicut
from difflayers.amwc.level import make_level
from difflayers.amwc.multilevel import greedy_parts
from difflayers.graph import grid_edges
from difflayers.multicut import Multicut
from tests.amwc.brute_force import minimum_cost
from tests.amwc.greedy import greedy_segments
from tests.amwc.problems import random_problems


def random_multicut(seed: int, num_nodes: int, num_edges: int, whole: bool) -> Multicut:
    rng = np.random.default_rng(seed)
    num_edges = num_edges if num_nodes > 1 else 0
    tails = rng.integers(num_nodes, size=num_edges)
    heads = (tails + rng.integers(1, max(num_nodes, 2), size=num_edges)) % num_nodes
    costs = rng.integers(-3, 4, num_edges) * 1.0 if whole else rng.normal(size=num_edges)
    return Multicut(num_nodes, np.stack([tails, heads], axis=1), costs)


def random_multicuts(max_nodes: int, max_edges: int, whole: bool) -> st.SearchStrategy[Multicut]:
    return st.builds(
        random_multicut,
        st.integers(0, 2**31),
        st.integers(1, max_nodes),
        st.integers(0, max_edges),
        st.just(whole),
    )


def cost_of(problem: Multicut, segments: np.ndarray) -> float:
    cuts = segments[problem.edges[:, 0]] != segments[problem.edges[:, 1]]
    return float(problem.edge_costs[cuts].sum())


@settings(deadline=None, max_examples=100)
@given(random_multicuts(max_nodes=40, max_edges=160, whole=False))
def test_merging_pair_by_pair_is_greedy_additive_contraction(problem):
    plain = problem.as_amwc
    component, count = greedy_parts(make_level(plain.rows, plain.node_costs, plain.partitionable))
    expected = greedy_segments(problem.num_nodes, problem.edges, problem.edge_costs)
    assert count == len(np.unique(expected))
    assert len(np.unique(np.stack([component, expected]), axis=1).T) == count


@settings(deadline=None, max_examples=100)
@given(random_multicuts(max_nodes=40, max_edges=160, whole=False))
def test_default_is_never_worse_than_greedy(problem):
    greedy = cost_of(problem, greedy_segments(problem.num_nodes, problem.edges, problem.edge_costs))
    assert multicut.solve(problem).cost <= greedy + 1e-9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.5, 0.6])
def test_default_is_never_worse_than_greedy_on_grids_of_plus_and_minus_one(seed, share):
    edges = grid_edges((16, 16), (1,))
    costs = np.where(np.random.default_rng(seed).random(len(edges)) < share, 1.0, -1.0)
    problem = Multicut(256, edges, costs)
    assert multicut.solve(problem).cost <= cost_of(problem, greedy_segments(256, edges, costs))


@settings(deadline=None, max_examples=100)
@given(random_multicuts(max_nodes=6, max_edges=15, whole=True))
def test_best_is_optimal_on_six_nodes(problem):
    assert multicut.solve(problem, "best").cost == pytest.approx(minimum_cost(problem.as_amwc), abs=1e-9)


@pytest.mark.parametrize(
    ("num_nodes", "edges", "costs", "optimum"),
    [
        (4, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]], [3, -1, 3, -1, -2, 3], -1),
        (3, [[0, 1], [1, 2], [0, 2]], [2, 2, -1], 0),
    ],
)
def test_small_multicuts_are_solved_to_optimality(num_nodes, edges, costs, optimum):
    problem = Multicut(num_nodes, np.array(edges), np.array(costs, float))
    assert minimum_cost(problem.as_amwc) == optimum
    for method in ("fast", "default", "best"):
        assert multicut.solve(problem, method).cost == optimum


@settings(deadline=None, max_examples=60)
@given(random_problems(max_nodes=4, max_labels=3, max_edges=8))
def test_bound_optimum_and_methods_are_in_order(problem):
    optimum = minimum_cost(problem)
    assert amwc.lower_bound(problem) <= optimum + 1e-9
    for method in ("fast", "default", "best"):
        assert amwc.solve(problem, method).cost >= optimum - 1e-9


@settings(deadline=None, max_examples=60)
@given(random_problems(max_nodes=30, max_labels=3, max_edges=90, ties=False))
def test_greedy_merging_with_node_costs_never_costs_more_than_nodes_on_their_own(problem):
    level = make_level(problem.rows, problem.node_costs, problem.partitionable)
    component, count = greedy_parts(level)
    merged = np.zeros((count, problem.num_labels))
    np.add.at(merged, component, problem.node_costs)
    cut = component[problem.edges[:, 0]] != component[problem.edges[:, 1]]
    alone = problem.node_costs.min(axis=1).sum() + problem.edge_costs.sum()
    assert merged.min(axis=1).sum() + problem.edge_costs[cut].sum() <= alone + 1e-9
