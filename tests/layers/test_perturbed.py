"""PerturbedLayer where its expectation and Jacobian have closed forms.

Monte Carlo estimates are compared within 5 standard errors, estimated from independent repetitions.
"""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from difflayers import PerturbedLayer, gaussian_noise, gumbel_noise, sum_of_gamma_noise
from difflayers.functional import perturbed
from difflayers.layers.noise import Noise

DRAWS, REPETITIONS = 500, 64  # a batch of equal instances, of which each has draws of its own


def cheapest_item(costs):
    return np.eye(costs.shape[1])[costs.argmin(axis=1)]


def bought(prices):
    """Buy at a negative price: W(c) = 1 where c < 0, for instances of a single number."""
    return prices < 0


def layer_of(solver, **options):
    return PerturbedLayer(solver, samples=DRAWS, batched=True, **options)


def repeated(layer, costs, incoming=None):
    """REPETITIONS independent estimates of y(c) and, for an incoming gradient, of its pull-back."""
    costs = costs.expand(REPETITIONS, *costs.shape).clone().requires_grad_()
    y = layer(costs)
    if incoming is None:
        return y.detach()
    return torch.autograd.grad(y, costs, incoming.expand_as(y))[0]


def assert_mean(estimates, expected):
    error = estimates.std(0) / math.sqrt(len(estimates))
    assert ((estimates.mean(0) - expected).abs() <= 5 * error + 1e-12).all(), (estimates.mean(0), expected)


COSTS = torch.tensor([0.3, -0.4, 0.1, 1.0], dtype=torch.float64)
INCOMING = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)


def softmin_pull_back(costs, incoming, sigma):
    p = torch.softmax(-costs / sigma, 0)
    return -(p * incoming - p * (p @ incoming)) / sigma


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_gumbel_noise_makes_the_cheapest_item_a_softmin(sigma):
    layer = layer_of(cheapest_item, sigma=sigma, noise=gumbel_noise(3))
    assert_mean(repeated(layer, COSTS), torch.softmax(-COSTS / sigma, 0))


@pytest.mark.parametrize("control_variate", ["none", "mean", "solution"])
@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_gumbel_noise_has_the_jacobian_of_a_softmin(sigma, control_variate):
    layer = layer_of(cheapest_item, sigma=sigma, noise=gumbel_noise(4), control_variate=control_variate)
    assert_mean(repeated(layer, COSTS, INCOMING), softmin_pull_back(COSTS, INCOMING, sigma))


@pytest.mark.parametrize("control_variate", ["none", "mean", "solution", "antithetic"])
@pytest.mark.parametrize("price", [-0.7, 0.0, 1.1])
def test_gaussian_noise_makes_a_threshold_the_normal_distribution_function(price, control_variate):
    # E[1(c − σ Z < 0)] = P(Z > c/σ), whose slope is −φ(c/σ)/σ.
    sigma = 0.8
    layer = layer_of(bought, sigma=sigma, control_variate=control_variate, noise=gaussian_noise(7))
    price = torch.tensor(price, dtype=torch.float64)
    normal = torch.distributions.Normal(0.0, 1.0)
    assert_mean(repeated(layer, price), 1 - normal.cdf(price / sigma))
    slopes = repeated(layer, price, torch.tensor(2.0).double())
    assert_mean(slopes, -2 * normal.log_prob(price / sigma).exp() / sigma)


@pytest.mark.parametrize("control_variate", ["none", "mean", "solution", "antithetic"])
@pytest.mark.parametrize("price", [-1.5, 0.4])
def test_multiplicative_noise_against_the_lognormal_distribution(price, control_variate):
    # Buy where the price is below b = −1 or above ½, with price · exp(σZ − σ²/2) keeping its sign:
    # for c > 0, P(c e^{σZ − σ²/2} > b) = Φ((log(c/b) − σ²/2)/σ), with slope φ(·)/(σ c).
    sigma = 0.6
    layer = layer_of(
        lambda c: (c < -1) | (c > 0.5),
        sigma=sigma,
        perturbation="multiplicative",
        control_variate=control_variate,
    )
    border = -1 if price < 0 else 0.5
    argument = torch.tensor((math.log(price / border) - sigma**2 / 2) / sigma).double()
    normal = torch.distributions.Normal(0.0, 1.0)
    price = torch.tensor(price, dtype=torch.float64)
    assert_mean(repeated(layer, price), normal.cdf(argument))
    expected = normal.log_prob(argument).exp() / (sigma * price)
    assert_mean(repeated(layer, price, torch.ones(()).double()), expected)


def test_multiplicative_noise_leaves_zeros_and_signs_alone():
    seen = []

    def solver(costs):
        seen.append(costs)
        return cheapest_item(costs)

    costs = torch.tensor([[0.0, -1.0, 2.0]], requires_grad=True)
    layer = PerturbedLayer(solver, 5.0, 50, perturbation="multiplicative", batched=True)
    layer(costs).backward(torch.tensor([[1.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(np.sign(seen[0]), np.tile([0, -1, 1], (50, 1)))
    assert costs.grad[0, 0] == 0


def test_every_control_variate_lowers_the_variance_where_solutions_share_a_constant():
    # ⟨g, W⟩ is 10 and rarely more: without a baseline its noise is that of 10 · Z.
    costs, incoming = torch.tensor([0.0, 2.0]).double(), torch.tensor([10.0, 11.0]).double()
    spread = {
        control: repeated(layer_of(cheapest_item, control_variate=control), costs, incoming).std(0).norm()
        for control in ("none", "mean", "solution", "antithetic")
    }
    assert spread["mean"] < spread["none"] / 10
    assert spread["solution"] < spread["none"] / 10
    assert spread["antithetic"] < spread["none"] / 10


def test_estimates_are_unbiased_for_few_samples_too():
    # With 2 samples the mean of the *other* sample is the baseline; the mean of both would halve the slope.
    batch, sigma = 40_000, 1.0
    costs = torch.zeros(batch, dtype=torch.float64, requires_grad=True)
    for control_variate in ("mean", "solution", "antithetic"):
        layer = PerturbedLayer(bought, sigma, 2, control_variate=control_variate, batched=True)
        (slopes,) = torch.autograd.grad(layer(costs).sum(), costs)
        assert_mean(slopes, torch.tensor(-1 / math.sqrt(2 * math.pi)))


def test_a_custom_distribution_brings_its_own_score():
    # Logistic noise on a threshold: E[1(c < Z)] is a sigmoid of −c; ∇ν(z) = tanh(z/2).
    logistic = Noise(
        "logistic", lambda generator, shape: generator.logistic(size=shape), lambda z: np.tanh(z / 2), True
    )
    price = torch.tensor(0.9, dtype=torch.float64)
    layer = layer_of(bought, noise=logistic)
    assert_mean(repeated(layer, price), torch.sigmoid(-price))
    slope = -torch.sigmoid(price) * torch.sigmoid(-price)
    assert_mean(repeated(layer, price, torch.ones(()).double()), slope)


def test_solutions_may_have_another_shape_than_the_costs():
    # Costs of three items, a 2 × 3 table as the solution: the choice and its complement.
    def table(costs):
        chosen = np.eye(3)[costs.argmin()]
        return np.stack([chosen, 1 - chosen])

    costs, sigma = COSTS[:3], 1.0
    layer = PerturbedLayer(table, sigma, 40, gumbel_noise(2))
    incoming = torch.tensor([[1.0, 0.0, 2.0], [0.5, 1.0, 0.0]]).double()
    y = layer(costs[None])
    assert y.shape == (1, 2, 3)
    assert_close(y.sum(1), torch.ones(1, 3).double())
    expected = softmin_pull_back(costs, incoming[0] - incoming[1], sigma)
    assert_mean(repeated(layer, costs, incoming), expected)


def test_several_costs_get_noise_of_their_own_and_share_the_loss():
    # Two items, one in each tensor, of which the cheaper is bought.
    def cheaper(first, second):
        return (first < second), (second <= first)

    layer = layer_of(cheaper, noise=gumbel_noise(6))
    costs = COSTS[:2]
    first, second = (c.expand(REPETITIONS).clone().requires_grad_() for c in costs)
    y, z = layer(first, second)
    assert_mean(torch.stack([y, z], 1).detach(), torch.softmax(-costs, 0))
    grads = torch.stack(torch.autograd.grad((3 * y - z).sum(), (first, second)), 1)
    assert_mean(grads, softmin_pull_back(costs, torch.tensor([3.0, -1.0]).double(), 1.0))


def test_infinite_costs_are_never_chosen_and_have_no_gradient():
    costs = torch.tensor([[torch.inf, 0.0, 0.5]], requires_grad=True)
    for perturbation in ("additive", "multiplicative"):
        layer = PerturbedLayer(cheapest_item, 1.0, 20, perturbation=perturbation, batched=True)
        y = layer(costs)
        (result,) = torch.autograd.grad(y, costs, torch.tensor([[1.0, 2.0, 3.0]]))
        assert y[0, 0] == 0
        assert result[0, 0] == 0
        assert result.isfinite().all()


@pytest.mark.parametrize(("control_variate", "solves"), [("mean", 6), ("antithetic", 6), ("solution", 7)])
def test_all_samples_are_solved_in_one_call_of_a_batched_solver(control_variate, solves):
    sizes = []

    def solver(costs, context):
        sizes.append((len(costs), context))
        return cheapest_item(costs)

    costs = torch.zeros(2, 3, requires_grad=True)
    layer = PerturbedLayer(solver, samples=6, control_variate=control_variate, batched=True)
    layer(costs, context=["a", "b"]).sum().backward()
    assert sizes == [(2 * solves, ["a", "b"] * solves)]


def test_functional_and_layer_give_the_same():
    costs = COSTS[None].clone().requires_grad_()
    layer = PerturbedLayer(cheapest_item, 0.7, 8, gumbel_noise(1), control_variate="solution", batched=True)
    expected = torch.autograd.grad(layer(costs), costs, INCOMING[None])[0]
    options = {"samples": 8, "noise": gumbel_noise(1), "control_variate": "solution", "batched": True}
    y = perturbed(cheapest_item, costs, sigma=0.7, **options)
    assert_close(torch.autograd.grad(y, costs, INCOMING[None])[0], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": -1.0}, "sigma must be positive and finite, got -1.0"),
        ({"samples": 0}, "samples must be an integer of at least 1, got 0"),
        ({"samples": 1}, "control_variate 'mean' needs at least 2 samples"),
        ({"samples": 3, "control_variate": "antithetic"}, "even number of samples"),
        ({"noise": gumbel_noise(), "control_variate": "antithetic"}, "symmetric noise"),
        ({"noise": sum_of_gamma_noise(2)}, "noise must have a score"),
        ({"perturbation": "Additive"}, "perturbation must be one of 'additive', 'multiplicative'"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        PerturbedLayer(cheapest_item, **options)
