"""What every network puts out: logits, and the costs that the solver minimizes."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Costs(NamedTuple):
    """What the solver minimizes.

    Attributes:
        node: (B, K, h, w), cost of each class at each pixel of a quarter of the resolution.
        edge: for each distance d vertical (B, h - d, w) and horizontal (B, h, w - d); positive = attractive.
    """

    node: Tensor
    edge: list[tuple[Tensor, Tensor]]


class Logits(NamedTuple):
    """Raw predictions: semantic (B, K, h, w) and, shaped as `Costs.edge`, the logits of a boundary."""

    semantic: Tensor
    boundary: list[tuple[Tensor, Tensor]]


class CostScaling(nn.Module):
    """Learned scale and offset from logits to costs, as the authors' solver input has them.

    One scale and one offset for all node costs; per distance, one scale (through its absolute value) and one
    offset for the edge costs. The node offset changes no solution, because every pixel pays for one class.
    """

    def __init__(self, num_distances: int) -> None:
        super().__init__()
        self.node_scale = nn.Parameter(torch.ones(()))
        self.node_offset = nn.Parameter(torch.zeros(()))
        self.edge_scale = nn.Parameter(torch.ones(num_distances))
        self.edge_offset = nn.Parameter(torch.zeros(num_distances))

    def forward(self, logits: Logits) -> Costs:
        node = -self.node_scale * logits.semantic + self.node_offset
        scales, offsets = self.edge_scale.abs().unbind(), self.edge_offset.unbind()
        edge = [
            (offset - scale * vertical, offset - scale * horizontal)
            for (vertical, horizontal), scale, offset in zip(logits.boundary, scales, offsets, strict=True)
        ]
        return Costs(node, edge)
