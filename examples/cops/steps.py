"""The loss of a training step: cross-entropies, or soft panoptic quality through the solver (Section 4.2)."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import difflayers
from difflayers import amwc
from difflayers.panoptic import (
    PanopticLabels,
    PanopticLayer,
    PanopticOutput,
    PanopticQuality,
    SegmentMasks,
    SoftPanopticQualityLoss,
    reject_small,
)
from examples.cops.config import Config
from examples.cops.data.batches import STRIDE, Batch
from examples.cops.losses import stage_one_loss
from examples.cops.network import CopsNetwork, Costs, Logits
from examples.cops.run.processes import gathered, rank, solver_jobs, world


class CrossEntropyStep(nn.Module):
    """Stage 1: cross-entropies on classes and boundaries."""

    def __init__(self, network: CopsNetwork, config: Config) -> None:
        super().__init__()
        self.network, self.config = network, config

    def forward(self, batch: Batch, trunk: Any = None) -> tuple[Tensor, dict[str, float]]:
        self.network.train()
        logits = logits_of(self.network, batch.images, self.config)
        assert batch.targets is not None  # batches of stage 1 have them
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
        solve = partial(amwc.solve, method=config.solver.method)
        self.layer = PanopticLayer(
            is_thing,
            config.network.distances,
            solver=solve,
            lifted_solver=solve,
            n_jobs=solver_jobs(),
            on_device=False,
        )
        self.place: str | None = None if config.solver.place == "auto" else config.solver.place
        stuff_area = config.rejection.stuff_area * config.loss.crop_stuff_factor
        self.loss = SoftPanopticQualityLoss(is_thing, config.rejection.thing_area, stuff_area, STRIDE**2)

    def forward(self, batch: Batch, trunk: Any = None) -> tuple[Tensor, dict[str, float]]:
        self.network.train(not self.frozen_trunk)
        costs = self.network.costs(logits_of(self.network, batch.images, self.config, trunk))
        check_finite("the costs that the network puts out", *tensors(costs))
        costs = drop_costs(costs, self.config.loss.cost_dropout, batch.seeds)
        sum_gradients_over_processes(costs)
        if self.place is None:
            self.place = self.faster_place(costs, batch)
        output = self.layer_at(self.place, batch)(costs.node, costs.edge, batch.labels)
        value = self.loss(*whole_batch(output, batch.labels))
        exact = PanopticQuality(len(self.layer.is_thing), self.layer.is_thing)
        for prediction, target in zip(output.labels, batch.labels, strict=True):
            areas = self.config.rejection.thing_area / STRIDE**2, self.config.rejection.stuff_area / STRIDE**2
            exact.update(reject_small(prediction, self.layer.is_thing, *areas), target)
        return self.config.loss.weight * value, {"soft_pq": 1 - value.item(), "pq": exact.compute().pq}

    def faster_place(self, costs: Costs, batch: Batch) -> str:
        """Where to solve from now on: for costs on a GPU, where the layer is faster on this batch."""
        if costs.node.device.type == "cpu":
            return "cpu"
        seconds = {place: self.seconds(place, costs, batch) for place in ("cpu", "gpu")}
        faster = gathered("gpu" if seconds["gpu"] < seconds["cpu"] else "cpu")[0]  # all processes do the same
        if rank() == 0:
            taken = ", ".join(f"{place} {value:.3f} s" for place, value in seconds.items())
            print(f"solver: {faster} (layer and loss on the first batch: {taken})", flush=True)
        return faster

    def layer_at(self, place: str, batch: Batch) -> PanopticLayer:
        """The layer, as it solves there, with the λ of an iteration."""
        low, high = self.config.solver.scales
        self.layer.scales = difflayers.UniformScales(
            low, high, self.config.solver.samples, seed=batch.scale_seed
        )
        self.layer.on_device = place == "gpu"
        return self.layer

    def seconds(self, place: str, costs: Costs, batch: Batch) -> float:
        """What layer and loss take there, forward and backward, after a first time that compiles."""
        started = 0.0
        for _ in range(2):
            node = costs.node.detach().requires_grad_()
            edge = [(v.detach().requires_grad_(), h.detach().requires_grad_()) for v, h in costs.edge]
            finish(node.device)
            started = time.perf_counter()
            output = self.layer_at(place, batch)(node, edge, batch.labels)
            self.loss(output.masks, batch.labels).backward()
            finish(node.device)
        return time.perf_counter() - started


def finish(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def whole_batch(
    output: PanopticOutput, targets: list[PanopticLabels]
) -> tuple[list[SegmentMasks], list[PanopticLabels]]:
    """Masks and targets of the images of all processes; only this process's masks have a gradient.

    Panoptic quality is a ratio of sums over the whole batch. Each process's own ratio would give the solver a
    gradient that grows with the number of processes, and λ would grow with it.
    """
    parts = gathered([] if world() == 1 else list(zip(output.labels, targets, strict=True)))
    masks: list[SegmentMasks] = []
    truth: list[PanopticLabels] = []
    for number, part in enumerate(parts):
        own = number == rank()
        masks += output.masks if own else [_constant_masks(labels, output.masks[0]) for labels, _ in part]
        truth += targets if own else [target for _, target in part]
    return masks, truth


def _constant_masks(labels: PanopticLabels, like: SegmentMasks) -> SegmentMasks:
    numbers = torch.arange(len(labels.classes)).view(-1, 1, 1)
    masks = (torch.from_numpy(labels.segments) == numbers).to(like.masks)
    return SegmentMasks(masks, torch.as_tensor(labels.classes))


def sum_gradients_over_processes(costs: Costs) -> None:
    """Make the gradients of costs add up over the processes, of which DistributedDataParallel takes the mean.

    The factor stands behind the backward pass of the solver, which so sees the gradient of the loss itself.
    """
    for tensor in tensors(costs):
        if tensor.requires_grad and world() > 1:
            tensor.register_hook(lambda gradient: gradient * world())


def tensors(costs: Costs) -> list[Tensor]:
    """All tensors of costs: those of the nodes, then those of the edges."""
    return [costs.node, *(side for pair in costs.edge for side in pair)]


def check_finite(what: str, *values: Tensor) -> None:
    """Raise FloatingPointError if a tensor holds NaN or infinity."""
    if not torch.stack([value.isfinite().all() for value in values]).all():
        raise FloatingPointError(f"{what} hold NaN or infinite values")


def drop_costs(costs: Costs, probability: float, seeds: Sequence[int]) -> Costs:
    """Zero whole pixels of the node costs and single edges, neither rescaled (the paper's settings).

    What is zeroed of an image depends on its seed alone, not on the images beside it.
    """
    like = [costs.node[:, 0], *(side for pair in costs.edge for side in pair)]
    sizes = [side[0].numel() for side in like]
    drawn = [_uniform(sum(sizes), seed, costs.node.device) for seed in seeds]
    kept = [part.view_as(side) for part, side in zip(torch.stack(drawn).split(sizes, 1), like, strict=True)]
    node, *edges = [(part >= probability).to(costs.node.dtype) for part in kept]
    sides = [side * keep for side, keep in zip(like[1:], edges, strict=True)]
    return Costs(costs.node * node[:, None], list(zip(sides[::2], sides[1::2], strict=True)))


def _uniform(count: int, seed: int, device: torch.device) -> Tensor:
    return torch.rand(count, device=device, generator=torch.Generator(device).manual_seed(seed))


def autocast(config: Config, device: torch.device) -> torch.autocast:
    """Mixed precision, if the settings want it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.training.precision == "bfloat16")


def logits_of(network: CopsNetwork, images: Tensor, config: Config, trunk: Any = None) -> Logits:
    """The network's logits in float32, whatever it computed in."""
    with autocast(config, images.device):
        logits = network(images) if trunk is None else network.heads(trunk)
    return Logits(logits.semantic.float(), [(v.float(), h.float()) for v, h in logits.boundary])
