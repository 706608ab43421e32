"""Ranking losses by hand, and their gradients against autograd of the formula over all feasible solutions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers.engine.pool import SolutionPool
from difflayers.functional import ranking_loss
from difflayers.losses import RankingLoss
from tests.losses.polytopes import POLYTOPES, Enumeration, drawn_costs, simplex

KINDS = ("pointwise", "pairwise", "listwise")
polytopes = st.sampled_from(sorted(POLYTOPES))
seeds = st.integers(0, 2**32 - 1)


def knowing_all(points, kind, **options):
    """A loss whose pool has every feasible solution, and that does not call the solver any more."""
    loss = RankingLoss(Enumeration(points), kind, reduction="none", pool=SolutionPool(0), **options)
    zeros = torch.zeros(points.shape, dtype=torch.float64)
    loss(zeros, true_costs=zeros, true_solutions=torch.tensor(points))
    loss.solver.function.calls.clear()
    return loss


@pytest.mark.parametrize(
    ("kind", "value", "gradient"),
    [
        ("pointwise", (4 + 0 + 1) / 3, [2 * 2 / 3, 0, -2 * 1 / 3]),
        # The best under the true costs is item 0; item 1 is predicted 2 cheaper, item 2 is 1 cheaper.
        ("pairwise", (2 + 1) / 2, [1, -0.5, -0.5]),
        ("listwise", None, None),
    ],
)
def test_by_hand(kind, value, gradient):
    costs = torch.tensor([[3.0, 1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    true_costs = torch.tensor([[1.0, 1.0, 3.0]], dtype=torch.float64)
    if kind == "listwise":
        wanted = np.exp([-1.0, -1, -3]) / np.exp([-1.0, -1, -3]).sum()
        predicted = np.exp([-3.0, -1, -2]) / np.exp([-3.0, -1, -2]).sum()
        value, gradient = -(wanted * np.log(predicted)).sum(), wanted - predicted
    loss = knowing_all(simplex(3), kind)(costs, true_costs=true_costs)
    loss.sum().backward()
    torch.testing.assert_close(loss.detach(), torch.tensor([value], dtype=torch.float64))
    torch.testing.assert_close(costs.grad, torch.tensor(np.array([gradient])))


def formula(kind, predicted, true, margin, temperature):
    if kind == "pointwise":
        return ((predicted - true) ** 2).mean(1)
    if kind == "listwise":
        return torch.nn.functional.cross_entropy(
            -predicted / temperature, (-true / temperature).softmax(1), reduction="none"
        )
    losses = []
    for scores, truth in zip(predicted, true, strict=True):
        best = int(truth.argmin())
        others = [scores[best] - scores[k] + margin for k in range(len(scores)) if k != best]
        losses.append(torch.stack(others).clamp(min=0).mean())
    return torch.stack(losses)


@settings(deadline=None, max_examples=60)
@given(polytopes, st.integers(0, 2**31), st.sampled_from(KINDS), st.floats(0, 2), st.floats(0.2, 5))
def test_value_and_gradient_over_all_feasible_solutions(name, seed, kind, margin, temperature):
    points = POLYTOPES[name]
    costs, true_costs = drawn_costs(points, 2 * seed, 2)
    costs.requires_grad_()
    loss = knowing_all(points, kind, margin=margin, temperature=temperature)
    values = loss(costs, true_costs=true_costs)
    flat = torch.tensor(points.reshape(len(points), -1))
    expected = formula(kind, costs.flatten(1) @ flat.T, true_costs.flatten(1) @ flat.T, margin, temperature)
    torch.testing.assert_close(values, expected)
    for ours, theirs in zip(
        torch.autograd.grad(values.sum(), costs), torch.autograd.grad(expected.sum(), costs), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    assert loss.solver.function.calls == []


@settings(deadline=None, max_examples=40)
@given(polytopes, seeds, st.sampled_from(KINDS))
def test_true_costs_have_the_smallest_loss_and_no_gradient(name, seed, kind):
    costs, true_costs = drawn_costs(POLYTOPES[name], seed, 2)
    loss = knowing_all(POLYTOPES[name], kind)
    at_truth = true_costs.clone().requires_grad_()
    smallest = loss(at_truth, true_costs=true_costs)
    smallest.sum().backward()
    assert at_truth.grad.abs().max() < 1e-12
    assert (loss(costs, true_costs=true_costs) >= smallest - 1e-9).all()


@settings(deadline=None, max_examples=40)
@given(polytopes, seeds, st.sampled_from(KINDS))
def test_is_convex(name, seed, kind):
    here, there, true_costs = drawn_costs(POLYTOPES[name], seed, 3)
    loss = knowing_all(POLYTOPES[name], kind)
    at_here, middle, at_there = (
        loss(costs, true_costs=true_costs) for costs in (here, (here + there) / 2, there)
    )
    assert (middle <= (at_here + at_there) / 2 + 1e-9).all()


def test_what_the_solver_finds_for_predicted_costs_enters_the_pool():
    loss = RankingLoss(Enumeration(simplex(3)), "pointwise", reduction="none", pool=SolutionPool(1))
    true_costs = torch.tensor([[1.0, 1.0, 3.0]])
    first = loss(torch.tensor([[0.0, 1.0, 2.0]]), true_costs=true_costs)
    second = loss(torch.tensor([[5.0, 3.0, 4.0]]), true_costs=true_costs)
    assert first.item() == (0 - 1) ** 2
    assert second.item() == ((5 - 1) ** 2 + (3 - 1) ** 2) / 2


def test_what_cannot_be_is_refused():
    solver = Enumeration(simplex())
    with pytest.raises(ValueError, match=r"kind must be one of .* got 'triplewise'"):
        RankingLoss(solver, "triplewise")
    with pytest.raises(ValueError, match="margin must be finite and not negative, got -1"):
        RankingLoss(solver, margin=-1)
    with pytest.raises(ValueError, match="temperature must be positive and finite, got 0"):
        RankingLoss(solver, temperature=0)
    with pytest.raises(TypeError, match="pool must be a SolutionPool that is kept from call to call"):
        ranking_loss(solver, torch.zeros(2, 4), true_costs=torch.zeros(2, 4))
