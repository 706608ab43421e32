"""The structured hinge against its maximum over every feasible solution."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers.losses import StructuredSVMLoss
from tests.losses.polytopes import POLYTOPES, Enumeration, drawn_costs

polytopes = st.sampled_from(sorted(POLYTOPES))
seeds = st.integers(0, 2**32 - 1)


def wanted(points, seed, batch):
    chosen = np.random.default_rng(seed + 1).integers(len(points), size=batch)
    return torch.tensor(points[chosen])


@settings(deadline=None, max_examples=60)
@given(polytopes, seeds, st.floats(0.1, 3.0))
def test_value_is_the_largest_margin_violation(name, seed, margin):
    points = POLYTOPES[name]
    (costs,) = drawn_costs(points, seed, 1)
    best = wanted(points, seed, len(costs))
    values = StructuredSVMLoss(Enumeration(points), margin, "none")(costs, true_solutions=best)
    expected = [
        max(margin * np.abs(y - b).sum() + (c * (b - y)).sum() for y in points)
        for c, b in zip(costs.numpy(), best.numpy(), strict=True)
    ]
    np.testing.assert_allclose(values, expected, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(polytopes, seeds)
def test_bounds_the_hamming_loss_of_the_decision(name, seed):
    points = POLYTOPES[name]
    (costs,) = drawn_costs(points, seed, 1)
    best = wanted(points, seed, len(costs))
    decisions = torch.tensor(Enumeration(points, batched=True)(costs.numpy()))
    values = StructuredSVMLoss(Enumeration(points), reduction="none")(costs, true_solutions=best)
    assert (values >= (decisions - best).abs().flatten(1).sum(1) - 1e-9).all()


@settings(deadline=None, max_examples=30)
@given(polytopes, seeds)
def test_is_zero_without_gradient_once_separated_by_the_margin(name, seed):
    points = POLYTOPES[name]
    best = wanted(points, seed, 4)
    costs = (1 - 2 * best).requires_grad_()  # ⟨ĉ, y − y*⟩ is the Hamming distance, the margin itself
    loss = StructuredSVMLoss(Enumeration(points), 0.9, "sum")(costs, true_solutions=best)
    loss.backward()
    assert loss == 0
    assert not costs.grad.any()
    too_much = StructuredSVMLoss(Enumeration(points), 1.1, "none")(costs, true_solutions=best)
    assert (too_much > 0).all()


@settings(deadline=None, max_examples=60)
@given(polytopes, seeds)
def test_is_convex_and_its_gradient_a_subgradient(name, seed):
    points = POLYTOPES[name]
    here, there = drawn_costs(points, seed, 2)
    best = wanted(points, seed, len(here))
    loss = StructuredSVMLoss(Enumeration(points), reduction="none")
    here.requires_grad_()
    at_here, at_there = loss(here, true_solutions=best), loss(there, true_solutions=best)
    assert (loss((here + there) / 2, true_solutions=best) <= (at_here + at_there) / 2 + 1e-9).all()
    (gradient,) = torch.autograd.grad(at_here.sum(), here)
    assert (at_there >= at_here + (gradient * (there - here)).flatten(1).sum(1) - 1e-9).all()


def test_one_of_n_is_the_multiclass_hinge():
    costs = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    classes = torch.arange(20) % 5
    best = torch.eye(5, dtype=torch.float64)[classes]
    # Two entries differ between two classes, so half the margin is Crammer and Singer's of 1.
    loss = StructuredSVMLoss(Enumeration(np.eye(5)), 0.5, "none")(costs, true_solutions=best)
    scores = -costs
    others = (1 + scores - scores.gather(1, classes[:, None])).masked_fill(best.bool(), 0)
    torch.testing.assert_close(loss, others.max(1).values)


def test_solutions_other_than_0_and_1_are_refused_with_their_instance():
    best = torch.eye(4)[[0, 1, 2]].clone()
    best[2, 0] = 0.5
    loss = StructuredSVMLoss(Enumeration(POLYTOPES["simplex"]))
    with pytest.raises(
        ValueError, match=r"true_solutions\[0\] must be 0 or 1, got another value in instance 2"
    ):
        loss(torch.randn(3, 4), true_solutions=best)
