"""The regularized Fenchel–Young loss against projections, its definition and finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from difflayers.functional import regularized_fenchel_young_loss
from difflayers.losses import RegularizedFenchelYoungLoss
from tests.losses.polytopes import POLYTOPES, Enumeration, drawn_costs, simplex

polytopes = st.sampled_from(sorted(POLYTOPES))
seeds = st.integers(0, 2**32 - 1)


def lowest(points, costs, strength):
    """min ⟨c, y⟩ + (ω/2) ‖y‖² over the hull, by another algorithm: SLSQP on the weights of all points."""
    rows = points.reshape(len(points), -1)

    def value(weights):
        y = weights @ rows
        return costs.ravel() @ y + strength / 2 * y @ y

    def slope(weights):
        return rows @ (costs.ravel() + strength * (weights @ rows))

    start = np.full(len(rows), 1 / len(rows))
    total = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones_like(w)}
    found = minimize(
        value,
        start,
        jac=slope,
        bounds=[(0, 1)] * len(rows),
        constraints=total,
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    return found.fun


@settings(deadline=None, max_examples=15)
@given(polytopes, seeds, st.sampled_from([0.3, 2.0]))
def test_value_is_the_definition(name, seed, strength):
    points = POLYTOPES[name]
    costs, true = drawn_costs(points, seed, 2, batch=2)
    best = Enumeration(points, batched=True)(true.numpy())
    found = regularized_fenchel_young_loss(
        Enumeration(points), costs, true_solutions=torch.tensor(best), strength=strength, reduction="none"
    )
    for value, cost, y in zip(found.tolist(), costs.numpy(), best, strict=True):
        expected = (cost * y).sum() + strength / 2 * (y * y).sum() - lowest(points, cost, strength)
        assert value == pytest.approx(expected, abs=1e-5)
        assert value >= -1e-12


@settings(deadline=None, max_examples=15)
@given(polytopes, seeds)
def test_gradient_is_that_of_finite_differences_and_the_loss_convex(name, seed):
    points = POLYTOPES[name]
    costs, other, true = drawn_costs(points, seed, 3)
    best = torch.tensor(Enumeration(points, batched=True)(true.numpy()))
    loss = RegularizedFenchelYoungLoss(Enumeration(points), 0.7, reduction="sum")
    leaf = costs.clone().requires_grad_()
    loss(leaf, true_solutions=best).backward()
    direction, width = other - costs, 1e-5
    ahead, behind = (loss(costs + s * width * direction, true_solutions=best) for s in (1, -1))
    torch.testing.assert_close(
        (leaf.grad * direction).sum(), (ahead - behind) / (2 * width), atol=1e-3, rtol=1e-3
    )
    middle = loss((costs + other) / 2, true_solutions=best)
    assert middle <= (loss(costs, true_solutions=best) + loss(other, true_solutions=best)) / 2 + 1e-9


def test_one_of_n_items_has_the_sparsemax_loss():
    # Martins and Astudillo 2016, Eq. 14, for scores z = −c/ω: −z_k + ½ Σ_S (z_j² − τ²) + ½, times ω.
    strength, costs = 0.5, torch.tensor([[0.4, 0.1, 0.3, 2.0]], dtype=torch.float64)
    z = (-costs[0] / strength).numpy()
    ordered = np.sort(z)[::-1]
    sums = ordered.cumsum()
    size = max(k for k in range(1, 5) if 1 + k * ordered[k - 1] > sums[k - 1])
    threshold = (sums[size - 1] - 1) / size
    support = z > threshold
    expected = strength * (-z[0] + ((z**2 - threshold**2)[support].sum() + 1) / 2)
    value, mixed = regularized_fenchel_young_loss(
        Enumeration(simplex(4)),
        costs,
        true_solutions=torch.eye(4, dtype=torch.float64)[:1],
        strength=strength,
        return_solution=True,
    )
    assert value.item() == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(mixed[0], np.maximum(z - threshold, 0), atol=1e-12)


def test_it_is_zero_where_the_wanted_mixture_is_the_answer():
    solver, costs = Enumeration(simplex(3)), torch.tensor([[1.0, 1.0, 9.0]], dtype=torch.float64)
    half = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    assert regularized_fenchel_young_loss(solver, costs, true_solutions=half).item() == pytest.approx(
        0, abs=1e-12
    )
    other = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    assert regularized_fenchel_young_loss(solver, costs, true_solutions=other).item() == pytest.approx(0.25)


def test_wrong_arguments_are_refused():
    for arguments, text in (
        ({"strength": 0}, "strength must be positive"),
        ({"iterations": 0}, "iterations must be an integer of at least 1"),
        ({"tolerance": -1}, "tolerance must be positive"),
    ):
        with pytest.raises(ValueError, match=text):
            RegularizedFenchelYoungLoss(Enumeration(simplex(3)), **arguments)
