"""Hamming distance of solutions."""

import numpy as np
import pytest
import torch

import difflayers
from difflayers.losses import hamming_loss
from difflayers.solvers import TopK


def test_it_counts_where_solutions_differ():
    draw = torch.Generator().manual_seed(0)
    solutions, wanted = torch.randint(0, 2, (2, 5, 3, 4), generator=draw)
    counted = (solutions != wanted).flatten(1).sum(1).float()
    losses = {
        kind: hamming_loss(solutions.float(), wanted, reduction=kind) for kind in ("none", "sum", "mean")
    }
    torch.testing.assert_close(losses["none"], counted)
    torch.testing.assert_close(losses["sum"], counted.sum())
    torch.testing.assert_close(losses["mean"], counted.mean())


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.bfloat16])
def test_decisions_of_any_dtype_are_counted_exactly(dtype):
    solutions, wanted = torch.ones(1, 1001, dtype=dtype), torch.zeros(1, 1001)
    assert hamming_loss(solutions, wanted, reduction="none").tolist() == [1001]
    assert hamming_loss(solutions, wanted).item() == 1001


def test_between_0_and_1_it_is_the_expected_distance():
    share, wanted = torch.tensor([[0.25, 0.5]]), torch.tensor([[1, 0]])
    assert hamming_loss(share, wanted).item() == 0.75 * 0.5 * 1 + 0.75 * 0.5 * 2 + 0.25 * 0.5 * 1


def test_its_gradient_is_1_where_a_one_is_not_wanted_and_minus_1_where_it_is():
    solutions = torch.rand(2, 3, requires_grad=True)
    hamming_loss(solutions, torch.tensor([[True, False, True], [False, False, True]])).backward()
    assert solutions.grad.tolist() == [[-0.5, 0.5, -0.5], [0.5, 0.5, -0.5]]


def test_through_a_blackbox_layer_it_is_the_change_of_the_solution_over_scale():
    costs = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    layer = difflayers.BlackboxLayer(TopK(1), scales=2.0, batched=True)
    hamming_loss(layer(costs), torch.tensor([[0, 0, 1]])).backward()
    # The gradient (1, 1, −1) times 2 on the costs makes them (3, 4, 1).
    assert costs.grad.tolist() == [[-0.5, 0.0, 0.5]]


def test_instances_that_failed_are_in_no_mean():
    layer = difflayers.BlackboxLayer(
        lambda costs: None if costs[0] > 5 else np.eye(2)[costs.argmin()], on_failure="skip"
    )
    costs = torch.tensor([[1.0, 2.0], [9.0, 1.0], [2.0, 1.0]], requires_grad=True)
    loss = hamming_loss(layer(costs), torch.tensor([[1, 0], [1, 0], [1, 0]]))
    loss.backward()
    assert loss.item() == 1.0
    assert torch.isfinite(costs.grad).all()


def test_a_batch_without_any_solution_has_a_loss_of_0():
    layer = difflayers.BlackboxLayer(lambda costs: None, on_failure="skip")
    costs = torch.ones(2, 3, requires_grad=True)
    with pytest.warns(RuntimeWarning, match="no solution for any of the 2 instances"):
        loss = hamming_loss(layer(costs), torch.ones(2, 3))
    loss.backward()
    assert loss == 0
    assert not costs.grad.any()


def test_other_shapes_and_reductions_are_refused():
    with pytest.raises(
        ValueError, match=r"true_solutions must have shape \(3,\), as solutions have, got \(3, 1\)"
    ):
        hamming_loss(torch.zeros(3), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="reduction must be one of"):
        hamming_loss(torch.zeros(3, 1), torch.zeros(3, 1), reduction="max")
