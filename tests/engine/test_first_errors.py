"""What a newcomer's first mistakes are told."""

import functools

import numpy as np
import pytest
import torch

import difflayers
from difflayers import BlackboxLayer, SolverError
from difflayers.losses import SPOPlusLoss


def cheapest(costs):
    return np.eye(len(costs))[costs.argmin()]


@pytest.mark.parametrize("place", [0, 1])
def test_a_solver_that_returns_its_objective_too_is_told_which_part_to_return(place):
    def solver(costs):
        pair = (cheapest(costs), float(costs.min()))
        return pair if place == 0 else pair[::-1]

    with pytest.raises(
        SolverError, match=rf"Return only the solution: lambda costs: solver\(costs\)\[{place}\]"
    ):
        BlackboxLayer(solver)(torch.rand(2, 3))


def test_a_solver_that_returns_two_arrays_for_one_cost_is_told_to_return_one():
    with pytest.raises(SolverError, match=r"Return only the solution: lambda costs: solver\(costs\)\[0\]"):
        BlackboxLayer(lambda c: (cheapest(c), cheapest(c)))(torch.rand(2, 3))


def test_a_forgotten_batched_is_suggested():
    with pytest.raises(SolverError, match=r"If the solver takes the whole batch at once, set batched=True"):
        BlackboxLayer(difflayers.solvers.TopK(1))(torch.rand(2, 3))


def test_a_missing_batch_dimension_is_suggested():
    with pytest.raises(
        SolverError, match=r"Costs of shape \(3,\) are 3 instances of one number.*costs\[None\]"
    ):
        BlackboxLayer(cheapest)(torch.rand(3))


def test_a_missing_batch_dimension_is_suggested_for_a_batched_solver_too():
    with pytest.raises(SolverError, match=r"Costs of shape \(3,\) .* needs a batch dimension: costs\[None\]"):
        BlackboxLayer(difflayers.solvers.TopK(1), batched=True)(torch.rand(3))


def test_a_solver_of_tensors_that_returns_its_objective_too_is_told_which_part_to_return():
    def solver(costs):
        return torch.eye(3)[costs.argmin(1)], costs.amin(1)

    with pytest.raises(SolverError, match=r"got a tuple of 2\. Return only .* solver\(costs\)\[0\]"):
        BlackboxLayer(solver, tensors=True)(torch.rand(2, 3))


def test_true_costs_must_be_tensors():
    with pytest.raises(TypeError, match=r"true_costs must be a tensor, or a list.*got a ndarray"):
        SPOPlusLoss(cheapest)(torch.rand(2, 3), true_costs=np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("context", "text"),
    [
        ({"a": torch.zeros(2), "b": torch.zeros(2)}, "got a dict. A collated dict becomes one by"),
        ("ab", "got a str"),
        ({1, 2}, "got a set"),
    ],
)
def test_a_context_is_a_list_with_one_object_per_instance(context, text):
    with pytest.raises(TypeError, match=f"context must be a list of one object per instance, {text}"):
        BlackboxLayer(lambda c, _: cheapest(c))(torch.rand(2, 3), context=context)


def test_a_graph_is_no_list_of_contexts():
    networkx = pytest.importorskip("networkx")
    with pytest.raises(TypeError, match="one object per instance, got a Graph"):
        BlackboxLayer(lambda c, _: cheapest(c))(torch.rand(3, 3), context=networkx.path_graph(3))


def test_maximize_is_refused_for_solvers_that_minimise():
    solver = difflayers.solvers.TopK(1)
    assert solver.sense == "minimize"
    for given in (solver, functools.partial(solver), solver.__call__):
        with pytest.raises(
            ValueError, match=r"maximize=True, but .* minimizes.*lambda rewards: solver\(-rewards\)"
        ):
            BlackboxLayer(given, batched=True, maximize=True)
    rewards = torch.tensor([[3.0, 1.0, 2.0]])
    wrapped = BlackboxLayer(lambda r: solver(-r), batched=True, maximize=True)
    assert wrapped(rewards).tolist() == [[1.0, 0.0, 0.0]]


def test_a_loss_refuses_a_warm_start_that_it_could_not_use():
    with pytest.raises(ValueError, match="warm_start must be False for SPOPlusLoss"):
        SPOPlusLoss(cheapest, warm_start=True)


def test_complex_solutions_are_refused():
    with pytest.raises(SolverError, match="real numbers"):
        BlackboxLayer(lambda c: c + 1j, tensors=True)(torch.rand(2, 3))
