"""The networks: a small one for CPUs and the authors', which share one interface, and weights for them.

A network has
- `trunk(images)`: the layers that stage 2 does not train; their output goes to `heads` and to the two below;
- `heads(…)`: the layers that stage 2 trains; they return `Logits`, from which `costs(logits)` makes `Costs`;
- `semantic_logits(…)`, and `affinity_input(…, semantic logits)`: what `affinity_layer`, before the affinity
  predictors, reads;
- `forward(images)`: `heads` of `trunk`;
- `full_training_groups()`: the parameters of stage 2.
"""

from collections.abc import Sequence

from torch import nn

from examples.cops.config import Widths
from examples.cops.network.backbone import EfficientNetLite0
from examples.cops.network.costs import Costs, CostScaling, Logits
from examples.cops.network.deeplab import DeepLabCops
from examples.cops.network.resnet import ResNet50
from examples.cops.network.small import SmallCops

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
    "make_network",
]
