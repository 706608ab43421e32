"""Recall as a loss on ranks."""

import pytest
import torch

import difflayers
from difflayers.losses import recall_loss
from difflayers.solvers import Ranking


def weight(count):
    return torch.log1p(torch.log1p(torch.as_tensor(count, dtype=torch.float32)))


def ranking(scales=5.0):
    return difflayers.BlackboxLayer(Ranking(), scales=scales, batched=True)


def test_it_weighs_how_many_irrelevant_items_come_before_each_relevant_one():
    draw = torch.Generator().manual_seed(0)
    relevant, others = torch.rand(6, 4, generator=draw), torch.rand(6, 9, generator=draw)
    before = (others[:, None] > relevant[:, :, None]).sum(2)
    expected = weight(before).mean(1)
    losses = {
        kind: recall_loss(ranking(), relevant, others, reduction=kind) for kind in ("none", "sum", "mean")
    }
    torch.testing.assert_close(losses["none"], expected)
    torch.testing.assert_close(losses["sum"], expected.sum())
    torch.testing.assert_close(losses["mean"], expected.mean())


def test_the_margin_counts_irrelevant_items_that_are_not_that_far_behind():
    relevant, others = torch.tensor([[0.9, 0.3]]), torch.tensor([[0.8, 0.2, 0.0]])
    assert recall_loss(ranking(), relevant, others) == weight([0, 1]).mean()
    assert recall_loss(ranking(), relevant, others, margin=0.15) == weight([1, 2]).mean()


def test_its_gradient_swaps_what_stands_the_wrong_way_round():
    relevant = torch.tensor([[1.0]], requires_grad=True)
    others = torch.tensor([[2.0, 0.0]], requires_grad=True)
    recall_loss(ranking(scales=8.0), relevant, others).backward()
    # ∂ log(1 + log(1 + r)) / ∂r at r = 1 moves the relevant score by 8 g > 1: it then has rank 1, not 2.
    g = 1 / ((1 + torch.log(torch.tensor(2.0))) * 2)
    assert 8 * g > 1
    assert relevant.grad.tolist() == [[-1 / 8]]
    assert others.grad.tolist() == [[1 / 8, 0.0]]


def test_scores_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \(2, 1\) and \(3, 1\)"):
        recall_loss(ranking(), torch.zeros(2, 1), torch.zeros(3, 1))
