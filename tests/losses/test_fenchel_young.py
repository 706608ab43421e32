"""Fenchel–Young losses against enumeration of the same draws, and against softmax where it is exact."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers.layers.noise import gaussian_noise, gumbel_noise
from difflayers.losses import FenchelYoungLoss
from tests.losses.polytopes import POLYTOPES, Enumeration, drawn_costs

polytopes = st.sampled_from(sorted(POLYTOPES))
seeds = st.integers(0, 2**32 - 1)
perturbations = st.sampled_from(["additive", "multiplicative"])


def loss_of(points, perturbation="additive", sigma=0.7, samples=5, reduction="none", **options):
    """A loss whose first call draws the same noise every time."""
    return FenchelYoungLoss(
        Enumeration(points), sigma, samples, gaussian_noise(7), perturbation, reduction, **options
    )


def perturbed(costs, perturbation, sigma=0.7, samples=5):
    """What that first call makes of the costs: factors and perturbed costs, (samples, B, *shape)."""
    draws = gaussian_noise(7).draw((samples, *costs.shape))
    if perturbation == "additive":
        return np.ones_like(draws), costs - sigma * draws
    factors = np.exp(sigma * draws - sigma**2 / 2)
    return factors, costs * factors


def feasible(points, seed, batch=4):
    return torch.tensor(points[np.random.default_rng(seed + 1).integers(len(points), size=batch)])


@settings(deadline=None, max_examples=40)
@given(polytopes, seeds, perturbations)
def test_value_and_gradient_are_those_of_the_drawn_problems(name, seed, perturbation):
    points = POLYTOPES[name]
    (costs,) = drawn_costs(points, seed, 1)
    best = feasible(points, seed)
    costs.requires_grad_()
    values, mean = loss_of(points, perturbation)(costs, true_solutions=best, return_solution=True)
    values.sum().backward()

    factors, problems = perturbed(costs.detach().numpy(), perturbation)
    batch = Enumeration(points, batched=True)
    solutions = np.stack([batch(problem) for problem in problems])
    axes = tuple(range(2, problems.ndim))
    np.testing.assert_allclose(
        values.detach(), (problems * (best.numpy() - solutions)).sum(axes).mean(0), atol=1e-12
    )
    np.testing.assert_allclose(costs.grad, (factors * (best.numpy() - solutions)).mean(0), atol=1e-12)
    np.testing.assert_allclose(mean, solutions.mean(0), atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(polytopes, seeds, perturbations)
def test_is_convex_not_negative_and_its_gradient_a_subgradient(name, seed, perturbation):
    points = POLYTOPES[name]
    here, there = drawn_costs(points, seed, 2)
    best = feasible(points, seed)
    here.requires_grad_()
    at_here, at_there, middle = (
        loss_of(points, perturbation)(costs, true_solutions=best)
        for costs in (here, there, (here + there) / 2)
    )
    assert (at_there >= 0).all()
    assert (middle <= (at_here + at_there) / 2 + 1e-9).all()
    (gradient,) = torch.autograd.grad(at_here.sum(), here)
    assert (at_there >= at_here + (gradient * (there - here)).flatten(1).sum(1) - 1e-9).all()


@settings(deadline=None, max_examples=20)
@given(polytopes, seeds)
def test_gradient_is_zero_where_the_mean_solution_is_the_wanted_one(name, seed):
    points = POLYTOPES[name]
    (costs,) = drawn_costs(points, seed, 1)
    costs.requires_grad_()
    _, mean = loss_of(points)(costs, true_solutions=feasible(points, seed), return_solution=True)
    loss_of(points, reduction="sum")(costs, true_solutions=mean).backward()
    assert costs.grad.abs().max() < 1e-12


def test_top_one_with_gumbel_noise_is_softmax_cross_entropy():
    sigma, samples = 0.5, 20_000
    costs = torch.randn(3, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    classes = torch.tensor([0, 2, 3])
    best = torch.eye(4, dtype=torch.float64)[classes]

    def cheapest(costs):
        return np.eye(4)[costs.argmin(1)]

    loss = FenchelYoungLoss(cheapest, sigma, samples, gumbel_noise(1), reduction="none", batched=True)
    values = loss(costs.requires_grad_(), true_solutions=best)
    (gradient,) = torch.autograd.grad(values.sum(), costs)
    entropy = sigma * torch.nn.functional.cross_entropy(-costs / sigma, classes, reduction="none")
    (expected,) = torch.autograd.grad(entropy.sum(), costs)
    # Four standard errors: an indicator's deviation is at most 1/2, a gap's about σ times that of Gumbel's.
    torch.testing.assert_close(gradient, expected, atol=4 * 0.5 / samples**0.5, rtol=0)
    torch.testing.assert_close(values, entropy, atol=4 * 2.0 / samples**0.5, rtol=0)


def test_multiplicative_noise_keeps_the_signs_of_costs():
    seen = []

    def solver(costs):
        seen.append(costs)
        return np.eye(4)[costs.argmin()]

    costs = torch.tensor([[0.5, -1.0, 0.0, 2.0]])
    loss = FenchelYoungLoss(solver, sigma=3.0, samples=20, perturbation="multiplicative")
    loss(costs, true_solutions=torch.eye(4)[:1])
    assert all((np.sign(each) == [1, -1, 0, 1]).all() for each in seen)
    assert len({each.tobytes() for each in seen}) == 20


def test_all_samples_of_a_batch_go_through_one_call():
    solver = Enumeration(POLYTOPES["paths"], batched=True)
    (costs,) = drawn_costs(POLYTOPES["paths"], 0, 1)
    FenchelYoungLoss(solver, samples=6, batched=True)(costs, true_solutions=feasible(solver.points, 0))
    assert solver.calls == [6 * len(costs)]


def test_what_cannot_be_is_refused():
    solver = Enumeration(POLYTOPES["paths"])
    with pytest.raises(ValueError, match="sigma must be positive and finite, got -1"):
        FenchelYoungLoss(solver, sigma=-1)
    with pytest.raises(ValueError, match="samples must be an integer of at least 1, got 0"):
        FenchelYoungLoss(solver, samples=0)
    with pytest.raises(ValueError, match=r"perturbation must be one of .* got 'gamma'"):
        FenchelYoungLoss(solver, perturbation="gamma")
