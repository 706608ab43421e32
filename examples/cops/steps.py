"""The loss of a training step: cross-entropies, or soft panoptic quality through the solver (Section 4.2)."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import difflayers
from difflayers import amwc
from difflayers.panoptic import PanopticLayer, PanopticQuality, SoftPanopticQualityLoss, reject_small
from examples.cops.config import Config
from examples.cops.data.batches import STRIDE, Batch
from examples.cops.losses import stage_one_loss
from examples.cops.network import CopsNetwork, Costs, Logits
from examples.cops.run.processes import solver_jobs


class CrossEntropyStep(nn.Module):
    """Stage 1: cross-entropies on classes and boundaries."""

    def __init__(self, network: CopsNetwork, config: Config) -> None:
        super().__init__()
        self.network, self.config = network, config

    def forward(self, batch: Batch, trunk: Any = None) -> tuple[Tensor, dict[str, float]]:
        self.network.train()
        logits = logits_of(self.network, batch.images, self.config)
        return stage_one_loss(logits, batch.targets, self.config)


class SolverStep(nn.Module):
    """Soft panoptic quality through the solver, and nothing else.

    Args:
        network: the network.
        is_thing: (K,) bool.
        config: the settings.
        frozen_trunk: of stage 2: batch norm and dropout are then those of evaluation.
    """

    def __init__(
        self, network: CopsNetwork, is_thing: np.ndarray, config: Config, frozen_trunk: bool
    ) -> None:
        super().__init__()
        self.network, self.config, self.frozen_trunk = network, config, frozen_trunk
        self.layer = PanopticLayer(
            is_thing,
            config.network.distances,
            solver=partial(amwc.solve, method=config.solver.method),
            lifted_solver=partial(amwc.solve, method=config.solver.method),
            n_jobs=solver_jobs(),
        )
        stuff_area = config.rejection.stuff_area * config.loss.crop_stuff_factor
        self.loss = SoftPanopticQualityLoss(is_thing, config.rejection.thing_area, stuff_area, STRIDE**2)

    def forward(self, batch: Batch, trunk: Any = None) -> tuple[Tensor, dict[str, float]]:
        self.network.train(not self.frozen_trunk)
        costs = self.network.costs(logits_of(self.network, batch.images, self.config, trunk))
        costs = drop_costs(costs, self.config.loss.cost_dropout)
        low, high = self.config.solver.scales
        self.layer.scales = difflayers.UniformScales(
            low, high, self.config.solver.samples, seed=batch.scale_seed
        )
        output = self.layer(costs.node, costs.edge, batch.labels)
        value = self.loss(output.masks, batch.labels)
        exact = PanopticQuality(len(self.layer.is_thing), self.layer.is_thing)
        for prediction, target in zip(output.labels, batch.labels, strict=True):
            areas = self.config.rejection.thing_area / STRIDE**2, self.config.rejection.stuff_area / STRIDE**2
            exact.update(reject_small(prediction, self.layer.is_thing, *areas), target)
        return self.config.loss.weight * value, {"soft_pq": 1 - value.item(), "pq": exact.compute().pq}


def drop_costs(costs: Costs, probability: float) -> Costs:
    """Zero whole pixels of the node costs and single edges, neither rescaled (the paper's settings)."""

    def keep(like: Tensor) -> Tensor:
        return (torch.rand_like(like) >= probability).to(like.dtype)

    node = costs.node * keep(costs.node[:, :1])
    return Costs(node, [(v * keep(v), h * keep(h)) for v, h in costs.edge])


def autocast(config: Config, device: torch.device) -> torch.autocast:
    """Mixed precision, if the settings want it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.training.precision == "bfloat16")


def logits_of(network: CopsNetwork, images: Tensor, config: Config, trunk: Any = None) -> Logits:
    """The network's logits in float32, whatever it computed in."""
    with autocast(config, images.device):
        logits = network(images) if trunk is None else network.heads(trunk)
    return Logits(logits.semantic.float(), [(v.float(), h.float()) for v, h in logits.boundary])
