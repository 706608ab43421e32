"""Infinite costs: kept by every method, optimal when exact, refused where they contradict each other."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from difflayers import multicut, mwc
from difflayers.amwc import AMWC, evaluate, is_feasible, lower_bound, solve, solve_exact
from difflayers.amwc.colouring import list_colouring
from tests.amwc.brute_force import minimum_cost
from tests.amwc.problems import constrained_problems, grid_problem

METHODS = ("fast", "default", "best")


@settings(deadline=None, max_examples=150)
@given(constrained_problems(max_nodes=6, max_labels=3, max_edges=12))
def test_exact_is_the_least_that_keeps_the_constraints_and_refusals_are_right(problem):
    least = minimum_cost(problem)
    if least == np.inf:
        for solver in (solve, solve_exact, lower_bound):
            with pytest.raises(ValueError, match=r"nodes? \d+.*must be"):
                solver(problem)
        return
    exact = solve_exact(problem)
    assert exact.cost == pytest.approx(least, abs=2e-5)
    assert exact.proven_optimal
    assert is_feasible(problem, exact.labels, exact.cuts)
    assert lower_bound(problem) <= least + 1e-5
    for method in METHODS:
        solution = solve(problem, method)
        assert is_feasible(problem, solution.labels, solution.cuts)
        assert least - 1e-5 <= solution.cost < np.inf
        assert solution.cost == evaluate(problem, solution.labels, solution.cuts)


@settings(deadline=None, max_examples=150)
@given(constrained_problems(max_nodes=40, max_labels=5, max_edges=80), st.sampled_from(METHODS))
def test_solutions_of_larger_problems_keep_every_constraint(problem, method):
    try:
        solution = solve(problem, method)
    except ValueError:
        assume(False)
    assert is_feasible(problem, solution.labels, solution.cuts)
    assert (problem.node_costs[np.arange(problem.num_nodes), solution.labels] < np.inf).all()
    assert (solution.cuts[problem.edge_costs == np.inf] == 0).all()
    assert (solution.cuts[problem.edge_costs == -np.inf] == 1).all()
    again = solve(problem, method, start=solution)
    assert again.cost <= solution.cost + 1e-6 * (1 + abs(solution.cost))
    from_labels = solve(problem, method, start=problem.node_costs.argmin(axis=1))
    assert is_feasible(problem, from_labels.labels, from_labels.cuts)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_constraints_do_not_blur_the_other_costs(dtype, scale):
    free = grid_problem(30, 40, num_labels=4, noise=0.5, seed=0)
    rng = np.random.default_rng(0)
    best = solve(free, "best")
    # Constraints that the solution keeps anyway must not make the method find much less.
    node_costs = free.node_costs.copy()
    forbidden = rng.random(node_costs.shape) < 0.2
    forbidden[np.arange(len(node_costs)), best.labels] = False
    node_costs[forbidden] = np.inf
    edge_costs = free.edge_costs.copy()
    chosen = rng.random(len(edge_costs)) < 0.05
    edge_costs[chosen] = np.where(best.cuts[chosen] == 1, -np.inf, np.inf)
    problem = AMWC(
        (scale * node_costs).astype(dtype), free.edges, (scale * edge_costs).astype(dtype), free.partitionable
    )
    kept = free.edge_costs[chosen & (best.cuts == 1)].sum()
    solution = solve(problem, "best")
    assert solution.cost == pytest.approx(scale * (best.cost - kept), rel=0.01)


def test_must_links_of_pairs_far_apart_make_one_segment_and_cannot_links_two():
    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 3]])
    far = multicut.solve(multicut.Multicut(4, edges, np.array([-1.0, -1.0, -1.0, np.inf])))
    assert far.segments.tolist() == [0, 1, 2, 0]
    near = multicut.solve(multicut.Multicut(4, edges, np.array([3.0, 2.0, 3.0, -np.inf])))
    assert near.segments.tolist() == [0, 0, 1, 1]
    assert near.cost == 2.0


def test_multiway_cut_keeps_constraints():
    node_costs = np.array([[0.0, 1.0], [np.inf, 0.0], [0.0, 5.0]])
    edges = np.array([[0, 1], [1, 2], [0, 2]])
    problem = mwc.MWC(node_costs, edges, np.array([4.0, -np.inf, 1.0]))
    # Node 1 has label 1, so node 2 label 0; node 0 pays 4 there or 1 + 1 at label 1.
    solution = mwc.solve(problem)
    assert solution.labels.tolist() == [1, 1, 0]
    assert solution.cost == 2.0 == mwc.solve_exact(problem).cost


def test_a_start_that_breaks_constraints_is_made_to_keep_them():
    problem = AMWC(np.array([[np.inf, 3.0], [0.0, 3.0]]), [[0, 1]], np.array([9.0]), np.array([True, True]))
    assert solve(problem, "fast", start=np.zeros(2, int)).labels.tolist() == [1, 1]


INF = np.inf


@pytest.mark.parametrize(
    ("node_costs", "edges", "edge_costs", "message"),
    [
        ([[0.0, INF], [INF, 0.0]], [[0, 1]], [INF], "nodes 0, 1 must be linked, but no label is allowed"),
        ([[0.0, 0.0]] * 3, [[0, 1], [1, 2], [0, 2]], [INF, INF, -INF], "nodes 0 and 2 must be cut"),
        ([[INF, 0.0]] * 2, [[0, 1]], [-INF], "nodes 0, 1 must be cut from each other"),
    ],
)
def test_contradictions_are_refused_by_node(node_costs, edges, edge_costs, message):
    # Label 0 may be split, label 1 not.
    problem = AMWC(np.array(node_costs), np.array(edges), np.array(edge_costs), np.array([True, False]))
    for solver in (solve, solve_exact, lower_bound):
        with pytest.raises(ValueError, match=message):
            solver(problem)


def test_three_mutually_cut_nodes_need_three_labels_that_may_not_be_split():
    edges, costs = np.array([[0, 1], [1, 2], [0, 2]]), np.full(3, -np.inf)
    with pytest.raises(ValueError, match="nodes 0, 1, 2 must be cut from each other"):
        mwc.solve(mwc.MWC(np.zeros((3, 2)), edges, costs))
    assert sorted(mwc.solve(mwc.MWC(np.zeros((3, 3)), edges, costs)).labels) == [0, 1, 2]


def test_a_label_that_is_not_forbidden_has_to_be_left_and_costs_are_no_nan():
    with pytest.raises(ValueError, match="node_costs allow no label at node 1"):
        AMWC(np.array([[0.0], [np.inf]]), np.empty((0, 2), int), np.empty(0), np.ones(1, bool))
    with pytest.raises(ValueError, match=r"not -inf, got -inf at \[0, 0\]"):
        AMWC(np.array([[-np.inf]]), np.empty((0, 2), int), np.empty(0), np.ones(1, bool))
    with pytest.raises(ValueError, match=r"edge_costs must be no NaN, got NaN at \[0\]"):
        AMWC(np.zeros((2, 1)), np.array([[0, 1]]), np.array([np.nan]), np.ones(1, bool))


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2**31), st.integers(1, 7), st.integers(1, 3))
def test_colourings_are_found_exactly_where_there_are_some(seed, count, num_labels):
    rng = np.random.default_rng(seed)
    costs = np.where(rng.random((count, num_labels)) < 0.3, np.inf, rng.normal(size=(count, num_labels)))
    chosen = [(u, v) for u in range(count) for v in range(u) if rng.random() < 0.5]
    pairs = np.array(chosen, int).reshape(-1, 2)
    possible = any(
        (costs[np.arange(count), labels] < np.inf).all()
        and (np.array(labels)[pairs[:, 0]] != np.array(labels)[pairs[:, 1]]).all()
        for labels in np.ndindex(*[num_labels] * count)
    )
    found = list_colouring(costs, pairs)
    assert isinstance(found, np.ndarray) == possible
    if possible:
        assert (costs[np.arange(count), found] < np.inf).all()
        assert (found[pairs[:, 0]] != found[pairs[:, 1]]).all()
