import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers import amwc, contract, lifted_multicut, multicut
from difflayers.amwc import AMWC
from difflayers.graph import grid_edges
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.multicut import Multicut
from difflayers.mwc import MWC


@st.composite
def instances(draw):
    """Random arrays of a small problem, and segments without gaps."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    n, m = draw(st.integers(2, 9)), draw(st.integers(0, 20))
    first = rng.integers(0, n, m)
    edges = np.stack([first, (first + rng.integers(1, n, m)) % n], axis=1)
    segments = np.unique(rng.integers(0, draw(st.integers(1, n)), n), return_inverse=True)[1]
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return rng, n, edges, rng.integers(-8, 9, m).astype(dtype), segments


def random_partition(rng, size):
    return rng.integers(0, size, size)


@settings(deadline=None)
@given(instances())
def test_a_partition_of_the_segments_costs_the_same_in_both_multicuts(instance):
    rng, n, edges, costs, segments = instance
    problem = Multicut(n, edges, costs)
    coarse = contract(problem, segments)
    assert coarse.edge_costs.dtype == costs.dtype
    assert coarse.edges.tolist() == sorted(coarse.edges.tolist())
    for _ in range(5):
        part = random_partition(rng, coarse.num_nodes)
        cut = part[coarse.edges[:, 0]] != part[coarse.edges[:, 1]]
        fine = part[segments]
        fine_cut = fine[problem.edges[:, 0]] != fine[problem.edges[:, 1]]
        assert coarse.edge_costs[cut].sum() == costs[fine_cut].sum()


@settings(deadline=None)
@given(instances())
def test_a_partition_of_the_segments_costs_the_same_in_both_lifted_multicuts(instance):
    rng, n, edges, costs, segments = instance
    lifted, lifted_costs = edges[::-1], rng.integers(-5, 6, len(edges)).astype(costs.dtype)
    problem = LiftedMulticut(n, edges, costs, lifted, lifted_costs)
    coarse = contract(problem, segments)
    for _ in range(5):
        part = random_partition(rng, coarse.num_nodes)
        assert lifted_multicut.evaluate(coarse, part) == lifted_multicut.evaluate(problem, part[segments])


@settings(deadline=None)
@given(instances())
def test_labels_and_cuts_of_the_segments_cost_the_same_in_both_multiway_cuts(instance):
    rng, n, edges, costs, segments = instance
    node_costs = rng.integers(-9, 10, (n, 3)).astype(costs.dtype)
    things = np.array([True, False, True])
    problem = AMWC(node_costs, edges, costs, things)
    coarse = contract(problem, segments)
    assert np.array_equal(coarse.partitionable, things)
    for _ in range(5):
        labels, part = rng.integers(0, 3, coarse.num_nodes), random_partition(rng, coarse.num_nodes)
        cut = part[coarse.edges[:, 0]] != part[coarse.edges[:, 1]]
        fine_cut = part[segments][problem.edges[:, 0]] != part[segments][problem.edges[:, 1]]
        expected = amwc.evaluate(problem, labels[segments], fine_cut)
        assert amwc.evaluate(coarse, labels, cut) == expected
    potts = contract(MWC(node_costs, edges, costs), segments)
    assert isinstance(potts, MWC)
    assert np.array_equal(potts.node_costs, coarse.node_costs)
    assert np.array_equal(potts.edge_costs, coarse.edge_costs)


def test_solving_what_is_left_gives_a_feasible_solution_of_the_same_cost():
    rng = np.random.default_rng(0)
    edges = grid_edges((30, 30), [1])
    problem = Multicut(900, edges, rng.normal(size=len(edges)) + 0.2)
    first = multicut.solve(problem, "fast")
    coarse = contract(problem, first.segments)
    # Between the segments of a local optimum nothing attracts, so that the best is to cut all of it.
    solution = multicut.solve(coarse)
    fine = multicut.solve(problem, "fast", start=solution.segments[first.segments])
    assert solution.cost <= coarse.edge_costs.sum() + 1e-9
    assert coarse.edge_costs.sum() == pytest.approx(first.cost)
    assert fine.cost <= solution.cost + 1e-9


def test_infinite_costs_stay_constraints():
    edges, costs = np.array([[0, 1], [1, 2], [2, 3], [0, 3]]), np.array([np.inf, 1.0, -np.inf, 2.0])
    coarse = contract(Multicut(4, edges, costs), np.array([0, 0, 1, 2]))
    assert coarse.edges.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert coarse.edge_costs.tolist() == [1.0, 2.0, -np.inf]
    with pytest.raises(ValueError, match="segments join the ends of edge 2, whose cost of -inf"):
        contract(Multicut(4, edges, costs), np.array([0, 1, 2, 2]))
    linked = Multicut(4, edges, np.array([np.inf, 1.0, -np.inf, np.inf]))
    with pytest.raises(ValueError, match=r"segments \[0, 1\] must be joined and must be cut"):
        contract(linked, np.array([0, 1, 0, 1]))
    forbidden = AMWC(
        np.array([[np.inf, 1.0], [0.0, np.inf]]), np.array([[0, 1]]), np.ones(1), np.ones(2, bool)
    )
    with pytest.raises(ValueError, match="node_costs allow no label at node 0"):
        contract(forbidden, np.zeros(2, int))


@pytest.mark.parametrize(
    ("segments", "error", "message"),
    [
        (np.array([0, 2, 2]), ValueError, "numbered from 0 without gaps"),
        (np.array([-1, 0, 1]), ValueError, "numbered from 0"),
        (np.array([0, 1, 2**40]), ValueError, "numbered from 0"),
        (np.array([0, 1]), ValueError, r"segments must have shape \(3,\), got \(2,\)"),
        (np.zeros(3), TypeError, "segments must be integers, got float64"),
    ],
)
def test_segments_that_do_not_fit_are_refused(segments, error, message):
    with pytest.raises(error, match=message):
        contract(Multicut(3, np.array([[0, 1]]), np.ones(1)), segments)


def test_what_is_no_problem_is_refused():
    with pytest.raises(TypeError, match="problem must be a cut problem, got a tuple"):
        contract((3, 4), np.zeros(3, int))
