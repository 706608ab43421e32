"""RegularizedLayer against closed-form projections, enumeration and finite differences."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq, linear_sum_assignment
from torch.testing import assert_close

from difflayers import RegularizedLayer
from difflayers.functional import regularized


def cheapest_item(costs):
    return np.eye(len(costs))[costs.argmin()]


def cheapest_three(costs):
    chosen = np.zeros(len(costs))
    chosen[np.argsort(costs)[:3]] = 1
    return chosen


def assignment(costs):
    solution = np.zeros_like(costs)
    solution[linear_sum_assignment(costs)] = 1
    return solution


def sparsemax(scores):
    """Projection onto the simplex by sorting (Martins and Astudillo 2016, Algorithm 1)."""
    ordered = np.sort(scores)[::-1]
    thresholds = (np.cumsum(ordered) - 1) / np.arange(1, len(scores) + 1)
    return np.maximum(scores - thresholds[ordered > thresholds][-1], 0)


def capped_simplex(scores, k):
    """Projection onto {0 ≤ y ≤ 1, Σ y = k}: shift and clip."""
    shift = brentq(
        lambda s: np.clip(scores - s, 0, 1).sum() - k, scores.min() - 2, scores.max() + 1, xtol=1e-14
    )
    return np.clip(scores - shift, 0, 1)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def gradient(layer, costs, incoming):
    costs = costs.clone().requires_grad_()
    return torch.autograd.grad(layer(costs), costs, incoming)[0]


def finite_differences(layer, costs, incoming, step=1e-6):
    result = torch.zeros_like(costs)
    for place in itertools.product(*(range(size) for size in costs.shape[1:])):
        shift = torch.zeros_like(costs)
        shift[:, *place] = step
        slope = (layer(costs + shift) - layer(costs - shift)) / (2 * step)
        result[:, *place] = (slope * incoming).flatten(1).sum(1)
    return result


@pytest.mark.parametrize("strength", [0.01, 0.3, 2.0, 50.0])
def test_picking_one_item_is_sparsemax(strength):
    costs = randn(8, 20)
    expected = np.stack([sparsemax(-c / strength) for c in costs.numpy()])
    result = RegularizedLayer(cheapest_item, strength)(costs)
    assert_close(result, torch.tensor(expected), atol=1e-9, rtol=0)


@pytest.mark.parametrize("strength", [0.01, 0.3, 2.0, 50.0])
def test_picking_three_items_is_projection_onto_the_capped_simplex(strength):
    costs = randn(8, 12)
    expected = np.stack([capped_simplex(-c / strength, 3) for c in costs.numpy()])
    result = RegularizedLayer(cheapest_three, strength)(costs)
    assert_close(result, torch.tensor(expected), atol=1e-9, rtol=0)


@pytest.mark.parametrize("strength", [0.05, 0.7, 20.0])
def test_no_matching_lies_downhill_from_the_regularised_one(strength):
    # ⟨c + ω y, y − v⟩ ≤ 0 for every vertex v is optimality, certified by enumeration.
    vertices = np.array([np.eye(4)[list(order)] for order in itertools.permutations(range(4))])
    costs = randn(6, 4, 4)
    result = RegularizedLayer(assignment, strength)(costs)
    for c, y in zip(costs.numpy(), result.numpy(), strict=True):
        slope = c + strength * y
        assert (slope * (y - vertices)).sum(axis=(1, 2)).max() <= 1e-9 * strength
        np.testing.assert_allclose(y.sum(0), 1)
        np.testing.assert_allclose(y.sum(1), 1)
        assert y.min() >= 0


@given(costs=arrays(np.float64, 6, elements=st.floats(-3, 3, width=32)), strength=st.floats(0.05, 20))
@settings(max_examples=60, deadline=None)
def test_no_solution_lies_downhill_from_the_result(costs, strength):
    layer = RegularizedLayer(cheapest_three, strength)
    y = layer(torch.tensor(costs)[None])[0].numpy()
    slope = costs + strength * y
    assert slope @ y <= slope @ cheapest_three(slope) + 1e-6 * strength
    assert y.min() >= -1e-12
    assert y.max() <= 1 + 1e-12
    assert abs(y.sum() - 3) < 1e-9


@pytest.mark.parametrize(
    ("solver", "shape"), [(cheapest_item, (7,)), (cheapest_three, (7,)), (assignment, (4, 4))]
)
@pytest.mark.parametrize("strength", [0.3, 1.0, 10.0])
def test_gradient_against_finite_differences(solver, shape, strength):
    costs, incoming = randn(6, *shape, seed=1), randn(6, *shape, seed=2)
    layer = RegularizedLayer(solver, strength)
    expected = finite_differences(layer, costs, incoming)
    assert expected.abs().sum() > 0.1
    assert_close(gradient(layer, costs, incoming), expected, atol=1e-6, rtol=1e-6)


def test_gradient_of_sparsemax_in_closed_form():
    # −(g − mean of g over the support) / ω on the support, 0 elsewhere.
    costs, incoming, strength = randn(5, 9, seed=3), randn(5, 9, seed=4), 0.8
    layer = RegularizedLayer(cheapest_item, strength)
    support = layer(costs) > 0
    mean = (incoming * support).sum(1, keepdim=True) / support.sum(1, keepdim=True)
    assert_close(gradient(layer, costs, incoming), -(incoming - mean) * support / strength)


def test_a_small_strength_leaves_the_solution_and_no_gradient():
    costs, incoming = randn(4, 6), randn(4, 6, seed=1)
    layer = RegularizedLayer(cheapest_three, 1e-6)
    assert_close(layer(costs), torch.tensor(np.stack([cheapest_three(c) for c in costs.numpy()])))
    assert_close(gradient(layer, costs, incoming), torch.zeros(4, 6).double())


def test_several_costs_are_parts_of_one_vector():
    def split(first, second):
        chosen = cheapest_three(np.concatenate([first, second.ravel()]))
        return chosen[:2], chosen[2:].reshape(2, 3)

    costs, incoming = randn(4, 8), randn(4, 8, seed=1)
    whole = RegularizedLayer(cheapest_three)
    parts = [costs[:, :2].clone().requires_grad_(), costs[:, 2:].reshape(4, 2, 3).clone().requires_grad_()]
    y = RegularizedLayer(split)(*parts)
    assert_close(torch.cat([part.flatten(1) for part in y], 1), whole(costs))
    results = torch.autograd.grad(y, parts, [incoming[:, :2], incoming[:, 2:].reshape(4, 2, 3)])
    assert_close(torch.cat([r.flatten(1) for r in results], 1), gradient(whole, costs, incoming))


def test_single_precision_is_exact_to_single_precision():
    costs = randn(8, 30)
    exact = RegularizedLayer(cheapest_item, 0.5)(costs)
    assert_close(RegularizedLayer(cheapest_item, 0.5)(costs.float()), exact.float())


def test_infinite_costs_stay_out_of_the_mixture():
    costs = randn(3, 6)
    costs[:, 2] = torch.inf
    others = [0, 1, 3, 4, 5]
    layer = RegularizedLayer(cheapest_item)
    incoming = randn(3, 6, seed=1)
    y, result = layer(costs), gradient(layer, costs, incoming)
    assert_close(y[:, others], layer(costs[:, others]))
    assert_close(result[:, others], gradient(layer, costs[:, others], incoming[:, others]))
    assert y[:, 2].abs().max() == result[:, 2].abs().max() == 0


def test_instances_that_are_done_are_not_asked_about_again():
    sizes = []

    def solver(costs, context):
        sizes.append(context)
        return np.stack([cheapest_item(c) for c in costs])

    # Far apart: one item, done at the second call. Equal: all three items, by the fourth.
    costs = torch.tensor([[0.0, 9.0, 9.0], [0.0, 0.0, 0.0]])
    RegularizedLayer(solver, batched=True)(costs, context=["apart", "equal"])
    assert sizes[:2] == [["apart", "equal"]] * 2
    assert sizes[2:] == [["equal"]] * len(sizes[2:])
    assert len(sizes) == 4


def test_the_limit_on_iterations_ends_inside_the_hull():
    costs = randn(3, 40)
    calls = []

    def counted(c):
        calls.append(1)
        return cheapest_item(c)

    y = RegularizedLayer(counted, 100.0, iterations=5)(costs)
    assert len(calls) == 15
    assert_close(y.sum(1), torch.ones(3).double())
    assert ((y > 0).sum(1) == 5).all()


def test_a_heuristic_that_answers_at_random_still_ends_inside_the_hull():
    generator = np.random.default_rng(0)
    layer = RegularizedLayer(lambda c: np.eye(8)[generator.integers(8)], iterations=1000)
    y = layer(randn(5, 8))
    assert_close(y.sum(1), torch.ones(5).double())
    assert (y >= 0).all()


def test_functional_and_layer_give_the_same():
    costs, incoming = randn(4, 6), randn(4, 6, seed=1)
    expected = gradient(RegularizedLayer(cheapest_three, 0.5), costs, incoming)
    result = gradient(lambda c: regularized(cheapest_three, c, strength=0.5), costs, incoming)
    assert_close(result, expected)


@pytest.mark.parametrize("name", ["strength", "iterations", "tolerance"])
def test_wrong_arguments_are_named(name):
    with pytest.raises(ValueError, match=f"^{name} must be"):
        RegularizedLayer(cheapest_item, **{name: 0})
