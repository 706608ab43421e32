"""LPGDLayer against the envelopes of its definition, minimized by enumeration."""

import itertools

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from difflayers import BlackboxLayer, LPGDLayer
from difflayers.functional import lpgd

# Every solution there is: the subsets of four items that hold one or two of them.
FEASIBLE = np.array([y for y in itertools.product([0.0, 1.0], repeat=4) if 1 <= sum(y) <= 2])


def cheapest(costs):
    """W(c): the cheapest feasible subset, by enumeration."""
    return FEASIBLE[np.argmin(FEASIBLE @ costs)]


def batch(seed=0, size=12):
    generator = torch.Generator().manual_seed(seed)
    costs = torch.randn(size, 4, generator=generator, dtype=torch.float64)
    return costs, torch.randn(size, 4, generator=generator, dtype=torch.float64)


def gradient(layer, costs, incoming):
    costs = costs.clone().requires_grad_()
    return torch.autograd.grad(layer(costs), costs, incoming)[0]


def envelope(name, c, g, nearest, tau, rho):
    """The value of an envelope at costs c, with y* held at `nearest`."""
    inverse = 0 if rho is None else 1 / (2 * rho)
    cost = FEASIBLE @ c - (FEASIBLE @ c).min()
    apart = inverse * ((FEASIBLE - nearest) ** 2).sum(1)
    lower = (FEASIBLE @ g + cost / tau + apart).min()
    upper = (FEASIBLE @ g - cost / tau - apart).max()
    return {"lower": lower, "upper": upper, "average": (lower + upper) / 2}[name]


@pytest.mark.parametrize("rho", [None, 0.5, 3.0])
@pytest.mark.parametrize("name", ["lower", "upper", "average"])
def test_gradient_is_the_slope_of_the_envelope(name, rho):
    costs, incoming = batch(seed=3)
    tau, step = 1.5, 1e-6
    result = gradient(LPGDLayer(cheapest, tau, name, rho), costs, incoming).numpy()
    assert np.abs(result).sum() > 1
    for c, g, row in zip(costs.numpy(), incoming.numpy(), result, strict=True):
        y = cheapest(c)
        slopes = [
            (envelope(name, c + e, g, y, tau, rho) - envelope(name, c - e, g, y, tau, rho)) / (2 * step)
            for e in step * np.eye(4)
        ]
        np.testing.assert_allclose(row, slopes, atol=1e-6)


def test_lower_is_blackbox_differentiation():
    costs, incoming = batch()
    expected = gradient(BlackboxLayer(cheapest, 2.0), costs, incoming)
    assert expected.abs().sum() > 0
    assert_close(gradient(LPGDLayer(cheapest, 2.0, "lower"), costs, incoming), expected)


def test_upper_is_blackbox_differentiation_against_the_loss():
    costs, incoming = batch()
    expected = -gradient(BlackboxLayer(cheapest, 2.0), costs, -incoming)
    assert_close(gradient(LPGDLayer(cheapest, 2.0, "upper"), costs, incoming), expected)


def test_a_large_tau_asks_for_the_solution_of_least_loss_as_frank_wolfe_does():
    costs, incoming = batch(seed=1)
    tau = 1e6
    moved = tau * gradient(LPGDLayer(cheapest, tau, "lower"), costs, incoming) + LPGDLayer(cheapest)(costs)
    assert_close(moved, torch.tensor(np.stack([cheapest(g) for g in incoming.numpy()])))


def test_a_large_tau_with_rho_takes_a_proximal_step_of_length_rho():
    # argmin over the solutions of ⟨g, y⟩ + ‖y − y*‖²/(2ρ) = the one nearest to y* − ρ g.
    costs, incoming = batch(seed=1)
    tau, rho = 1e6, 0.4
    start = LPGDLayer(cheapest)(costs)
    moved = tau * gradient(LPGDLayer(cheapest, tau, "lower", rho), costs, incoming) + start
    distances = ((torch.tensor(FEASIBLE) - (start - rho * incoming)[:, None]) ** 2).sum(2)
    assert_close(moved, torch.tensor(FEASIBLE)[distances.argmin(1)])
    assert not torch.equal(moved, start)


def test_a_small_tau_gives_the_derivative_where_there_is_one():
    # argmin ⟨c, y⟩ + ½‖y‖² over the box [0, 1]⁴ is smooth almost everywhere: y = clip(−c, 0, 1).
    costs, incoming = batch(seed=2)
    inside = (costs > -1) & (costs < 0)
    expected = torch.where(inside, -incoming, 0)
    for name in ("lower", "upper", "average"):
        layer = LPGDLayer(lambda c: np.clip(-c, 0, 1), 1e-7, name)
        assert_close(gradient(layer, costs, incoming), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "calls"), [("lower", 1), ("upper", 1), ("average", 2)])
def test_how_often_the_solver_is_called_in_the_backward_pass(name, calls):
    sizes = []

    def solver(costs):
        sizes.append(len(costs))
        return np.stack([cheapest(c) for c in costs])

    costs, incoming = batch(size=5)
    incoming[3] = 0
    gradient(LPGDLayer(solver, 1.0, name, batched=True), costs, incoming)
    assert sizes == [5, 4 * calls]


def test_functional_and_layer_give_the_same():
    costs, incoming = batch()
    result = gradient(lambda c: lpgd(cheapest, c, scales=2.0, envelope="upper", rho=1.0), costs, incoming)
    assert_close(result, gradient(LPGDLayer(cheapest, 2.0, "upper", 1.0), costs, incoming))


def test_rho_refuses_solutions_that_are_not_binary():
    with pytest.raises(ValueError, match=r"rho needs solutions of 0 and 1, but solution 0 holds 0\.5"):
        LPGDLayer(lambda c: np.full(4, 0.5), rho=1.0)(torch.zeros(2, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": 0.0}, "scales must be positive and finite, got 0.0"),
        ({"rho": -1.0}, "rho must be positive and finite, got -1.0"),
        ({"envelope": "mean"}, "envelope must be one of 'lower', 'upper', 'average', got 'mean'"),
    ],
)
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        LPGDLayer(cheapest, **options)
