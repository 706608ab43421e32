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
    """Return the mean of log(1 + log(1 + r)) over the relevant items, where r irrelevant items come first.

    r is the rank of a relevant item among all items minus its rank among the relevant ones. Recall@k is the
    share of relevant items with r < k; the loss weighs recall at all k together, less for larger k. The
    margin lowers relevant scores by half of itself and raises the other scores by as much, so that a narrow
    lead is not enough.

    Args:
        layer: a layer around `difflayers.solvers.Ranking`, or around any solver that gives the highest score
            rank 1. It is called twice.
        relevant: scores (B, R) of the relevant items of B queries.
        irrelevant: scores (B, N) of the other items.
        margin: in units of the scores.
        reduction: "mean" or "sum" over the queries, or "none" for (B,). Queries that `on_failure="skip"` took
            out are NaN, and in no mean or sum.

    Raises:
        ValueError: the numbers of queries differ.

    Examples:
        >>> import difflayers
        >>> layer = difflayers.BlackboxLayer(difflayers.solvers.Ranking(), scales=1.0, batched=True)
        >>> recall_loss(layer, torch.tensor([[2.0, 5.0]]), torch.tensor([[3.0, 1.0]]))  # r is 1 and 0
        tensor(0.2633)
    """
    one_of("reduction", reduction, LossReduction)
    if relevant.ndim != 2 or irrelevant.ndim != 2 or len(relevant) != len(irrelevant):
        raise ValueError(
            f"relevant and irrelevant must have shapes (B, R) and (B, N), "
            f"got {tuple(relevant.shape)} and {tuple(irrelevant.shape)}"
        )
    relevant, irrelevant = relevant - margin / 2, irrelevant + margin / 2
    ranks = layer(torch.cat([relevant, irrelevant], 1))[:, : relevant.shape[1]]
    before = (ranks - layer(relevant)).clamp(min=0)  # a mean of noisy ranks can be below 0
    return reduce_losses(torch.log1p(torch.log1p(before)).mean(1), reduction)
