"""Score-function gradients against closed forms, within their standard error."""

import math

import numpy as np
import pytest
import torch

from difflayers import gumbel_noise, losses, solvers, tasks
from difflayers.layers.noise import Noise, gaussian_noise

VARIATES = ("none", "mean", "solution", "antithetic")


def normal_cdf(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def normal_density(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def estimates(loss, parameters, true, calls=1, **arguments):
    """Gradients (calls · B, …) of independent instances, all with the same parameters (…)."""
    batch = 4000
    found = []
    for _ in range(calls):
        tensor = parameters.expand(batch, *parameters.shape).clone().requires_grad_()
        value = loss(tensor, true_parameters=true.expand(batch, *true.shape), **arguments)
        value.sum().backward()
        found.append((value.detach(), tensor.grad))
    return tuple(torch.cat(part) for part in zip(*found, strict=True))


def within_its_error(samples, expected):
    """Whether the mean of independent estimates is within four standard errors."""
    error = samples.std(0) / math.sqrt(len(samples))
    return bool(((samples.mean(0) - torch.as_tensor(expected)).abs() <= 4 * error).all())


def order(demand):
    return demand


def newsvendor_cost(ordered, demand):
    return (3 * np.maximum(demand - ordered, 0) + np.maximum(ordered - demand, 0)).sum(axis=1)


@pytest.mark.parametrize("variate", VARIATES)
def test_a_newsvendor_has_the_loss_and_gradient_of_the_closed_form(variate):
    predicted, demand, sigma = torch.tensor([5.0, 2.0]).double(), torch.tensor([6.0, 1.5]).double(), 1.5
    expected, gradient = 0.0, []
    for p, d in zip(predicted.tolist(), demand.tolist(), strict=True):
        u = (p - d) / sigma
        over = sigma * (u * normal_cdf(u) + normal_density(u))  # E max(p + σZ − d, 0)
        expected += over + 3 * (over - (p - d))
        gradient.append(normal_cdf(u) - 3 * (1 - normal_cdf(u)))
    loss = losses.ScoreFunctionLoss(
        order, newsvendor_cost, sigma, 4, control_variate=variate, reduction="none", batched=True
    )
    values, gradients = estimates(loss, predicted, demand)
    assert within_its_error(values, expected)
    assert within_its_error(gradients, gradient)


@pytest.mark.parametrize("variate", VARIATES)
def test_a_knapsack_with_predicted_weights_has_the_gradient_of_the_closed_form(variate):
    # Both items fit if their predicted weights add up to 10 at most, and otherwise the first is taken. In
    # truth they weigh 11, so that the second item has to be taken out again.
    two = tasks.TwoStageKnapsack(np.array([5.0, 4.0]), 10.0, remove=1.5, add=0.5)
    predicted, true, sigma = torch.tensor([4.5, 5.0]).double(), torch.tensor([5.5, 5.5]).double(), 0.8
    u = (10 - predicted.sum().item()) / (sigma * math.sqrt(2))
    both, first = -5.0 - 4 + 1.5 * 4, -5.0
    expected = normal_cdf(u) * both + (1 - normal_cdf(u)) * first
    slope = -normal_density(u) / (sigma * math.sqrt(2)) * (both - first)
    loss = losses.ScoreFunctionLoss(
        two, two.objective, sigma, 4, control_variate=variate, reduction="none", batched=True
    )
    values, gradients = estimates(loss, predicted, true)
    assert within_its_error(values, expected)
    assert within_its_error(gradients, [slope, slope])


def test_every_baseline_lowers_the_variance():
    predicted, demand = torch.tensor([5.0]).double(), torch.tensor([9.0]).double()
    spread = {}
    for variate in VARIATES:
        loss = losses.ScoreFunctionLoss(
            order, newsvendor_cost, 1.0, 8, control_variate=variate, reduction="none", batched=True
        )
        spread[variate] = estimates(loss, predicted, demand)[1].var().item()
    assert max(spread[variate] for variate in VARIATES[1:]) < 0.25 * spread["none"]


def test_predicted_costs_have_the_gradient_of_the_softmin():
    # With Gumbel noise subtracted, the cheapest of n items is drawn from softmin(c).
    costs, true = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 1.0, 2.0]).double()
    noise = Noise("minus gumbel", _minus_gumbel, lambda z: -gumbel_noise().score(-z))
    loss = losses.ScoreFunctionLoss(
        solvers.TopK(1), tasks.linear, 1.0, 6, noise, "mean", reduction="none", batched=True
    )
    p = (-costs).softmax(0)
    values, gradients = estimates(loss, costs, true)
    assert within_its_error(values, (p * true).sum())
    assert within_its_error(gradients, -p * (true - (p * true).sum()))


def _minus_gumbel(generator, shape):
    return -generator.gumbel(size=shape)


def test_common_random_numbers_are_those_of_all_instances_and_calls():
    two = torch.tensor([[5.0], [5.0]]).double()
    demand = torch.tensor([[9.0], [9.0]]).double()
    loss = losses.ScoreFunctionLoss(
        order, newsvendor_cost, 1.0, 4, gaussian_noise(3), common=True, reduction="none", batched=True
    )
    first, again = (loss(two, true_parameters=demand) for _ in range(2))
    assert torch.equal(first, again)
    assert first[0] == first[1]
    # Their difference between two predictions is exactly that of the demand that was missed.
    assert (loss(two - 0.5, true_parameters=demand) - first).tolist() == pytest.approx([1.5, 1.5])
    own = losses.ScoreFunctionLoss(order, newsvendor_cost, 1.0, 4, reduction="none", batched=True)
    assert own(two, true_parameters=demand)[0] != own(two, true_parameters=demand)[0]


def test_decisions_of_another_shape_and_several_parameters_are_taken():
    def pack(weights, capacity):
        taken = solvers.Knapsack(np.zeros(3), 0.0)(
            -np.ones((len(weights), 3)), list(zip(np.abs(weights), np.abs(capacity[:, 0]), strict=True))
        )
        return taken, taken.sum(axis=1, keepdims=True)

    def missing(decisions, true):
        return 3.0 - decisions[0].sum(axis=1) + 0 * true[0][:, 0] * true[1][:, 0]

    loss = losses.ScoreFunctionLoss(pack, missing, 0.5, 50, batched=True)
    weights, capacity = torch.ones(8, 3, requires_grad=True), torch.full((8, 1), 2.0, requires_grad=True)
    loss([weights, capacity], true_parameters=[weights.detach(), capacity.detach()]).backward()
    assert (weights.grad.sum(1) > 0).all()  # lighter items and a larger capacity would serve
    assert capacity.grad.mean() < 0
    total = losses.ScoreFunctionLoss(
        lambda w: w.sum(axis=1, keepdims=True), lambda y, w: y[:, 0], batched=True
    )
    value, mean = total(weights, true_parameters=weights.detach(), return_solution=True)
    assert mean.shape == (8, 1)
    assert value.item() == pytest.approx(mean.mean().item(), rel=1e-6)


def test_impossible_arguments_are_refused_by_name():
    build = losses.ScoreFunctionLoss
    with pytest.raises(TypeError, match="objective must be callable, got a float"):
        build(order, 1.0)
    with pytest.raises(ValueError, match="control_variate 'mean' needs at least 2 samples"):
        build(order, newsvendor_cost, samples=1)
    with pytest.raises(ValueError, match="needs an even number of samples and symmetric noise"):
        build(order, newsvendor_cost, samples=3, control_variate="antithetic")
    with pytest.raises(ValueError, match="noise must have a score"):
        build(order, newsvendor_cost, noise=Noise("some", _minus_gumbel))
    with pytest.raises(ValueError, match=r"objective must return shape \(20,\), got \(20, 3\)"):
        build(order, lambda y, p: y, batched=True)(torch.ones(2, 3), true_parameters=torch.ones(2, 3))
