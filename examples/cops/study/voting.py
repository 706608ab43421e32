"""A baseline: votes for centres in place of the solver (Panoptic-DeepLab; Cheng et al., CVPR 2020).

On the frozen trunk of a network trained by stage 1, a head learns a heatmap of the things' centres, and each
pixel's offset to its centre. Classes are the network's own; a thing pixel joins the centre next to its vote.
"""

import copy
from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from difflayers import amwc
from difflayers.panoptic import from_solution
from examples.cops.config import Config
from examples.cops.data.batches import STRIDE, Batch
from examples.cops.inference import Prediction, Solved, at_full_resolution, network_input
from examples.cops.network import CopsNetwork
from examples.cops.network.small import separable
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.steps import autocast
from examples.cops.study.centres import SPREAD, Votes, centre_targets, group, voting_loss
from examples.cops.train import STAGE_TWO, Log, Phase, train


class CentreVoting(nn.Module):
    """A trained network, frozen, and a head for votes as wide as its affinity predictors.

    The head reads what the affinity predictors read, through a copy of the layer before them, which it trains
    on, as stage 2 does. Then come 5x5 separable convolutions, as in Panoptic-DeepLab.

    Args:
        network: with the weights of stage 1.
        config: of the run.
    """

    def __init__(self, network: CopsNetwork, config: Config) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.config = config
        self.head = nn.ModuleDict({"last": copy.deepcopy(network.affinity_layer).requires_grad_(True)})
        for name, channels in (("heatmap", 1), ("offsets", 2)):
            predict = nn.Conv2d(config.network.widths.decoder, channels, 1)
            nn.init.normal_(predict.weight, 0, 0.001)
            self.head[name] = nn.Sequential(separable(predict.in_channels, predict.in_channels), predict)

    def trunk(self, images: Tensor) -> Any:
        """What stays as it is."""
        return self.network.trunk(images)

    def forward(self, trunk: Any) -> tuple[Tensor, Votes]:
        """Semantic logits (B, K, h, w) and votes, of what the trunk made of the images."""
        with autocast(self.config, next(self.parameters()).device):
            semantic = self.network.semantic_logits(trunk).detach()
            features = self.head["last"](self.network.affinity_input(trunk, semantic))
            heatmap, offsets = (self.head[name](features).float() for name in ("heatmap", "offsets"))
        # In units of the longest distance of the affinities, so that few steps of the optimizer reach as far.
        return semantic.float(), Votes(heatmap[:, 0], max(self.config.network.distances) * offsets)


class VotingStep(nn.Module):
    """Panoptic-DeepLab's losses on centres and offsets, as a step of `train`."""

    def __init__(self, voting: CentreVoting, is_thing: np.ndarray) -> None:
        super().__init__()
        self.voting, self.is_thing = voting, is_thing

    def forward(self, batch: Batch, trunk: Any) -> tuple[Tensor, dict[str, float]]:
        self.voting.head.train()
        sigma = SPREAD * sqrt(self.voting.config.rejection.thing_area) / STRIDE
        targets = [centre_targets(labels, self.is_thing, sigma) for labels in batch.labels]
        return voting_loss(self.voting(trunk)[1], targets)


def train_voting(
    voting: CentreVoting, data: Any, config: Config, checkpoint: Checkpoint, progress: bool = True
) -> Log:
    """Train the head on the crops of stage 2, at the learning rate of stage 1. Returns the log."""
    phase = Phase(
        STAGE_TWO,
        config.stage2.iterations,
        config.stage2.batch,
        config.stage2.warm_up,
        [{"params": list(voting.head.parameters()), "lr": config.stage1.learning_rate}],
        VotingStep(voting, data.is_thing),
        frozen_trunk=True,
    )
    return train(voting, data, config, phase, checkpoint, progress)


class VotingPredictor:
    """Panoptic labels of images by votes; as `Predictor`, with the same rejection of small segments."""

    def __init__(self, voting: CentreVoting, is_thing: np.ndarray, config: Config) -> None:
        self.voting, self.is_thing, self.config = voting.eval(), is_thing, config

    def predict(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Label images (H, W, 3) uint8, at their own resolution."""
        return [self._predict(image) for image in images]

    @torch.no_grad()
    def _predict(self, image: np.ndarray) -> Prediction:
        device = next(self.voting.parameters()).device
        batch, (size,) = network_input([image], self.config)
        with autocast(self.config, device):
            trunk = self.voting.trunk(batch.to(device))
        semantic, votes = self.voting(trunk)
        shape = rows, columns = -(-size[0] // STRIDE), -(-size[1] // STRIDE)
        outputs = (semantic[0], votes.heatmap[0], votes.offsets[0])
        logits, heatmap, offsets = (value[..., :rows, :columns].cpu() for value in outputs)
        labels, segments = group(logits.argmax(0), heatmap, offsets, self.is_thing)
        node_costs = -logits.flatten(1).T.numpy()
        cost = float(node_costs[np.arange(len(labels)), labels].sum())
        solved = Solved(node_costs, [], amwc.Solution(labels, segments, np.empty(0, np.uint8), cost), shape)
        quarter = from_solution(labels, segments, shape)
        return at_full_resolution(image, size, solved, quarter, self.is_thing, self.config)
