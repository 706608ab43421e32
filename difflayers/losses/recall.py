"""Recall of a ranking, as a loss on ranks.

Rolínek et al., Optimizing Rank-based Metrics with Blackbox Differentiation, CVPR 2020.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from difflayers._arguments import one_of
from difflayers.engine.autograd import LossReduction, reduce_losses


def recall_loss(
    layer: Callable[[Tensor], Any],
    relevant: Tensor,
    irrelevant: Tensor,
    *,
    margin: float = 0.0,
    reduction: LossReduction = "mean",
) -> Tensor:
    """Return the mean of log(1 + log(1 + r)) over the relevant items, r irrelevant ones coming before each.

    r is the rank among all items less that among the relevant ones, and recall@k is the share of relevant
    items with r < k. This weighs recall at all k together, the less the larger k is. The margin lowers
    relevant scores by its half and raises the others by it, so that a narrow lead is not enough.

    Args:
        layer: a layer around `difflayers.solvers.Ranking`, or around any solver that gives the highest score
            rank 1. It is called twice.
        relevant: scores (B, R) of the relevant items of B queries.
        irrelevant: scores (B, N) of the others.
        margin: in units of the scores.
        reduction: "mean" or "sum" over the queries, or "none" for (B,), where queries that
            `on_failure="skip"` took out are NaN; they are in no mean or sum.

    Raises ValueError where the numbers of queries differ, and what the layer raises.
    """
    one_of("reduction", reduction, LossReduction)
    if relevant.ndim != 2 or irrelevant.ndim != 2 or len(relevant) != len(irrelevant):
        raise ValueError(
            f"relevant and irrelevant must be (B, R) and (B, N), "
            f"but have shapes {tuple(relevant.shape)} and {tuple(irrelevant.shape)}"
        )
    relevant, irrelevant = relevant - margin / 2, irrelevant + margin / 2
    ranks = layer(torch.cat([relevant, irrelevant], 1))[:, : relevant.shape[1]]
    before = (ranks - layer(relevant)).clamp(min=0)  # a mean of noisy ranks can be below 0
    return reduce_losses(torch.log1p(torch.log1p(before)).mean(1), reduction)
