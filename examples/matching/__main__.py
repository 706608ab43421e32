"""Learn to read handwritten digits from cheapest perfect matchings alone.

After Vlastelica et al., Differentiation of Blackbox Combinatorial Solvers (ICLR 2020): the nodes of a 4 × 4
grid are images of digits, and an edge costs the two-digit number that they make. No digit is labeled: all
that is known of a training grid is which edges its cheapest perfect matching has.
`python -m examples.matching` compares ways to train the network.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

import difflayers
from difflayers.graph import grid_edges
from difflayers.solvers import PerfectMatching
from examples.comparison import Loss, Table, hamming, print_table, save, train

SIDE = 4
EDGES = grid_edges((SIDE, SIDE), [1])
SOLVER = PerfectMatching(SIDE * SIDE, EDGES)
SHOWN = ("untrained", "edge by edge", "Fenchel–Young", "blackbox")


class Grids(NamedTuple):
    """Images (N, 16, 64) from 0 to 1, costs of the edges (N, 24) and cheapest matchings (N, 24)."""

    images: Tensor
    costs: Tensor
    matchings: Tensor


def draw_grids(count: int, seed: int, test: bool) -> Grids:
    """Draw grids of digits; no image is in both training and test grids."""
    digits, draw = load_digits(), np.random.default_rng(seed)
    pool = np.arange(1200, len(digits.data)) if test else np.arange(1200)
    chosen = draw.choice(pool, (count, SIDE * SIDE))
    first, second = digits.target[chosen][:, EDGES[:, 0]], digits.target[chosen][:, EDGES[:, 1]]
    costs = (10.0 * first + second).astype(np.float32) / 10
    images = torch.from_numpy(digits.data[chosen] / 16).float()
    return Grids(images, torch.from_numpy(costs), torch.from_numpy(SOLVER(costs)))


class EdgeCosts(nn.Module):
    """A cost for every edge from the two images at its ends."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, 24) costs of either sign."""
        return self.layers(images[:, EDGES].flatten(2)).squeeze(2)


def standardized(loss: Loss) -> Loss:
    """The loss at costs of mean 0 and deviation 1 per grid. The cheapest matchings stay the same."""
    return lambda costs, matchings: loss(nn.functional.layer_norm(costs, costs.shape[1:]), matchings)


def losses(seed: int) -> dict[str, Loss]:
    """Every way to train; scales are in units of predicted cost, which is about 0.1 at the start."""
    gaussian, gumbel = difflayers.gaussian_noise(seed), difflayers.gumbel_noise(seed)
    young = difflayers.losses.FenchelYoungLoss(SOLVER, sigma=0.2, samples=3, noise=gaussian, batched=True)
    margin = difflayers.losses.StructuredSVMLoss(SOLVER, margin=0.1, batched=True)
    blackbox = difflayers.BlackboxLayer(SOLVER, scales=1.0, batched=True)
    logistic = nn.functional.binary_cross_entropy_with_logits
    return {
        "edge by edge": lambda costs, matchings: logistic(-costs, matchings),
        "Fenchel–Young": lambda costs, matchings: young(costs, true_solutions=matchings),
        "structured SVM": lambda costs, matchings: margin(costs, true_solutions=matchings),
        "perturbed": hamming(difflayers.PerturbedLayer(SOLVER, 1.0, 3, gaussian, batched=True)),
        "I-MLE": hamming(difflayers.IMLELayer(SOLVER, 2.0, 0.3, noise=gumbel, batched=True)),
        "blackbox": standardized(hamming(blackbox)),
        "blackbox, any scale": hamming(blackbox),
        "identity": hamming(difflayers.IdentityLayer(SOLVER, projection="std", batched=True)),
    }


@torch.no_grad()
def quality(grids: Grids, model: EdgeCosts) -> tuple[float, float]:
    """True cost of the matchings found over that of the cheapest, and the share of cheapest matchings."""
    found = torch.from_numpy(SOLVER(model(grids.images).numpy()))
    cost, least = (grids.costs * found).sum(1), (grids.costs * grids.matchings).sum(1)
    return float(cost.sum() / least.sum()), float((cost < least + 1e-3).float().mean())


def run(
    seeds: Sequence[int] = (0, 1, 2), training: int = 500, testing: int = 500, epochs: int = 15
) -> tuple[Table, dict[str, EdgeCosts], Grids]:
    """Return every method's results, one per seed, and the models and test grids of the last seed."""
    table: Table = {}
    for seed in seeds:
        grids, test = draw_grids(training, 2 * seed, False), draw_grids(testing, 2 * seed + 1, True)
        inputs, targets = [grids.images], [grids.matchings]
        models = train(
            EdgeCosts, losses(seed), inputs, targets, seed=seed, epochs=epochs, batch=20, rate=3e-3
        )
        for name, model in models.items():
            table.setdefault(name, []).append(quality(test, model))
    return table, models, test


@torch.no_grad()
def draw(models: dict[str, EdgeCosts], grids: Grids) -> Figure:
    """A test grid with the cheapest matching and those that some of the models find."""
    figure = Figure(figsize=(14, 3.2), layout="constrained")
    panels = {"cheapest": grids.matchings[0].numpy()}
    panels |= {name: SOLVER(models[name](grids.images[:1]).numpy())[0] for name in SHOWN}
    digits = nn.functional.pad(grids.images[0].view(SIDE, SIDE, 8, 8), (2, 2, 2, 2))
    picture = digits.swapaxes(1, 2).reshape(12 * SIDE, 12 * SIDE)
    row, column = 12 * np.stack(np.divmod(EDGES, SIDE)) + 5.5
    for axis, (name, matching) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axis.imshow(picture.numpy(), cmap="gray_r")
        for i in np.flatnonzero(matching):
            axis.plot(column[i], row[i], color="tab:red", lw=12, alpha=0.4, solid_capstyle="round")
        axis.set(
            title=f"{name}, cost {10 * float(grids.costs[0].numpy() @ matching):.0f}", xticks=[], yticks=[]
        )
    return figure


if __name__ == "__main__":
    torch.set_num_threads(1)
    table, models, test = run((0,), 100, 100, 3) if "--quick" in sys.argv else run()
    print_table("test grids, mean (range) over seeds: cost ratio; share of cheapest matchings", table)
    save(draw(models, test), "runs/matching/result.png")
