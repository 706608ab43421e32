"""Stage-1 losses: top-k cross-entropies on classes and boundaries (paper, Section 4.2)."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from examples.cops.config import Config
from examples.cops.network import Logits
from examples.cops.targets import BatchTargets, flat_sides


def hardest_mean(losses: Tensor, fraction: float, size: int | None = None) -> Tensor:
    """Mean of the largest `fraction` of `size` losses; the flat tensor lacks those that are 0.

    Without `size` the tensor has all of them. The mean of none is 0.
    """
    count = max(1, round(fraction * (losses.numel() if size is None else size)))
    hardest = losses.topk(min(count, losses.numel())).values.sum()
    return hardest / (count if losses.numel() else 1)


def semantic_loss(logits: Tensor, targets: BatchTargets, fraction: float = 0.2) -> Tensor:
    """Weighted top-k cross-entropy of semantic logits (B, K, h, w); void pixels do not count."""
    losses = F.cross_entropy(logits, targets.semantic.clamp(min=0), reduction="none")
    return hardest_mean((losses * targets.semantic_weight)[targets.semantic >= 0], fraction)


def affinity_loss(
    boundary: list[tuple[Tensor, Tensor]],
    targets: BatchTargets,
    fraction: float = 0.25,
    of: Literal["pairs", "map"] = "pairs",
) -> Tensor:
    """Weighted top-k binary cross-entropy of boundary logits: the mean over the distances.

    Args:
        boundary: for each distance the logits of vertical and horizontal pairs.
        targets: of the batch.
        fraction: of the hardest pairs, which alone count.
        of: "pairs": of the known pairs of a distance, in both directions together. "map": of all pixels, for
            each direction alone, as the authors: a pixel without a pair has the loss 0. The pairs of a large
            distance, which are fewer than the pixels, then weigh less.
    """
    logits = flat_sides(boundary, start=1)
    losses = F.binary_cross_entropy_with_logits(logits, targets.edges, reduction="none")
    sizes = [side[0].numel() for pair in boundary for side in pair]
    weighted = (losses * targets.edge_weights).split(sizes, 1)
    if of == "map":
        pixels = targets.semantic.numel()
        means = [hardest_mean(side.flatten(), fraction, pixels) for side in weighted]
    else:
        known = (targets.edge_weights > 0).split(sizes, 1)
        sides = [side[count] for side, count in zip(weighted, known, strict=True)]
        means = [
            hardest_mean(torch.cat(pair), fraction) for pair in zip(sides[::2], sides[1::2], strict=True)
        ]
    return torch.stack(means).mean()


def stage_one_loss(logits: Logits, targets: BatchTargets, config: Config) -> tuple[Tensor, dict[str, float]]:
    """The loss of stage 1, and its two parts for the log."""
    semantic = semantic_loss(logits.semantic, targets, config.stage1.semantic_fraction)
    table = config.stage1
    affinity = affinity_loss(logits.boundary, targets, table.affinity_fraction, table.affinity_of)
    total = semantic + config.stage1.affinity_weight * affinity
    return total, {"semantic": semantic.item(), "affinity": affinity.item()}
