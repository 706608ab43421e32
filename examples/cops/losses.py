"""Stage-1 losses: top-k cross-entropies on classes and boundaries (paper, Section 4.2)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from examples.cops.config import Config
from examples.cops.network import Logits
from examples.cops.targets import BatchTargets, flat_sides


def hardest_mean(losses: Tensor, fraction: float) -> Tensor:
    """Mean of the largest `fraction` of a flat tensor of losses; 0 if it is empty."""
    count = max(1, round(fraction * losses.numel()))
    return losses.topk(count).values.mean() if losses.numel() else losses.sum()


def semantic_loss(logits: Tensor, targets: BatchTargets, fraction: float = 0.2) -> Tensor:
    """Weighted top-k cross-entropy of semantic logits (B, K, h, w); void pixels do not count."""
    losses = F.cross_entropy(logits, targets.semantic.clamp(min=0), reduction="none")
    return hardest_mean((losses * targets.semantic_weight)[targets.semantic >= 0], fraction)


def affinity_loss(
    boundary: list[tuple[Tensor, Tensor]], targets: BatchTargets, fraction: float = 0.25
) -> Tensor:
    """Weighted top-k binary cross-entropy of boundary logits: the mean over the distances."""
    logits = flat_sides(boundary, start=1)
    losses = F.binary_cross_entropy_with_logits(logits, targets.edges, reduction="none")
    sizes = [vertical[0].numel() + horizontal[0].numel() for vertical, horizontal in boundary]
    weighted = (losses * targets.edge_weights).split(sizes, 1)
    counts = (targets.edge_weights > 0).split(sizes, 1)
    means = [hardest_mean(loss[count], fraction) for loss, count in zip(weighted, counts, strict=True)]
    return torch.stack(means).mean()


def stage_one_loss(logits: Logits, targets: BatchTargets, config: Config) -> tuple[Tensor, dict[str, float]]:
    """The loss of stage 1, and its two parts for the log."""
    semantic = semantic_loss(logits.semantic, targets, config.stage1.semantic_fraction)
    affinity = affinity_loss(logits.boundary, targets, config.stage1.affinity_fraction)
    total = semantic + config.stage1.affinity_weight * affinity
    return total, {"semantic": semantic.item(), "affinity": affinity.item()}
