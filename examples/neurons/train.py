"""Training of the network on pixels, and of the edge costs through the solver."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

import difflayers
from difflayers.graph import RegionGraph
from examples.neurons.data import Slice
from examples.neurons.network import EdgeCosts, UNet, true_affinities
from examples.neurons.segment import Problem, cheapest_cuts


class EdgeLoss(Protocol):
    """Compares edge costs (m,) of a region graph with the cuts (m,) that its cells want."""

    def __call__(self, costs: Tensor, cuts: Tensor, regions: RegionGraph) -> Tensor: ...


def edge_losses(seed: int) -> dict[str, EdgeLoss]:
    """The losses on edges by name, each a sum over the edges.

    σ is in the unit of the costs, a logit. The blackbox layer sees costs of mean square 1, because multicuts
    do not depend on the unit of the costs, and λ would.
    """
    noise = difflayers.gaussian_noise(seed)
    young = difflayers.losses.FenchelYoungLoss(cheapest_cuts, sigma=1.0, samples=3, noise=noise)
    scales = difflayers.UniformScales(0.3, 1.5, samples=3, seed=seed)
    blackbox = difflayers.BlackboxLayer(cheapest_cuts, scales=scales)

    def edge_by_edge(costs: Tensor, cuts: Tensor, regions: RegionGraph) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(-costs, cuts, reduction="sum")

    def fenchel_young(costs: Tensor, cuts: Tensor, regions: RegionGraph) -> Tensor:
        return young(costs[None], true_solutions=cuts[None], context=[regions])

    def hamming(costs: Tensor, cuts: Tensor, regions: RegionGraph) -> Tensor:
        found = blackbox((costs / costs.square().mean().sqrt())[None], context=[regions])
        return difflayers.losses.hamming_loss(found, cuts[None])

    return {"edge by edge": edge_by_edge, "Fenchel–Young": fenchel_young, "blackbox": hamming}


def pixel_loss(logits: Tensor, cells: np.ndarray) -> Tensor:
    """Cross-entropy of the affinities (8, h, w), over the pairs that lie in the slice."""
    wanted = torch.from_numpy(true_affinities(cells))
    known = ~wanted.isnan()
    return nn.functional.binary_cross_entropy_with_logits(logits[known], wanted[known])


def train_network(
    network: UNet,
    slices: Sequence[Slice],
    steps: int,
    seed: int,
    side: int = 176,
    rate: float = 3e-3,
) -> list[float]:
    """Train on random crops with Adam, its rate rising and falling in one cycle.

    Args:
        network: is changed.
        slices: to train on.
        steps: crops seen, one per step.
        seed: of the crops.
        side: height and width of a crop in pixels; a smaller slice is taken whole.
        rate: largest learning rate of Adam.

    Returns:
        The loss of each step.
    """
    optimizer = torch.optim.Adam(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    crops = random_crops(slices, side, np.random.default_rng(seed))
    losses = []
    network.train()
    for crop in islice(crops, steps):
        loss = pixel_loss(network(torch.from_numpy(crop.image)[None, None])[0], crop.cells)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def train_costs(
    problems: Sequence[Problem], edge_loss: EdgeLoss, epochs: int, seed: int, rate: float = 3e-3
) -> tuple[EdgeCosts, list[float]]:
    """Train the costs of edges with Adam, one slice per step.

    Args:
        problems: of the slices to train on.
        edge_loss: one of `edge_losses`.
        epochs: how often each slice is seen.
        seed: of the first weights and of the order of the slices.
        rate: largest learning rate of Adam.

    Returns:
        The network, and the loss per edge of each step.

    Raises:
        ValueError: if no slice has an edge, because the U-Net sees no boundary.
    """
    problems = [each for each in problems if len(each.cuts)]
    if not problems:
        raise ValueError("problems must have edges, got slices of one region; train the U-Net longer")
    torch.manual_seed(seed)
    costs = EdgeCosts(torch.from_numpy(np.concatenate([each.features for each in problems])))
    optimizer = torch.optim.Adam(costs.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * len(problems))
    losses = []
    for _ in range(epochs):
        for number in torch.randperm(len(problems)).tolist():
            regions, features, cuts = problems[number]
            loss = edge_loss(costs(torch.from_numpy(features)), torch.from_numpy(cuts), regions)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item() / len(cuts))
    return costs, losses


def random_crops(slices: Sequence[Slice], side: int, rng: np.random.Generator) -> Iterator[Slice]:
    """Crops without end, turned, mirrored, and of changed brightness and contrast."""
    while True:
        chosen = slices[int(rng.integers(len(slices)))]
        top, left = (int(rng.integers(max(0, length - side) + 1)) for length in chosen.image.shape)
        window = slice(top, top + side), slice(left, left + side)
        turns, mirrored = int(rng.integers(4)), int(rng.choice([-1, 1]))
        image, cells = (
            np.rot90(array[window], turns)[:, ::mirrored] for array in (chosen.image, chosen.cells)
        )
        image = rng.uniform(0.8, 1.2) * (image - 0.5) + 0.5 + rng.uniform(-0.1, 0.1)
        yield Slice(np.ascontiguousarray(image, np.float32), np.ascontiguousarray(cells))


@torch.no_grad()
def predict(network: UNet, image: np.ndarray) -> np.ndarray:
    """Logits of affinities (8, h, w) float32 of a slice (h, w)."""
    network.eval()
    return network(torch.from_numpy(image)[None, None])[0].numpy()
