"""Stage-1 losses: top-k cross-entropies on classes and boundaries (paper, Section 4.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from examples.cops.network import Logits
from examples.cops.targets import Targets

SEMANTIC_FRACTION = 0.2  # the hardest pixels
AFFINITY_FRACTION = 0.25  # the hardest pairs, for each distance
AFFINITY_WEIGHT = 0.25


def hardest_mean(losses: Tensor, fraction: float) -> Tensor:
    """Mean of the largest ``fraction`` of a flat tensor of losses; 0 where there is none."""
    count = max(1, round(fraction * losses.numel()))
    return losses.topk(count).values.mean() if losses.numel() else losses.sum()


def semantic_loss(logits: Tensor, targets: Sequence[Targets]) -> Tensor:
    """Weighted top-k cross-entropy of (B, K, h, w) semantic logits; void pixels do not count."""
    labels = torch.stack([target.semantic for target in targets])
    weights = torch.stack([target.semantic_weight for target in targets])
    losses = F.cross_entropy(logits, labels.clamp(min=0), reduction="none") * weights
    return hardest_mean(losses[labels >= 0], SEMANTIC_FRACTION)


def affinity_loss(boundary: list[tuple[Tensor, Tensor]], targets: Sequence[Targets]) -> Tensor:
    """Weighted top-k binary cross-entropy of boundary logits, the mean over distances."""
    total = boundary[0][0].new_zeros(())
    for index, sides in enumerate(boundary):
        losses = []
        for side, logits in enumerate(sides):
            truth = torch.stack([target.edges[index][side] for target in targets])
            weights = torch.stack([target.edge_weights[index][side] for target in targets])
            loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * weights
            losses.append(loss[weights > 0])
        total = total + hardest_mean(torch.cat(losses), AFFINITY_FRACTION)
    return total / len(boundary)


def stage_one_loss(logits: Logits, targets: Sequence[Targets]) -> tuple[Tensor, dict[str, float]]:
    """The loss of stage 1 and its parts for the log."""
    semantic = semantic_loss(logits.semantic, targets)
    affinity = affinity_loss(logits.boundary, targets)
    return semantic + AFFINITY_WEIGHT * affinity, {"semantic": semantic.item(), "affinity": affinity.item()}
