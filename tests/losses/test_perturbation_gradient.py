"""Perturbation gradients against finite differences of the enumerated value function."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers.losses import PerturbationGradientLoss
from tests.losses.polytopes import POLYTOPES, Enumeration, drawn_costs

polytopes = st.sampled_from(sorted(POLYTOPES))
seeds = st.integers(0, 2**32 - 1)
OFFSETS = {"backward": (0, -1), "forward": (1, 0), "central": (1, -1)}


def optimal_value(points, costs):
    return np.min([(costs * y).sum() for y in points])


@settings(deadline=None, max_examples=60)
@given(polytopes, seeds, st.sampled_from(sorted(OFFSETS)), st.floats(0.01, 2.0))
def test_value_is_the_finite_difference_of_the_optimal_value(name, seed, difference, step):
    points = POLYTOPES[name]
    costs, true_costs = drawn_costs(points, seed, 2)
    values = PerturbationGradientLoss(Enumeration(points), step, difference, "none")(
        costs, true_costs=true_costs
    )
    upper, lower = OFFSETS[difference]
    expected = [
        (optimal_value(points, c + upper * step * t) - optimal_value(points, c + lower * step * t))
        / (step * (upper - lower))
        for c, t in zip(costs.numpy(), true_costs.numpy(), strict=True)
    ]
    np.testing.assert_allclose(values, expected, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(polytopes, seeds, st.sampled_from(sorted(OFFSETS)))
def test_gradient_is_that_of_the_value(name, seed, difference):
    points = POLYTOPES[name]
    generator = np.random.default_rng(seed)
    costs, true_costs = (torch.tensor(generator.normal(size=(3, *points.shape[1:]))) for _ in range(2))
    loss = PerturbationGradientLoss(Enumeration(points), 0.5, difference, "sum")
    costs.requires_grad_()
    loss(costs, true_costs=true_costs).backward()
    direction = torch.tensor(generator.normal(size=costs.shape))
    width = 1e-7  # far less than how far a random point is from where the value function bends
    with torch.no_grad():
        slope = (
            loss(costs + width * direction, true_costs=true_costs)
            - loss(costs - width * direction, true_costs=true_costs)
        ) / (2 * width)
    torch.testing.assert_close((costs.grad * direction).sum(), slope, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(polytopes, seeds)
def test_backward_bounds_the_true_cost_of_the_decision_from_above_and_forward_from_below(name, seed):
    points = POLYTOPES[name]
    costs, true_costs = drawn_costs(points, seed, 2)
    solver = Enumeration(points)
    above, decisions = PerturbationGradientLoss(solver, 0.3, "backward", "none")(
        costs, true_costs=true_costs, return_solution=True
    )
    below, same = PerturbationGradientLoss(solver, 0.3, "forward", "none")(
        costs, true_costs=true_costs, return_solution=True
    )
    true_cost = (true_costs * decisions).flatten(1).sum(1)
    assert torch.equal(decisions, same)
    assert (above >= true_cost - 1e-9).all()
    assert (below <= true_cost + 1e-9).all()
    central = PerturbationGradientLoss(solver, 0.3, "central", "none")(costs, true_costs=true_costs)
    torch.testing.assert_close(central, (above + below) / 2)


def test_small_steps_give_the_true_cost_of_the_decision():
    points = POLYTOPES["matchings"]
    costs, true_costs = (torch.randn(6, 3, 3, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    solver = Enumeration(points)
    expected = [(t * solver(c)).sum() for c, t in zip(costs.numpy(), true_costs.numpy(), strict=True)]
    for difference in OFFSETS:
        loss = PerturbationGradientLoss(solver, 1e-4, difference, "none")
        # In float32, where a difference of two optimal values would have lost four digits.
        np.testing.assert_allclose(loss(costs, true_costs=true_costs), expected, rtol=1e-5)


@pytest.mark.parametrize("difference", sorted(OFFSETS))
def test_one_call_of_a_batched_solver_does_it_all(difference):
    solver = Enumeration(POLYTOPES["paths"], batched=True)
    costs, true_costs = drawn_costs(POLYTOPES["paths"], 0, 2)
    PerturbationGradientLoss(solver, difference=difference, batched=True)(costs, true_costs=true_costs)
    assert solver.calls == [2 * len(costs)]


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="step must be positive and finite, got 0"):
        PerturbationGradientLoss(Enumeration(POLYTOPES["paths"]), step=0)
    with pytest.raises(ValueError, match=r"difference must be one of .* got 'two-sided'"):
        PerturbationGradientLoss(Enumeration(POLYTOPES["paths"]), difference="two-sided")
