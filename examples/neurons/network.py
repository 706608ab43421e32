"""A small U-Net that sees, for each pixel, whether pixels at some offsets lie in the same cell."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from difflayers import graph

#: Neighbours first, then long-range pairs, as the mutex watershed wants them.
OFFSETS = ((-1, 0), (0, -1), (-9, 0), (0, -9), (-9, -9), (-9, 9), (-27, 0), (0, -27))
NEIGHBOURS = 2


class UNet(nn.Module):
    """Slices (B, 1, h, w) to logits of affinities (B, 8, h, w), after Ronneberger et al. 2015.

    The map of an offset holds at a pixel the logit of "this pixel and the one at the offset are in one cell".
    """

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(4)]
        self.down = nn.ModuleList(map(_block, [1, *widths[:-1]], widths))
        self.up = nn.ModuleList(_block(low + high, low) for low, high in pairwise(widths))
        self.last = nn.Conv2d(channels, len(OFFSETS), 1)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        found, maps = [], nn.functional.pad(images, (0, -width % 8, 0, -height % 8), mode="replicate")
        for level, block in enumerate(self.down):
            maps = block(nn.functional.max_pool2d(maps, 2) if level else maps)
            found.append(maps)
        for level in reversed(range(len(self.up))):
            wide = nn.functional.interpolate(maps, scale_factor=2.0)
            maps = self.up[level](torch.cat([found[level], wide], dim=1))
        return self.last(maps)[..., :height, :width]


class EdgeCosts(nn.Module):
    """Features of edges (m, 14) to costs (m,): the first feature, corrected by two layers that begin at 0."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", features.mean(0))
        self.register_buffer("deviation", features.std(0) + 1e-6)
        self.first = nn.Linear(features.shape[1], 32)
        self.last = nn.Linear(32, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.first((features - self.mean) / self.deviation).relu()
        return features[:, 0] + self.last(hidden)[:, 0]


def _block(inputs: int, outputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        convolution = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        layers += [convolution, nn.GroupNorm(4, outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def true_affinities(cells: np.ndarray) -> np.ndarray:
    """Affinities (8, h, w) float32 of cells (h, w): 1 if both ends lie in one cell, 0 if not.

    A pair with an end on a membrane is apart, so that membranes are as wide in the maps as they are. A pair
    with an end outside the slice is NaN.
    """
    pairs = cells.ravel()[graph.grid_edges(cells.shape, offsets=OFFSETS)]
    same = (pairs[:, 0] == pairs[:, 1]) & (pairs[:, 0] > 0)
    return graph.edge_maps(same.astype(np.float32), cells.shape, OFFSETS)
