"""The networks: a small one for CPUs and the authors', which share one interface, and weights for them.

A network has `trunk(images)`, which stage 2 leaves as it is, `heads(of what trunk gave)`, which puts out
`Logits`, `semantic_logits(of the same)`, `forward` for both in a row, `costs` that makes costs of the logits,
and `full_training_groups()`.
"""

from collections.abc import Sequence

from torch import nn

from examples.cops.network.backbone import EfficientNetLite0
from examples.cops.network.costs import Costs, CostScaling, Logits
from examples.cops.network.deeplab import DeepLabCops
from examples.cops.network.resnet import ResNet50
from examples.cops.network.small import SmallCops, Widths

CopsNetwork = SmallCops | DeepLabCops
BACKBONES = {"lite0": EfficientNetLite0, "resnet50": ResNet50}
HEADS = ("small", "deeplab")


def make_network(
    backbone: nn.Module,
    heads: str,
    num_classes: int,
    distances: Sequence[int],
    widths: Widths,
    crop: tuple[int, int],
) -> CopsNetwork:
    """Put heads, one of `HEADS`, on a backbone."""
    if heads == "small":
        return SmallCops(backbone, num_classes, distances, widths)
    return DeepLabCops(backbone, num_classes, distances, widths, crop)


__all__ = [
    "BACKBONES",
    "HEADS",
    "CopsNetwork",
    "CostScaling",
    "Costs",
    "DeepLabCops",
    "EfficientNetLite0",
    "Logits",
    "ResNet50",
    "SmallCops",
    "Widths",
    "make_network",
]
