"""Both training stages of COPS (paper, Section 4.2), with checkpoints.

All that is random in an iteration is drawn from (seed, stage, iteration), so a run that was killed and
resumed continues exactly as it would have.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

import difflayers
from difflayers.panoptic import (
    PanopticLabels,
    PanopticLayer,
    PanopticQuality,
    SoftPanopticQualityLoss,
    reject_small,
    resize,
)
from examples.cops.config import Config
from examples.cops.losses import stage_one_loss
from examples.cops.network import CopsNetwork, Costs
from examples.cops.samples import Sample, augment, shrink, to_tensor
from examples.cops.targets import stage_one_targets

STRIDE = 4  # the network's output stride: costs live at a quarter of the resolution
GRADIENT_NORM = 5.0
Batch = tuple[Tensor, list[PanopticLabels]]
Step = Callable[[Batch], tuple[Tensor, dict[str, float]]]


def draw_batch(data: Any, size: int, config: Config, generator: np.random.Generator) -> Batch:
    """Draw ``size`` augmented crops: images (B, 3, H, W) and labels at a quarter of the resolution."""
    samples = [
        augment(shrink(data[i], config.max_side), config.size, generator, config.scale)
        for i in generator.integers(len(data), size=size)
    ]
    return torch.stack([to_tensor(sample.image) for sample in samples]), quarter_labels(samples)


def quarter_labels(samples: Sequence[Sample]) -> list[PanopticLabels]:
    return [
        resize(s.labels, (s.labels.segments.shape[0] // STRIDE, s.labels.segments.shape[1] // STRIDE))
        for s in samples
    ]


def drop_costs(costs: Costs, probability: float) -> Costs:
    """Zero whole pixels of the node costs and single edges, neither rescaled (the paper's settings)."""

    def keep(like: Tensor) -> Tensor:
        return (torch.rand_like(like) >= probability).to(like.dtype)

    node = costs.node * keep(costs.node[:, :1])
    return Costs(node, [(v * keep(v), h * keep(h)) for v, h in costs.edge])


def freeze_batch_norm(network: nn.Module) -> None:
    """Put every batch norm into evaluation mode: its statistics stay those of stage 1."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def stage_one_step(network: CopsNetwork, is_thing: np.ndarray, config: Config) -> Step:
    """Cross-entropies on classes and boundaries."""

    def step(batch: Batch) -> tuple[Tensor, dict[str, float]]:
        images, labels = batch
        network.train()
        targets = [
            stage_one_targets(label, is_thing, config.distances, STRIDE**2, config.small_area)
            for label in labels
        ]
        return stage_one_loss(network(images), targets)

    return step


def stage_two_step(network: CopsNetwork, layer: PanopticLayer, loss: nn.Module, config: Config) -> Step:
    """Soft panoptic quality through the solver, and nothing else."""

    def step(batch: Batch) -> tuple[Tensor, dict[str, float]]:
        images, targets = batch
        network.train()
        freeze_batch_norm(network)
        costs = drop_costs(network.costs(network(images)), config.cost_dropout)
        output = layer(costs.node, costs.edge, targets)
        value = loss(output.masks, targets)
        exact = PanopticQuality(len(layer.is_thing), layer.is_thing)
        for prediction, target in zip(output.labels, targets, strict=True):
            areas = config.thing_area / STRIDE**2, config.stuff_area / STRIDE**2
            exact.update(reject_small(prediction, layer.is_thing, *areas), target)
        return config.loss_weight * value, {"soft_pq": 1 - value.item(), "pq": exact.compute().pq}

    return step


def panoptic_layer(is_thing: np.ndarray, config: Config, n_jobs: int = -1) -> PanopticLayer:
    """The solver layer; the scales are set anew in every iteration."""
    return PanopticLayer(is_thing, config.distances, n_jobs=n_jobs)


def train_stage_one(
    network: CopsNetwork, data: Any, config: Config, checkpoint: "Checkpoint", progress: bool = True
) -> list[dict[str, float]]:
    """Stage 1: top-k cross-entropies, Adam with polynomial decay. Returns the log."""
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate_one)
    step = stage_one_step(network, data.is_thing, config)

    def rate(iteration: int) -> float:
        return (1 - iteration / config.iterations_one) ** 0.9

    def iterate(iteration: int) -> tuple[Tensor, dict[str, float]]:
        generator = seeded(config.seed, 1, iteration)
        return step(draw_batch(data, config.batch_one, config, generator))

    return _run(1, network, optimizer, rate, config.iterations_one, iterate, checkpoint, progress)


def train_stage_two(
    network: CopsNetwork, data: Any, config: Config, checkpoint: "Checkpoint", progress: bool = True
) -> list[dict[str, float]]:
    """Stage 2: soft PQ through the AMWC solver; backbone and batch norm frozen. Returns the log."""
    network.requires_grad_(False)
    trained = network.full_training_parameters()
    for parameter in trained:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(trained, config.learning_rate_two)
    layer = panoptic_layer(data.is_thing, config)
    loss = SoftPanopticQualityLoss(data.is_thing, config.thing_area, config.stuff_area, STRIDE**2)
    step = stage_two_step(network, layer, loss, config)

    def rate(iteration: int) -> float:
        decay = (1 - iteration / config.iterations_two) ** 0.9
        return decay * min(1.0, (iteration + 1) / config.warm_up)

    def iterate(iteration: int) -> tuple[Tensor, dict[str, float]]:
        generator = seeded(config.seed, 2, iteration)
        seed = int(generator.integers(2**31))
        layer.scales = difflayers.UniformScales(*config.scales, samples=config.samples, seed=seed)
        return step(draw_batch(data, config.batch_two, config, generator))

    return _run(2, network, optimizer, rate, config.iterations_two, iterate, checkpoint, progress)


def seeded(seed: int, stage: int, iteration: int) -> np.random.Generator:
    """NumPy's generator for one iteration; torch's global one is seeded beside it (for the cost dropout)."""
    generator = np.random.default_rng((seed, stage, iteration))
    torch.manual_seed(int(generator.integers(2**62)))
    return generator


class Checkpoint:
    """A file that holds one stage's progress; written whole or not at all.

    Args:
        path: the file.
        every: iterations between two writes.
        about: what a reader of the file needs to rebuild the network; plain values only.
    """

    def __init__(self, path: Path, every: int = 50, about: dict[str, Any] | None = None) -> None:
        self.path, self.every, self.about = path, every, about or {}

    def save(self, **state: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        torch.save({"about": self.about, **state}, partial)
        os.replace(partial, self.path)  # atomic: a kill leaves the old file or the new one

    def load(self) -> dict[str, Any] | None:
        if not self.path.exists():
            return None
        return torch.load(self.path, map_location="cpu", weights_only=True)


def _run(
    stage: int,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    rate: Callable[[int], float],
    iterations: int,
    iterate: Callable[[int], tuple[Tensor, dict[str, float]]],
    checkpoint: Checkpoint,
    progress: bool,
) -> list[dict[str, float]]:
    log: list[dict[str, float]] = []
    state = checkpoint.load()
    if state is not None:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        log = state["log"]
    base = [group["lr"] for group in optimizer.param_groups] if state is None else state["base_rates"]
    bar = tqdm(
        range(len(log), iterations),
        f"stage {stage}",
        iterations,
        initial=len(log),
        disable=not progress,
        mininterval=2,
    )
    for iteration in bar:
        for group, start in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = start * rate(iteration)
        loss, figures = iterate(iteration)
        optimizer.zero_grad()
        loss.backward()
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(trained, GRADIENT_NORM)
        optimizer.step()
        log.append({"stage": stage, "iteration": iteration, "loss": loss.item(), **figures})
        bar.set_postfix({name: f"{_recent(log, name):.3f}" for name in ("loss", *figures)})
        if (iteration + 1) % checkpoint.every == 0 or iteration + 1 == iterations:
            checkpoint.save(
                network=network.state_dict(), optimizer=optimizer.state_dict(), log=log, base_rates=base
            )
    return log


def _recent(log: list[dict[str, float]], name: str, window: int = 20) -> float:
    return float(np.mean([entry[name] for entry in log[-window:]]))
