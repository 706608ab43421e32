import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, milp

from difflayers.solvers import Knapsack
from difflayers.solvers import knapsack as kernels


def milp_cost(costs, weights, capacity):
    constraint = LinearConstraint(np.atleast_2d(weights), -np.inf, np.atleast_1d(capacity))
    finite = np.where(costs < np.inf, costs, 1e6)
    return milp(finite, constraints=constraint, integrality=np.ones(len(costs)), bounds=(0, 1)).fun


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 3), st.integers(0, 10**6), st.booleans())
def test_knapsacks_hold_what_milp_takes(num_items, num_dims, seed, real):
    rng = np.random.default_rng(seed)
    shape = (num_dims, num_items) if num_dims else (num_items,)
    weights = rng.integers(0, 9, shape)
    capacity = rng.integers(0, 25, shape[:-1])
    if real:
        weights, capacity = weights * 0.1, capacity * 0.1
    costs = rng.normal(size=(2, num_items)) - 0.5
    costs[rng.random(costs.shape) < 0.1] = np.inf
    for cost, taken in zip(costs, Knapsack(weights, capacity)(costs), strict=True):
        assert (weights @ taken <= capacity + 1e-9).all()
        assert cost[taken > 0].sum() == pytest.approx(milp_cost(cost, weights, capacity), abs=1e-6)


def test_table_and_branching_agree(monkeypatch):
    rng = np.random.default_rng(0)
    weights, costs = rng.integers(1, 40, 40), -rng.random((8, 40))
    table = Knapsack(weights, 200)(costs)
    monkeypatch.setattr(kernels, "MAX_TABLE", 0)
    np.testing.assert_array_equal(Knapsack(weights, 200)(costs), table)


def test_fifty_items_in_two_dimensions_are_filled_as_milp_does():
    rng = np.random.default_rng(1)
    weights = rng.integers(3, 9, (2, 50))
    capacity = weights.sum(axis=1) // 3
    costs = -(1 + 5 * rng.random((2, 50)))
    for cost, taken in zip(costs, Knapsack(weights, capacity)(costs), strict=True):
        assert cost @ taken == pytest.approx(milp_cost(cost, weights, capacity), abs=1e-6)


def test_items_that_do_not_help_stay_outside_and_weightless_ones_come_in():
    solver = Knapsack([0, 1, 0, 1], 0)
    assert solver(np.array([[-1.0, -1.0, 0.0, 2.0]])).tolist() == [[1, 0, 0, 0]]
    assert Knapsack([[0, 1, 0, 1]], [0])(np.array([[-1.0, -1.0, 0.0, 2.0]])).tolist() == [[1, 0, 0, 0]]
    assert Knapsack(np.empty(0, int), 3)(np.ones((2, 0))).shape == (2, 0)


def test_contexts_give_each_instance_its_capacity():
    costs = np.tile([-3.0, -2.0, -1.5], (3, 1))
    assert Knapsack([2, 1, 1], 0)(costs, [2, 3, 0]).tolist() == [[0, 1, 1], [1, 1, 0], [0, 0, 0]]
    two = Knapsack([[2, 1, 1], [1, 1, 1]], [9, 9])
    assert two(costs, [(9, 1), (1, 9), (3, 2)]).tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 0]]
    with pytest.raises(ValueError, match="that of instance 1 is"):
        Knapsack([2, 1, 1], 3)(costs, [1, -1, 1])
    with pytest.raises(ValueError, match="the context of instance 2 must have shape"):
        Knapsack([2, 1, 1], 3)(costs, [1, 1, (1, 2)])


def test_huge_capacities_need_no_table():
    taken = Knapsack(np.array([10**12, 1, 10**12]), 10**12 + 1)(np.array([[-2.0, -1.0, -3.0]]))
    assert taken.tolist() == [[0, 1, 1]]


@pytest.mark.parametrize(
    ("weights", "capacity", "error", "message"),
    [
        ([1, 2], [3], ValueError, "weights must have shape"),
        ([[1, 2]], 3, ValueError, "weights must have shape"),
        ([1, -2], 3, ValueError, "weights must be finite and non-negative"),
        ([1, 2], np.inf, ValueError, "capacity must be finite"),
        (["a", "b"], 3, TypeError, "weights must be real numbers"),
    ],
)
def test_impossible_knapsacks_are_refused_by_name(weights, capacity, error, message):
    with pytest.raises(error, match=message):
        Knapsack(weights, capacity)
