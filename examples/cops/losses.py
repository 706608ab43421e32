"""Stage-1 losses: top-k cross-entropies on classes and boundaries (paper, Section 4.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from examples.cops.config import Config
from examples.cops.network import Logits
from examples.cops.targets import Targets


def hardest_mean(losses: Tensor, fraction: float) -> Tensor:
    """Mean of the largest ``fraction`` of a flat tensor of losses; 0 where there is none."""
    count = max(1, round(fraction * losses.numel()))
    return losses.topk(count).values.mean() if losses.numel() else losses.sum()


def semantic_loss(logits: Tensor, targets: Sequence[Targets], fraction: float = 0.2) -> Tensor:
    """Weighted top-k cross-entropy of (B, K, h, w) semantic logits; void pixels do not count."""
    labels = torch.stack([target.semantic for target in targets])
    weights = torch.stack([target.semantic_weight for target in targets])
    losses = F.cross_entropy(logits, labels.clamp(min=0), reduction="none") * weights
    return hardest_mean(losses[labels >= 0], fraction)


def affinity_loss(
    boundary: list[tuple[Tensor, Tensor]], targets: Sequence[Targets], fraction: float = 0.25
) -> Tensor:
    """Weighted top-k binary cross-entropy of boundary logits, the mean over distances."""
    total = boundary[0][0].new_zeros(())
    for index, sides in enumerate(boundary):
        losses = []
        for side, logits in enumerate(sides):
            truth = torch.stack([target.edges[index][side] for target in targets])
            weights = torch.stack([target.edge_weights[index][side] for target in targets])
            loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * weights
            losses.append(loss[weights > 0])
        total = total + hardest_mean(torch.cat(losses), fraction)
    return total / len(boundary)


def stage_one_loss(
    logits: Logits, targets: Sequence[Targets], config: Config
) -> tuple[Tensor, dict[str, float]]:
    """The loss of stage 1 and its parts for the log."""
    semantic = semantic_loss(logits.semantic, targets, config.stage1.semantic_fraction)
    affinity = affinity_loss(logits.boundary, targets, config.stage1.affinity_fraction)
    total = semantic + config.stage1.affinity_weight * affinity
    return total, {"semantic": semantic.item(), "affinity": affinity.item()}
