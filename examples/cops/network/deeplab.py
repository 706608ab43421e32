"""The authors' network (paper, Section 3.1): Panoptic-DeepLab's semantic head, and their affinity head.

Below `semantic` and `affinity` the tensors have the names of the authors' checkpoints (detectron2's naming),
so that these fit as they are; `published.py` loads one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from examples.cops.config import Widths
from examples.cops.network.backbone import Features
from examples.cops.network.costs import CostScaling, Logits
from examples.cops.network.resnet import ConvNorm
from examples.cops.network.small import without_batch_norm

ASPP_DROPOUT = 0.1  # of Panoptic-DeepLab


class ConvNormReLU(ConvNorm):
    """Convolution, batch norm, ReLU; the size stays."""

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(super().forward(input))


class Separable(nn.Module):
    """Depthwise and pointwise convolution, each with batch norm and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.depthwise = ConvNormReLU(channels_in, channels_in, kernel, dilation=dilation, groups=channels_in)
        self.pointwise = ConvNormReLU(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class WindowPool(nn.Module):
    """Mean over windows of the size that a training crop has at this stride, or of the map if that is less.

    On a crop this is the image's mean; on a whole image, the network keeps seeing as much as in training.
    """

    def __init__(self, window: tuple[int, int]) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        height, width = (min(part, size) for part, size in zip(self.window, x.shape[2:], strict=True))
        return F.avg_pool2d(x, (height, width), stride=1)


class DeepLabASPP(nn.Module):
    """Atrous spatial pyramid pooling, depthwise-separable where dilated (DeepLabV3+)."""

    def __init__(self, channels_in: int, widths: Widths, window: tuple[int, int]) -> None:
        super().__init__()
        pool = nn.Sequential(WindowPool(window), nn.Conv2d(channels_in, widths.aspp, 1))
        self.convs = nn.ModuleList(
            [
                ConvNormReLU(channels_in, widths.aspp, 1),
                *(Separable(channels_in, widths.aspp, 3, dilation) for dilation in widths.dilations),
                pool,
            ]
        )
        self.project = ConvNormReLU(widths.aspp * len(self.convs), widths.aspp, 1)

    def forward(self, x: Tensor) -> Tensor:
        *branches, pool = self.convs
        outputs = [branch(x) for branch in branches]
        outputs.append(_upsample(F.relu(pool(x)), x))
        return F.dropout(self.project(torch.cat(outputs, 1)), ASPP_DROPOUT, self.training)


class Decoder(nn.Module):
    """DeepLabV3+ decoder: ASPP at stride 16, fused with res3 and res2 up to stride 4."""

    def __init__(self, channels: Sequence[int], widths: Widths, window: tuple[int, int]) -> None:
        super().__init__()
        res2, res3, res5 = channels
        aspp, wide = widths.aspp, widths.decoder
        self.res2 = _stage(res2, widths.project_res2, wide, wide)
        self.res3 = _stage(res3, widths.project_res3, aspp, wide)
        self.res5 = nn.ModuleDict({"project_conv": DeepLabASPP(res5, widths, window)})

    def forward(self, features: Features) -> Tensor:
        y = self.res5["project_conv"](features.res5)
        for stage, feature in ((self.res3, features.res3), (self.res2, features.res2)):
            projected = stage["project_conv"](feature)
            y = stage["fuse_conv"](torch.cat([projected, _upsample(y, projected)], 1))
        return y


class SemanticHead(nn.Module):
    """Decoder, two 3x3 convolutions, classes."""

    def __init__(self, decoder: Decoder, width: int, num_classes: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.head = nn.Sequential(ConvNormReLU(width, width, 3), ConvNormReLU(width, width, 3))
        self.predictor = nn.Conv2d(width, num_classes, 1)
        nn.init.normal_(self.predictor.weight, 0, 0.001)
        nn.init.constant_(self.predictor.bias, 0)  # type: ignore[arg-type]

    def logits(self, decoded: Tensor) -> Tensor:
        """(B, width, h, w) of the decoder → (B, K, h, w)."""
        return self.predictor(self.head(decoded))


class AffinityHead(nn.Module):
    """Decoder, two 3x3 convolutions that also see the classes, and a classifier for each distance."""

    def __init__(self, decoder: Decoder, width: int, num_classes: int, distances: Sequence[int]) -> None:
        super().__init__()
        self.decoder = decoder
        self.distances = tuple(distances)
        self.affinity_head = nn.Sequential(
            ConvNormReLU(width + num_classes, width, 3), ConvNormReLU(width, width, 3)
        )
        self.classifiers = nn.ModuleList(_classifier(width, groups=1 if d == 1 else 2) for d in distances)

    def logits(self, features: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Boundary logits for each distance, shaped as `Costs.edge`, of what `affinity_head` puts out."""
        pairs = zip(self.classifiers, self.distances, strict=True)
        return [boundary(features, classify, distance) for classify, distance in pairs]


def boundary(x: Tensor, classify: nn.Module, distance: int) -> tuple[Tensor, Tensor]:
    """Logits of the vertical and horizontal pairs at one distance, from where the authors' maps hold them.

    The map of d = 1 holds at pixel i the pair (i, i + 1); that of d > 1 holds (i − d/2, i + d/2), computed
    from the difference of the two ends' features, which is 0 where an end lies outside.
    """
    height, width = x.shape[2:]
    if distance == 1:
        maps = classify(x)
        return maps[:, 0, : height - 1], maps[:, 1, :, : width - 1]
    before, after = distance // 2, distance - distance // 2
    rows = F.pad(x[:, :, distance:] - x[:, :, : max(height - distance, 0)], (0, 0, before, after))
    columns = F.pad(x[..., distance:] - x[..., : max(width - distance, 0)], (before, after))
    # A map that is shorter than the distance has no pair in that direction, so the padding is cut away.
    maps = classify(torch.cat([rows[:, :, :height], columns[..., :width]], 1))
    vertical = maps[:, 0, before : max(before, height - after)]
    return vertical, maps[:, 1, :, before : max(before, width - after)]


class DeepLabCops(nn.Module):
    """Images in, logits and costs at a quarter of the resolution out; as `SmallCops`.

    Args:
        backbone: a module of `backbone.py`'s interface; the authors' is `ResNet50`.
        num_classes: K.
        distances: of the affinity predictors, in pixels of a quarter of the resolution.
        widths: of both decoders.
        crop: (height, width) of a training crop in pixels, the window of the image pooling.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        distances: Sequence[int],
        widths: Widths,
        crop: tuple[int, int],
    ) -> None:
        super().__init__()
        channels: tuple[int, int, int] = backbone.channels  # type: ignore[assignment]
        window = -(-crop[0] // 16), -(-crop[1] // 16)
        self.backbone = backbone
        self.semantic = SemanticHead(Decoder(channels, widths, window), widths.decoder, num_classes)
        self.affinity = AffinityHead(
            Decoder(channels, widths, window), widths.decoder, num_classes, distances
        )
        self.costs = CostScaling(len(distances))

    def trunk(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The layers that stage 2 does not train: backbone and decoders."""
        features = self.backbone(images)
        return self.semantic.decoder(features), self.affinity.decoder(features)

    def semantic_logits(self, decoded: tuple[Tensor, Tensor]) -> Tensor:
        """(B, K, h, w)."""
        return self.semantic.logits(decoded[0])

    @property
    def affinity_layer(self) -> nn.Module:
        """The layer before the affinity predictors."""
        return self.affinity.affinity_head

    def affinity_input(self, decoded: tuple[Tensor, Tensor], semantic: Tensor) -> Tensor:
        """What `affinity_layer` reads."""
        return torch.cat([decoded[1], semantic], 1)

    def heads(self, decoded: tuple[Tensor, Tensor]) -> Logits:
        """The layers that stage 2 trains, applied to the output of `trunk`."""
        semantic = self.semantic_logits(decoded)
        # Detached: the affinity branch may read the classes but not change them (Section 3.1).
        features = self.affinity_layer(self.affinity_input(decoded, semantic.detach()))
        return Logits(semantic, self.affinity.logits(features))

    def forward(self, images: Tensor) -> Logits:
        """(B, 3, H, W) normalized images, H and W multiples of 4 → logits at (H / 4, W / 4)."""
        return self.heads(self.trunk(images))

    def full_training_groups(self) -> list[list[nn.Parameter]]:
        """Parameters of stage 2, from the costs back: the authors' learning rate falls with the distance.

        Batch norm stays frozen, its parameters too.
        """
        classifiers: list[nn.Sequential] = list(self.affinity.classifiers)  # type: ignore[arg-type]
        groups: list[list[nn.Module]] = [
            [self.costs],
            [self.semantic.predictor, *(classifier[-1] for classifier in classifiers)],
            [self.semantic.head, *(classifier[:-1] for classifier in classifiers)],
            [self.affinity_layer],
        ]
        return [without_batch_norm(group) for group in groups]


def _stage(channels_in: int, projected: int, coarse: int, channels_out: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "project_conv": ConvNormReLU(channels_in, projected, 1),
            "fuse_conv": Separable(projected + coarse, channels_out, 5),
        }
    )


def _classifier(width: int, groups: int) -> nn.Sequential:
    """Row and column differences are separate groups, until the last convolution sees both."""
    quarter, eighth = groups * (width // 4), groups * (width // 8)
    return nn.Sequential(
        ConvNormReLU(groups * width, quarter, 3, groups=groups),
        ConvNormReLU(quarter, eighth, 3, groups=groups),
        nn.Conv2d(eighth, 2, 1),
    )


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
