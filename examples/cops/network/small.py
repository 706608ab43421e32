"""The COPS network in a size for two CPU cores (paper, Section 3.1): two decoders and affinity predictors.

It departs from `deeplab.py`, the authors' network, to save CPU time: it has no convolutions between decoder
and predictor, depthwise-separable predictors, and the semantic logits join the last fusion of the decoder.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from examples.cops.config import Widths
from examples.cops.network.backbone import Features
from examples.cops.network.costs import CostScaling, Logits


class DecoderParts(NamedTuple):
    """What a decoder's last layer fuses: the upsampled fusion of res3 and the projected res2, at stride 4."""

    coarse: Tensor
    fine: Tensor


def conv_bn(
    channels_in: int, channels_out: int, kernel: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Module:
    """Convolution, batch norm, ReLU; the size stays."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, 1, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def separable(channels_in: int, channels_out: int, kernel: int = 5) -> nn.Module:
    """Depthwise-separable convolution."""
    return nn.Sequential(
        conv_bn(channels_in, channels_in, kernel, groups=channels_in), conv_bn(channels_in, channels_out)
    )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling with the image's mean (DeepLabV3)."""

    def __init__(self, channels_in: int, channels_out: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_bn(channels_in, channels_out)]
            + [conv_bn(channels_in, channels_out, 3, d) for d in dilations]
        )
        self.image = nn.Sequential(nn.Conv2d(channels_in, channels_out, 1), nn.ReLU(inplace=True))
        self.project = conv_bn(channels_out * (len(dilations) + 2), channels_out)

    def forward(self, x: Tensor) -> Tensor:
        image = self.image(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.project(torch.cat([*(branch(x) for branch in self.branches), image], 1))


class Decoder(nn.Module):
    """DeepLabV3+ decoder: ASPP at stride 16, fused with res3 and res2 up to stride 4.

    `extra` channels join the last fusion: the affinity decoder takes the semantic logits there.
    """

    def __init__(self, channels: Sequence[int], widths: Widths, extra: int = 0) -> None:
        super().__init__()
        res2, res3, res5 = channels
        self.aspp = ASPP(res5, widths.aspp, widths.dilations)
        self.project_res3 = conv_bn(res3, widths.project_res3)
        self.project_res2 = conv_bn(res2, widths.project_res2)
        self.fuse_res3 = separable(widths.aspp + widths.project_res3, widths.decoder)
        self.fuse_res2 = separable(widths.decoder + widths.project_res2 + extra, widths.decoder)

    def parts(self, features: Features) -> DecoderParts:
        """Everything but the last fusion, which stage 2 trains."""
        x = _upsample(self.aspp(features.res5), features.res3)
        x = self.fuse_res3(torch.cat([x, self.project_res3(features.res3)], 1))
        return DecoderParts(_upsample(x, features.res2), self.project_res2(features.res2))


class AffinityPredictor(nn.Module):
    """Boundary logits of the vertical and horizontal pixel pairs at one distance.

    For d > 1 it sees the difference of the features of the two ends, held at the pixel half-way; vertical and
    horizontal differences are separate groups. For d = 1 it sees the features of the pair's first pixel.
    """

    def __init__(self, channels: int, distance: int) -> None:
        super().__init__()
        self.distance = distance
        groups = 1 if distance == 1 else 2
        self.predict = nn.Sequential(
            conv_bn(groups * channels, groups * channels, 5, groups=groups * channels),
            conv_bn(groups * channels, groups * channels, groups=groups),
            nn.Conv2d(groups * channels, 2, 1, groups=groups),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        d, (height, width) = self.distance, x.shape[2:]
        if d == 1:
            maps = self.predict(x)
            return maps[:, 0, : height - 1], maps[:, 1, :, : width - 1]
        before, after = d // 2, d - d // 2
        if d >= height or d >= width:
            return self._one_side(x)
        vertical = F.pad(x[:, :, d:] - x[:, :, :-d], (0, 0, before, after))
        horizontal = F.pad(x[:, :, :, d:] - x[:, :, :, :-d], (before, after, 0, 0))
        maps = self.predict(torch.cat([vertical, horizontal], 1))
        return maps[:, 0, before : height - after], maps[:, 1, :, before : width - after]

    def _one_side(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits for a map that is narrower than the distance in one direction, which has no pairs."""
        d, (height, width) = self.distance, x.shape[2:]
        size = max(height, width, d + 1)
        vertical, horizontal = self(F.pad(x, (0, size - width, 0, size - height)))
        return vertical[:, : max(height - d, 0), :width], horizontal[:, :height, : max(width - d, 0)]


class SmallCops(nn.Module):
    """Images in, logits and costs at a quarter of the resolution out.

    Args:
        backbone: a module of `backbone.py`'s interface.
        num_classes: K.
        distances: of the affinity predictors, in pixels of a quarter of the resolution.
        widths: of the semantic decoder; the affinity decoder has the same.
    """

    def __init__(
        self, backbone: nn.Module, num_classes: int, distances: Sequence[int], widths: Widths
    ) -> None:
        super().__init__()
        channels: tuple[int, int, int] = backbone.channels  # type: ignore[assignment]
        self.backbone = backbone
        self.semantic_decoder = Decoder(channels, widths)
        self.semantic_predictor = nn.Conv2d(widths.decoder, num_classes, 1)
        self.affinity_decoder = Decoder(channels, widths, extra=num_classes)
        self.affinity_predictors = nn.ModuleList(AffinityPredictor(widths.decoder, d) for d in distances)
        self.costs = CostScaling(len(distances))

    def trunk(self, images: Tensor) -> tuple[DecoderParts, DecoderParts]:
        """The layers that stage 2 does not train: backbone, and both decoders up to their last layer."""
        features = self.backbone(images)
        return self.semantic_decoder.parts(features), self.affinity_decoder.parts(features)

    def semantic_logits(self, parts: tuple[DecoderParts, DecoderParts]) -> Tensor:
        """(B, K, h, w)."""
        return self.semantic_predictor(self.semantic_decoder.fuse_res2(torch.cat(parts[0], 1)))

    @property
    def affinity_layer(self) -> nn.Module:
        """The layer before the affinity predictors."""
        return self.affinity_decoder.fuse_res2

    def affinity_input(self, parts: tuple[DecoderParts, DecoderParts], semantic: Tensor) -> Tensor:
        """What `affinity_layer` reads."""
        return torch.cat([*parts[1], semantic], 1)

    def heads(self, parts: tuple[DecoderParts, DecoderParts]) -> Logits:
        """The layers that stage 2 trains, applied to the output of `trunk`."""
        semantic = self.semantic_logits(parts)
        # Detached: the affinity branch may read the classes but not change them (Section 3.1).
        affinity = self.affinity_layer(self.affinity_input(parts, semantic.detach()))
        return Logits(semantic, [predict(affinity) for predict in self.affinity_predictors])

    def forward(self, images: Tensor) -> Logits:
        """(B, 3, H, W) normalized images, H and W multiples of 4 → logits at (H / 4, W / 4)."""
        return self.heads(self.trunk(images))

    def full_training_groups(self) -> list[list[nn.Parameter]]:
        """Parameters of stage 2 (Section 4.2), from the costs back, as those of `DeepLabCops`.

        Batch norm stays frozen, its parameters too.
        """
        predictors: list[nn.Sequential] = [p.predict for p in self.affinity_predictors]  # type: ignore[misc]
        groups: list[list[nn.Module]] = [
            [self.costs],
            [self.semantic_predictor, *(predict[-1] for predict in predictors)],
            [self.semantic_decoder.fuse_res2, *(predict[:-1] for predict in predictors)],
            [self.affinity_layer],
        ]
        return [without_batch_norm(group) for group in groups]


def without_batch_norm(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
    """The parameters of modules, in order, except those of their batch norms."""
    frozen = {
        id(p)
        for module in modules
        for norm in module.modules()
        if isinstance(norm, nn.BatchNorm2d)
        for p in norm.parameters()
    }
    return [p for module in modules for p in module.parameters() if id(p) not in frozen]


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
