"""Learn to cluster points as drawn strokes, however many there are, through a multicut solver.

A small network gives every pair of points a cost: positive holds the two together, negative drives them
apart. The multicut is the partition of least cost. Whether two distant points are of one stroke cannot be
seen by looking at them alone; a loss that sees the partition can leave them to the points in between.
`python -m examples.clustering` compares ways to train the network.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import difflayers
from difflayers.solvers import MinimumCostMulticut
from examples.comparison import Loss, Table, hamming, print_table, save, train

POINTS = 36
PAIRS = np.stack(np.triu_indices(POINTS, 1), axis=1)
FIRST, SECOND = PAIRS.T
SOLVER = MinimumCostMulticut(POINTS, PAIRS)
SHOWN = ("untrained", "pair by pair", "Fenchel–Young", "blackbox")


class Clouds(NamedTuple):
    """Points (N, 36, 2), features of their 630 pairs (N, 630, 7), and 1 for pairs of two strokes (N, 630)."""

    points: Tensor
    pairs: Tensor
    cuts: Tensor


def draw_clouds(count: int, seed: int) -> Clouds:
    """Draw two to four arcs at random places, and points along them with a little noise."""
    draw = np.random.default_rng(seed)
    strokes = np.arange(POINTS) % draw.integers(2, 5, (count, 1))
    order = np.arange(POINTS) // (strokes.max(1, keepdims=True) + 1)
    along = (order + draw.uniform(0.2, 0.8, order.shape)) / (order.max(1, keepdims=True) + 1)
    row, each = np.arange(count)[:, None], (count, 4)
    begin, length = draw.uniform(0, 2 * np.pi, each), draw.uniform(2, 4, each)
    angle = begin[row, strokes] + length[row, strokes] * along
    quarters = draw.permuted(np.tile([[-1, -1], [-1, 1], [1, -1], [1, 1]], (count, 1, 1)), axis=1)
    centre, radius = 0.8 * quarters + draw.uniform(-0.3, 0.3, (*each, 2)), draw.uniform(0.3, 0.8, each)
    at = np.stack([np.cos(angle), np.sin(angle)], 2)
    points = centre[row, strokes] + radius[row, strokes][..., None] * at
    where = torch.from_numpy(points + 0.03 * draw.normal(size=points.shape)).float()
    return Clouds(where, features(where), torch.from_numpy(strokes[:, FIRST] != strokes[:, SECOND]).float())


def features(points: Tensor) -> Tensor:
    """Per pair: its length, how near the next points are to both ends, and the longer leg of two detours."""
    distances = torch.cdist(points, points).clamp(min=1e-3)
    near, length = distances.sort(2).values[:, :, 1:3].mean(2), distances[:, FIRST, SECOND]
    near = torch.stack([near[:, FIRST], near[:, SECOND]], 2).sort(2).values
    detours = torch.maximum(distances[:, FIRST], distances[:, SECOND]).sort(2).values[:, :, :2]
    return torch.cat([length[..., None], near, (length[..., None] / torch.cat([near, detours], 2)).log()], 2)


def network() -> nn.Module:
    """A cost of either sign for every pair."""
    hidden = nn.Linear(7, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU()
    return nn.Sequential(*hidden, nn.Linear(32, 1), nn.Flatten(1))


def scaled(loss: Loss) -> Loss:
    """The loss at costs of mean square 1; partitions do not depend on the unit of the costs."""
    return lambda costs, cuts: loss(costs / costs.square().mean(1, keepdim=True).sqrt(), cuts)


def losses(seed: int) -> dict[str, Loss]:
    """Every way to train; scales are in units of cost. The Hamming distance per pair is 1 - Rand index."""
    gaussian = difflayers.gaussian_noise(seed)  # Gumbel noise has another mean than 0, and signs matter here
    young = difflayers.losses.FenchelYoungLoss(SOLVER, sigma=1.0, samples=2, noise=gaussian, batched=True)
    margin = difflayers.losses.StructuredSVMLoss(SOLVER, margin=0.1, batched=True)
    logistic = nn.functional.binary_cross_entropy_with_logits
    return {
        "pair by pair": lambda costs, cuts: logistic(-costs, cuts),
        "Fenchel–Young": lambda costs, cuts: young(costs, true_solutions=cuts),
        "structured SVM": lambda costs, cuts: margin(costs, true_solutions=cuts),
        "I-MLE": scaled(hamming(difflayers.IMLELayer(SOLVER, 0.5, 0.3, noise=gaussian, batched=True))),
        "blackbox": scaled(hamming(difflayers.BlackboxLayer(SOLVER, scales=2.0, batched=True))),
        "identity": scaled(hamming(difflayers.IdentityLayer(SOLVER, batched=True))),
    }


@torch.no_grad()
def quality(clouds: Clouds, model: nn.Module) -> tuple[float, float]:
    """The Rand index, and the share of clouds that are partitioned without a mistake."""
    right = torch.from_numpy(SOLVER(model(clouds.pairs).numpy())) == clouds.cuts
    return float(right.float().mean()), float(right.all(1).float().mean())


def run(
    seeds: Sequence[int] = (0, 1, 2), training: int = 200, testing: int = 200, epochs: int = 10
) -> tuple[Table, dict[str, nn.Module], Clouds]:
    """Return every method's results, one per seed, and the models and test clouds of the last seed."""
    table: Table = {}
    for seed in seeds:
        clouds, test = draw_clouds(training, 2 * seed), draw_clouds(testing, 2 * seed + 1)
        inputs, targets = [clouds.pairs], [clouds.cuts]
        models = train(network, losses(seed), inputs, targets, seed=seed, epochs=epochs, batch=10, rate=5e-3)
        for name, model in models.items():
            table.setdefault(name, []).append(quality(test, model))
    return table, models, test


@torch.no_grad()
def draw(models: dict[str, nn.Module], clouds: Clouds) -> Figure:
    """A test cloud that only Fenchel–Young of two models gets right, and one that neither does."""
    cuts = {"strokes": clouds.cuts.numpy()}
    cuts |= {name: SOLVER(models[name](clouds.pairs).numpy()) for name in SHOWN}
    figure = Figure(figsize=(2.6 * len(cuts), 5.0), layout="constrained")
    right = {name: (cut == cuts["strokes"]).all(1) for name, cut in cuts.items()}
    wrong, young = ~right["pair by pair"], right["Fenchel–Young"]
    chosen = [(wrong & young).argmax(), (wrong & ~young).argmax()]
    for cloud, axes in zip(chosen, figure.subplots(2, len(cuts)), strict=True):
        for axis, (name, cut) in zip(axes, cuts.items(), strict=True):
            first = np.arange(POINTS)  # per point, the first point that is in the same part
            np.minimum.at(first, SECOND, np.where(cut[cloud] == 0, FIRST, SECOND))
            part = np.unique(first, return_inverse=True)[1]
            axis.scatter(*clouds.points[cloud].T.numpy(), c=part % 10, cmap="tab10", vmin=0, vmax=9, s=22)
            axis.set(title=f"{name}: {part.max() + 1} parts", xticks=[], yticks=[], aspect="equal")
    return figure


if __name__ == "__main__":
    torch.set_num_threads(1)
    table, models, test = run((0,), 60, 60, 3) if "--quick" in sys.argv else run()
    print_table("test clouds, mean (range) over seeds: Rand index; share without a mistake", table)
    save(draw(models, test), "runs/clustering/result.png")
