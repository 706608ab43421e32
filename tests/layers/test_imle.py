"""IMLELayer against its definition with enumerated noise, and in expectation where that has a closed form."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from difflayers import AdaptiveTarget, BlackboxLayer, IMLELayer, gumbel_noise, sum_of_gamma_noise
from difflayers.functional import imle
from difflayers.layers.noise import Noise

COSTS = torch.tensor([0.3, -0.4, 0.1, 1.0], dtype=torch.float64)
INCOMING = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)


def cheapest_item(costs):
    return np.eye(costs.shape[1])[costs.argmin(axis=1)]


def cheapest_two(costs):
    chosen = np.argsort(costs, axis=1)[:, :2]
    return np.stack([np.isin(np.arange(costs.shape[1]), row) for row in chosen])


def enumerated(values, items):
    """Noise whose samples are all the combinations of some values, one after another."""
    table = np.array(list(itertools.product(values, repeat=items)))
    return len(table), Noise("enumerated", lambda generator, shape: np.tile(table[:, None], (1, shape[1], 1)))


def gradient(layer, costs, incoming, **options):
    costs = costs.clone().requires_grad_()
    return torch.autograd.grad(layer(costs, **options), costs, incoming)[0]


@pytest.mark.parametrize("solver", [cheapest_item, cheapest_two])
@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_gradient_is_the_expected_difference_under_enumerated_noise(solver, scale):
    values, sigma = (-1.01, 0.247, 0.83), 0.5
    samples, noise = enumerated(values, 4)
    layer = IMLELayer(solver, scale, sigma, samples, noise, batched=True)
    costs, incoming = torch.stack([COSTS, -COSTS]), torch.stack([INCOMING, INCOMING.flip(0)])

    expected, mean = torch.zeros(2, 4).double(), torch.zeros(2, 4).double()
    for noise_vector in itertools.product(values, repeat=4):
        perturbed = costs - sigma * torch.tensor(noise_vector).double()
        here = torch.tensor(solver(perturbed.numpy())).double()
        there = torch.tensor(solver((perturbed + scale * incoming).numpy())).double()
        mean += here / samples
        expected += (there - here) / (scale * samples)
    assert expected.abs().sum() > 0.1
    assert_close(layer(costs), mean)
    assert_close(gradient(layer, costs, incoming), expected)


@pytest.mark.parametrize("noise", [gumbel_noise(5), sum_of_gamma_noise(1, terms=2000, seed=5)])
def test_gumbel_noise_gives_the_difference_of_two_softmins(noise):
    # A sum of Gammas for k = 1 tends to the Gumbel distribution itself.
    scale, sigma, samples, repetitions = 0.8, 0.7, 200, 40
    layer = IMLELayer(cheapest_item, scale, sigma, samples, noise, batched=True)
    costs = COSTS.expand(repetitions, 4).clone().requires_grad_()
    y = layer(costs)
    (estimates,) = torch.autograd.grad(y, costs, INCOMING.expand_as(costs))
    here, there = (torch.softmax(-c / sigma, 0) for c in (COSTS, COSTS + scale * INCOMING))
    for values, expected in ((y.detach(), here), (estimates, (there - here) / scale)):
        error = values.std(0) / math.sqrt(repetitions)
        assert ((values.mean(0) - expected).abs() <= 5 * error).all()


def test_without_much_noise_it_is_blackbox_differentiation():
    costs = torch.randn(16, 4, generator=torch.Generator().manual_seed(1)).double()
    incoming = torch.randn(16, 4, generator=torch.Generator().manual_seed(2)).double()
    expected = gradient(BlackboxLayer(cheapest_item, 2.0, batched=True), costs, incoming)
    assert_close(gradient(IMLELayer(cheapest_item, 2.0, 1e-9, batched=True), costs, incoming), expected)


def test_the_backward_pass_uses_the_noise_of_the_forward_pass():
    seen = []

    def solver(costs):
        seen.append(costs)
        return cheapest_item(costs)

    costs, incoming = COSTS.repeat(3, 1), INCOMING.repeat(3, 1)
    incoming[1] = 0
    gradient(IMLELayer(solver, 0.5, samples=2, batched=True), costs, incoming)
    forward, backward = seen
    np.testing.assert_allclose(backward, forward[[0, 2, 3, 5]] + 0.5 * INCOMING.numpy())


def test_all_samples_are_solved_in_one_call_with_their_contexts():
    calls = []

    def solver(costs, context):
        calls.append(context)
        return cheapest_item(costs)

    costs, incoming = COSTS.repeat(3, 1), INCOMING.repeat(3, 1)
    incoming[1] = 0
    gradient(IMLELayer(solver, samples=2, batched=True), costs, incoming, context=["a", "b", "c"])
    assert calls == [["a", "b", "c"] * 2, ["a", "c"] * 2]


def test_functional_and_layer_give_the_same():
    options = {"scales": 0.5, "sigma": 0.7, "samples": 4, "batched": True}
    result = gradient(
        lambda c: imle(cheapest_item, c, noise=gumbel_noise(3), **options), COSTS[None], INCOMING[None]
    )
    layer = IMLELayer(cheapest_item, noise=gumbel_noise(3), **options)
    assert_close(result, gradient(layer, COSTS[None], INCOMING[None]))


def test_the_adaptive_step_is_relative_to_costs_and_gradient():
    # ‖c‖ = 5 and ‖g‖ = 2, so λ = α · 2.5 = 5: item 1 at 4 + 5·2 > 3 leaves item 0.
    costs, incoming = torch.tensor([[-3.0, -4.0]]).double(), torch.tensor([[0.0, 2.0]]).double()
    layer = IMLELayer(cheapest_item, AdaptiveTarget(alpha=2.0), 1e-9, batched=True)
    assert_close(gradient(layer, costs, incoming), torch.tensor([[1.0, -1.0]]).double() / 5)
    # A step of α = 0.1, λ = 0.25, is too short.
    layer = IMLELayer(cheapest_item, AdaptiveTarget(alpha=0.1), 1e-9, batched=True)
    assert_close(gradient(layer, costs, incoming), torch.zeros(1, 2).double())


def test_alpha_follows_how_many_entries_change():
    costs, incoming = torch.tensor([[-3.0, -4.0]]).double(), torch.tensor([[0.0, 2.0]]).double()
    # Worked by hand: two entries change while λ = 2.5 α > 0.5, that is α > 0.2, and none below.
    target = AdaptiveTarget(alpha=0.25, step=0.04, decay=0.5)
    layer = IMLELayer(cheapest_item, target, 1e-9, batched=True)
    path = []
    for _ in range(5):
        gradient(layer, costs, incoming)
        path.append((round(target.average, 6), round(target.alpha, 6)))
    assert path == [(1.5, 0.21), (1.75, 0.17), (0.875, 0.21), (1.4375, 0.17), (0.71875, 0.21)]


def test_alpha_starts_from_zero_where_told_so():
    target = AdaptiveTarget(alpha=0.0, step=0.5)
    layer = IMLELayer(cheapest_item, target, batched=True)
    assert_close(gradient(layer, COSTS[None], INCOMING[None]), torch.zeros(1, 4).double())
    assert target.alpha == 0.5


def test_batches_without_gradient_leave_alpha_alone():
    target = AdaptiveTarget()
    gradient(IMLELayer(cheapest_item, target, batched=True), COSTS[None], 0 * INCOMING[None])
    assert (target.alpha, target.average) == (1.0, 1.0)


def test_each_instance_has_a_step_of_its_own():
    costs = torch.stack([COSTS, 100 * COSTS])
    incoming = -torch.stack([INCOMING, INCOMING])
    layer = IMLELayer(cheapest_item, AdaptiveTarget(alpha=2.0), 1e-9, batched=True)
    result = gradient(layer, costs, incoming)
    assert result[0].abs().sum() > 0
    assert_close(result[1], result[0] / 100)


def test_the_adaptive_state_is_in_the_state_dict():
    costs, incoming = torch.tensor([[-3.0, -4.0]]).double(), torch.tensor([[0.0, 2.0]]).double()
    layer = IMLELayer(cheapest_item, AdaptiveTarget(alpha=0.25, step=0.04, decay=0.5), batched=True)
    for _ in range(3):
        gradient(layer, costs, incoming)
    resumed = IMLELayer(cheapest_item, AdaptiveTarget(alpha=9.0, step=0.04, decay=0.5), batched=True)
    resumed.load_state_dict(layer.state_dict())
    for _ in range(3):
        assert_close(gradient(resumed, costs, incoming), gradient(layer, costs, incoming))
    assert resumed.scales.state_dict() == layer.scales.state_dict()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: IMLELayer(cheapest_item, 0.0), "scales must be positive and finite, got 0.0"),
        (lambda: IMLELayer(cheapest_item, sigma=math.inf), "sigma must be positive and finite"),
        (lambda: IMLELayer(cheapest_item, samples=True), "samples must be an integer of at least 1"),
        (lambda: AdaptiveTarget(alpha=-1.0), "alpha must be positive and finite, got -1.0"),
        (lambda: AdaptiveTarget(decay=1.0), "decay must be at least 0 and below 1, got 1.0"),
    ],
)
def test_wrong_arguments_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
