"""IdentityLayer and its projections against Jacobians worked out by hand."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from difflayers import IdentityLayer
from difflayers.functional import identity


def cheapest(costs):
    """W(c): the cheapest item."""
    return np.eye(len(costs))[costs.argmin()]


def gradient(layer, costs, incoming):
    costs = costs.clone().requires_grad_()
    return torch.autograd.grad(layer(costs), costs, incoming)[0]


COSTS = torch.tensor([[3.0, 1.0, 2.0]])
INCOMING = torch.tensor([[1.0, 4.0, 1.0]])


def test_without_projection_the_gradient_is_turned_round():
    assert_close(gradient(IdentityLayer(cheapest, "none"), COSTS, INCOMING), -INCOMING)


def test_mean_takes_the_mean_out_of_the_gradient():
    result = gradient(IdentityLayer(cheapest, "mean"), COSTS, INCOMING)
    assert_close(result, torch.tensor([[1.0, -2.0, 1.0]]))


def test_norm_takes_the_direction_of_the_costs_out_of_the_gradient():
    # −(I − ĉ ĉᵀ) g / ‖c‖ for c = (3, 4): ĉ = (0.6, 0.8), and g = (5, 0) has 3 along ĉ.
    result = gradient(IdentityLayer(cheapest, "norm"), torch.tensor([[3.0, 4.0]]), torch.tensor([[5.0, 0.0]]))
    assert_close(result, torch.tensor([[-(5 - 1.8) / 5, 2.4 / 5]]))


def test_std_takes_out_mean_and_direction():
    # Centred c = (1, −1, 0), norm √2; centred g = (−1, 2, −1) has −3/√2 along it: rest (0.5, 0.5, −1).
    result = gradient(IdentityLayer(cheapest, "std"), COSTS, INCOMING)
    assert_close(result, torch.tensor([[-0.5, -0.5, 1.0]]) / 2**0.5)


def test_std_sees_neither_shift_nor_scale_of_the_costs():
    seen = []

    def solver(costs):
        seen.append(costs.copy())
        return cheapest(costs)

    layer = IdentityLayer(solver, "std")
    layer(COSTS.double()), layer(7 * COSTS.double() - 30)
    np.testing.assert_allclose(seen[0], np.array([1, -1, 0]) / 2**0.5)
    np.testing.assert_allclose(seen[1], seen[0])


def test_several_costs_have_a_mean_each_and_one_norm():
    seen = []

    def solver(first, second):
        seen.extend([first, second])
        return np.zeros(2), np.zeros((1, 2))

    IdentityLayer(solver, "std")(torch.tensor([[2.0, 8.0]]), torch.tensor([[[10.0, 18.0]]]))
    np.testing.assert_allclose(seen[0], np.array([-3, 3]) / 50**0.5)  # 2·3² + 2·4² = 50
    np.testing.assert_allclose(seen[1], np.array([[-4, 4]]) / 50**0.5)


def test_infinite_costs_take_no_part_in_the_projection():
    costs = torch.tensor([[3.0, 1.0, torch.inf, 2.0]])
    incoming = torch.tensor([[1.0, 4.0, 9.0, 1.0]])
    for projection in ("mean", "norm", "std"):
        layer = IdentityLayer(cheapest, projection)
        assert_close(layer(costs), torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
        result, alone = gradient(layer, costs, incoming), gradient(layer, COSTS, INCOMING)
        assert_close(result[:, [0, 1, 3]], alone)


def test_equal_costs_have_the_gradient_of_the_mean_alone():
    for equal in (0.0, 0.1, -7.3):
        costs = torch.full((1, 3), equal)
        result = gradient(IdentityLayer(cheapest, "std"), costs, INCOMING)
        assert_close(result, torch.tensor([[1.0, -2.0, 1.0]]))


def test_the_backward_pass_calls_no_solver():
    calls = []

    def counted(costs):
        calls.append(1)
        return cheapest(costs)

    gradient(IdentityLayer(counted), COSTS.repeat(5, 1), INCOMING.repeat(5, 1))
    assert len(calls) == 5


def test_functional_and_layer_give_the_same():
    result = gradient(lambda c: identity(cheapest, c, projection="norm"), COSTS, INCOMING)
    assert_close(result, gradient(IdentityLayer(cheapest, "norm"), COSTS, INCOMING))


def test_an_unknown_projection_is_named():
    with pytest.raises(ValueError, match="projection must be one of 'none', 'mean', 'norm', 'std', got 'z'"):
        IdentityLayer(cheapest, "z")


@pytest.mark.parametrize("projection", ["norm", "std"])
@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e-20, 1.0, 1e20, 1e200])
def test_the_unit_of_the_costs_changes_no_solution_and_divides_the_gradient(projection, size):
    costs = torch.tensor([[3.0, -1.0, 2.0, 0.5]], dtype=torch.float64)
    incoming = torch.tensor([[0.0, 1.0, 0.0, -2.0]], dtype=torch.float64)
    found = []
    for unit in (1.0, size):
        leaf = (costs * unit).requires_grad_()
        y = IdentityLayer(cheapest, projection)(leaf)
        (gradient,) = torch.autograd.grad(y, leaf, incoming)
        found.append((y.detach(), gradient * unit))
    assert torch.equal(found[0][0], found[1][0])
    if size > 1e-300:  # below, no float64 holds the gradient
        assert_close(found[1][1], found[0][1])
    assert found[1][1].isfinite().all()
