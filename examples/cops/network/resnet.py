"""ResNet-50 as DeepLab uses it: the paper's backbone (Section 3.1).

Tensors have detectron2's names, so that its checkpoints fit as they are; `weights.py` loads from a file.
"""

from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from examples.cops.network.backbone import Features
from examples.cops.network.weights import Placement, load_backbone

EXPANSION = 4  # a bottleneck puts out four times the channels of its 3x3 convolution
STEM_CHANNELS = 128


class ConvNorm(nn.Conv2d):
    """Convolution and batch norm; the size stays at stride 1. The norm is inside for detectron2's names."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
    ) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(channels_in, channels_out, kernel, stride, padding, dilation, groups, bias=False)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, input: Tensor) -> Tensor:
        return self.norm(super().forward(input))


class DeepLabStem(nn.Module):
    """Three 3x3 convolutions in place of one 7x7, then max pooling: stride 4, 128 channels."""

    def __init__(self) -> None:
        super().__init__()
        half = STEM_CHANNELS // 2
        self.conv1 = ConvNorm(3, half, 3, stride=2)
        self.conv2 = ConvNorm(half, half, 3)
        self.conv3 = ConvNorm(half, STEM_CHANNELS, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.conv1(images))
        x = F.relu(self.conv2(x))
        x = F.relu(self.conv3(x))
        return F.max_pool2d(x, 3, stride=2, padding=1)


class Bottleneck(nn.Module):
    """Reduce, 3x3 (with stride and dilation), expand; the skip is projected where shapes differ."""

    def __init__(self, channels_in: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        channels_out = EXPANSION * width
        self.conv1 = ConvNorm(channels_in, width, 1)
        self.conv2 = ConvNorm(width, width, 3, stride, dilation)
        self.conv3 = ConvNorm(width, channels_out, 1)
        projects = channels_in != channels_out or stride != 1
        self.shortcut = ConvNorm(channels_in, channels_out, 1, stride) if projects else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv1(x))
        y = F.relu(self.conv2(y))
        return F.relu(self.conv3(y) + self.shortcut(x))


class ResNet50(nn.Module):
    """ResNet-50 with the DeepLab stem (23.6 M parameters): the backbone of the paper, for GPUs.

    res5 keeps stride 16: its stride became a dilation of 2, times a multi-grid of (1, 2, 4) over its three
    blocks. Weights are random until `load_imagenet` is called.
    """

    channels = (256, 512, 2048)

    def __init__(self) -> None:
        super().__init__()
        self.stem = DeepLabStem()
        self.res2 = _stage(STEM_CHANNELS, 64, stride=1, dilations=(1,) * 3)
        self.res3 = _stage(256, 128, stride=2, dilations=(1,) * 4)
        self.res4 = _stage(512, 256, stride=2, dilations=(1,) * 6)
        self.res5 = _stage(1024, 512, stride=1, dilations=(2, 4, 8))

    def load_imagenet(self, path: Path) -> Placement:
        """Load ImageNet weights from a file in torchvision's or detectron2's naming.

        Args:
            path: a .pth (tensors only) or a .pkl of detectron2 (NumPy arrays only).

        Returns:
            What was loaded, what the file lacked, and what in the file found no place.

        Warns:
            UserWarning: if tensors of this network were not in the file and stay as they were, as the stem
                does with the weights of a plain ResNet-50, whose stem is one 7x7 convolution.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file cannot be read safely, or nothing in it fits.
        """
        return load_backbone(self, path)

    def forward(self, images: Tensor) -> Features:
        res2 = self.res2(self.stem(images))
        res3 = self.res3(res2)
        return Features(res2, res3, self.res5(self.res4(res3)))


def _stage(channels_in: int, width: int, stride: int, dilations: tuple[int, ...]) -> nn.Sequential:
    first, *rest = dilations
    blocks = [Bottleneck(channels_in, width, stride, first)]
    blocks += [Bottleneck(EXPANSION * width, width, 1, dilation) for dilation in rest]
    return nn.Sequential(*blocks)
