"""Multicut by parts of the graph: feasible, bounded from below, and what the parts agree on is kept."""

import itertools

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers import blockwise, lifted_multicut, multicut
from difflayers.amwc import evaluate, is_feasible
from difflayers.graph import grid_edges
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.multicut import Multicut


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


@st.composite
def instances(draw):
    """A small multicut, and parts that may overlap, be empty, or leave nodes and edges out."""
    n = draw(st.integers(2, 7))
    node = st.integers(0, n - 1)
    edge = st.tuples(node, node).filter(lambda e: e[0] != e[1])
    edges = draw(st.lists(edge, min_size=1, max_size=14))
    cost = st.integers(-6, 6) | st.floats(-3, 3).map(lambda x: round(x, 3))
    costs = draw(st.lists(cost, min_size=len(edges), max_size=len(edges)))
    parts = draw(st.lists(st.lists(node, max_size=n), max_size=4))
    problem = Multicut(n, np.array(edges), np.array(costs, float))
    return problem, [np.array(part, int) for part in parts]


@settings(deadline=None, max_examples=30)
@given(instances())
def test_the_optimum_lies_between_the_bound_of_the_parts_and_the_cost(instance):
    problem, parts = instance
    solution = blockwise.solve(problem, parts, bound=True)
    optimum = multicut.solve_exact(problem)
    assert optimum.proven_optimal
    assert solution.lower_bound <= optimum.cost + 1e-12
    assert optimum.cost <= solution.cost + 1e-9
    assert is_feasible(problem.as_amwc, solution.labels, solution.cuts)
    assert solution.cost == evaluate(problem.as_amwc, solution.labels, solution.cuts)


@st.composite
def lifted_instances(draw):
    """A small lifted multicut on a tree and some edges more, and parts as above."""
    problem, parts = draw(instances())
    node = st.integers(0, problem.num_nodes - 1)
    pair = st.tuples(node, node).filter(lambda e: e[0] != e[1])
    pairs = draw(st.lists(pair, min_size=1, max_size=8))
    costs = draw(st.lists(st.integers(-6, 6), min_size=len(pairs), max_size=len(pairs)))
    lifted = np.array(pairs), np.array(costs, float)
    return LiftedMulticut(problem.num_nodes, problem.edges, problem.edge_costs, *lifted), parts


def least_cost(problem):
    """The optimum by trying every partition whose segments are connected."""
    least = np.inf
    for segments in itertools.product(range(problem.num_nodes), repeat=problem.num_nodes):
        first_seen = all(s <= max(segments[:i], default=-1) + 1 for i, s in enumerate(segments))
        if first_seen and lifted_multicut.is_feasible(problem, np.array(segments)):
            least = min(least, lifted_multicut.evaluate(problem, np.array(segments)))
    return least


@settings(deadline=None, max_examples=40)
@given(lifted_instances().filter(lambda instance: instance[0].num_nodes <= 5))
def test_the_same_holds_with_lifted_edges(instance):
    problem, parts = instance
    solution = blockwise.solve(problem, parts, bound=True)
    optimum = least_cost(problem)
    assert solution.lower_bound <= optimum + 1e-9
    assert optimum <= solution.cost + 1e-9
    assert lifted_multicut.is_feasible(problem, solution.segments)
    assert solution.cost == lifted_multicut.evaluate(problem, solution.segments)


def grid_instance(seed=0, side=40):
    rng = np.random.default_rng(seed)
    edges = grid_edges((side, side), [1])
    return Multicut(side**2, edges, rng.normal(size=len(edges)) + 0.3)


def squares(side, step, halo):
    nodes = np.arange(side**2).reshape(side, side)
    starts = range(0, side, step)
    return [
        nodes[max(0, i - halo) : i + step + halo, max(0, j - halo) : j + step + halo].ravel()
        for i in starts
        for j in starts
    ]


@pytest.mark.parametrize("halo", [0, 2])
def test_parts_come_close_to_the_whole_and_so_do_their_bounds(halo):
    for seed in range(3):
        problem = grid_instance(seed)
        whole, bound = multicut.solve(problem), multicut.lower_bound(problem)
        found = blockwise.solve(problem, squares(40, 20, halo), bound=True)
        assert found.cost <= whole.cost + 0.01 * abs(whole.cost)
        assert found.lower_bound <= found.cost
        assert found.lower_bound >= bound - 0.06 * abs(bound)
        fast = blockwise.solve(problem, squares(40, 20, halo), method="fast")
        assert fast.cost <= whole.cost + 0.02 * abs(whole.cost)


def test_one_part_with_all_nodes_has_the_bound_of_the_whole():
    problem = grid_instance(side=12)
    found = blockwise.solve(problem, [np.arange(144)], bound=True)
    assert found.lower_bound == pytest.approx(multicut.lower_bound(problem))
    assert found.cost <= multicut.solve(problem).cost + 1e-9


def test_without_parts_the_whole_is_solved_and_the_negative_costs_are_the_bound():
    problem = grid_instance(side=12)
    found = blockwise.solve(problem, [], bound=True)
    costs = problem.edge_costs
    assert found.lower_bound == pytest.approx(costs[costs < 0].sum())
    assert found.cost <= multicut.solve(problem).cost + 1e-9


def test_parts_may_be_named_in_any_order_and_twice():
    problem = grid_instance(side=16)
    parts = squares(16, 8, 1)
    shuffled = [np.concatenate([part, part[:5]])[::-1] for part in parts]
    expected, found = (blockwise.solve(problem, own, bound=True) for own in (parts, shuffled))
    assert np.array_equal(found.segments, expected.segments)
    assert found.lower_bound == expected.lower_bound


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ([np.array([0.0])], TypeError, r"parts must be integers \(k,\), but part 0 is float64"),
        ([np.array([0]), np.array([3])], ValueError, "parts must have nodes from 0 to 2, but part 1"),
        ([np.array([-1])], ValueError, "parts must have nodes from 0 to 2, but part 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_number(parts, error, message):
    with pytest.raises(error, match=message):
        blockwise.solve(Multicut(3, np.array([[0, 1]]), np.ones(1)), parts)


def test_infinite_costs_are_refused():
    with pytest.raises(ValueError, match="edge_costs must be finite, got infinity at 0"):
        blockwise.solve(Multicut(3, np.array([[0, 1]]), np.array([np.inf])), [])


def test_a_folder_of_other_costs_is_refused(tmp_path):
    problem, parts = grid_instance(side=12), squares(12, 6, 1)
    found = blockwise.solve(problem, parts, folder=tmp_path)
    assert blockwise.solve(problem, parts, folder=tmp_path).cost == found.cost
    other = Multicut(144, problem.edges, 2 * problem.edge_costs)
    with pytest.raises(ValueError, match="holds a run with checksum of the problem="):
        blockwise.solve(other, parts, folder=tmp_path)


def test_other_problems_are_refused_by_type():
    with pytest.raises(TypeError, match="problem must be a Multicut or a LiftedMulticut, got a AMWC"):
        blockwise.solve(grid_instance(side=4).as_amwc, [])


def test_a_method_that_does_not_exist_names_the_part():
    with pytest.raises(blockwise.BlockError, match=r'part 0: ValueError: method must be .*"quick"|part 0'):
        blockwise.solve(grid_instance(side=4), [np.arange(16)], method="quick")
