"""SciPy's solvers, wrapped."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint
from torch.testing import assert_close

import difflayers
from difflayers import wrap

WEIGHTS = np.array([2.0, 3.0, 4.0, 5.0])


def knapsack(capacity=7):
    return wrap.milp(LinearConstraint(WEIGHTS, ub=capacity), bounds=Bounds(0, 1))


def best_by_enumeration(values, capacity):
    sets = [np.array(taken) for taken in itertools.product([0, 1], repeat=4) if WEIGHTS @ taken <= capacity]
    return max(sets, key=lambda taken: values @ taken)


def test_milp_is_a_solver_in_one_line():
    values = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).double()
    layer = difflayers.BlackboxLayer(knapsack())
    expected = np.stack([best_by_enumeration(row, 7) for row in values.numpy()])
    assert_close(layer(-values), torch.tensor(expected, dtype=torch.float64))


def test_a_context_takes_the_place_of_the_constraints():
    values = torch.ones(2, 4, dtype=torch.float64)
    layer = difflayers.BlackboxLayer(knapsack())
    small, large = (LinearConstraint(WEIGHTS, ub=capacity) for capacity in (4, 14))
    assert layer(-values, context=[small, large]).sum(1).tolist() == [1, 4]


def test_variables_may_have_any_shape_and_be_continuous():
    solver = wrap.milp(LinearConstraint(np.ones(4), lb=1.5), integrality=[1, 0, 0, 0], bounds=Bounds(0, 1))
    costs = np.array([[1.0, 3.0], [2.0, 4.0]])
    assert_close(torch.tensor(solver(costs)), torch.tensor([[1.0, 0.0], [0.5, 0.0]], dtype=torch.float64))


def test_infeasible_instances_can_be_passed_over():
    costs = torch.ones(2, 4, dtype=torch.float64)
    feasible, never = LinearConstraint(WEIGHTS, ub=7), LinearConstraint(WEIGHTS, lb=100)
    with pytest.raises(difflayers.SolverError, match="instance 1: The problem is infeasible"):
        difflayers.BlackboxLayer(knapsack())(costs, context=[feasible, never])
    layer = difflayers.BlackboxLayer(knapsack(), on_failure="skip")
    y = layer(costs, context=[feasible, never])
    assert y[0].tolist() == [0, 0, 0, 0]
    assert y[1].isnan().all()


def test_linear_sum_assignment_matches_and_says_when_it_cannot():
    costs = torch.tensor([[[4.0, 1, 3], [2, 0, 5], [3, 2, 2]]])
    layer = difflayers.BlackboxLayer(wrap.linear_sum_assignment)
    assert layer(costs)[0].tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    costs[0, 0] = torch.inf
    with pytest.raises(difflayers.SolverError, match="instance 0: cost matrix is infeasible"):
        layer(costs)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda solver: pickle.loads(pickle.dumps(solver))])
def test_wrapped_solvers_can_be_copied(copied):
    values = np.array([-3.0, -2.0, -2.0, -4.0])
    assert np.array_equal(copied(knapsack())(values), knapsack()(values))


def test_what_milp_leaves_out_is_zero_and_not_minus_zero():
    solver = wrap.milp(LinearConstraint(np.array([2.0, 3.0, 4.0, 5.0]), ub=7), bounds=Bounds(0, 1))
    solution = solver(np.array([-3.0, -4.0, -5.0, -7.0]))
    np.testing.assert_array_equal(solution, [1, 0, 0, 1])
    assert not np.signbit(solution).any()
