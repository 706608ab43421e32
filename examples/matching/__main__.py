"""Learn to read handwritten digits from cheapest perfect matchings alone.

After Vlastelica et al., Differentiation of Blackbox Combinatorial Solvers (ICLR 2020): the nodes of a 4 × 4
grid are images of digits, and an edge costs the two-digit number that they make. No digit is labelled: all
that is known of a training grid is which edges its cheapest perfect matching has.
`python -m examples.matching` compares ways to train the network.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn

import difflayers
from difflayers.graph import grid_edges
from difflayers.solvers import PerfectMatching

SIDE = 4
EDGES = grid_edges((SIDE, SIDE), [1])
SOLVER = PerfectMatching(SIDE * SIDE, EDGES)
SHOWN = ("untrained", "edge by edge", "Fenchel–Young", "blackbox")
Table = dict[str, list[tuple[float, float]]]  # of every method, a row a seed
Loss = Callable[[Tensor, Tensor], Tensor]  # (predicted costs, cheapest matchings) -> loss


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
    """The loss at costs of mean 0 and deviation 1 on each grid, which have the same cheapest matchings."""
    return lambda costs, matchings: loss(nn.functional.layer_norm(costs, costs.shape[1:]), matchings)


def through(layer: nn.Module) -> Loss:
    """Hamming distance between the layer's matching and the cheapest one, summed over a batch."""
    distance = difflayers.losses.hamming_loss
    return lambda costs, matchings: distance(layer(costs), matchings, reduction="sum")


def losses(seed: int) -> dict[str, Loss]:
    """Every way to train; scales are in units of predicted cost, which start out about 0.1."""
    gaussian, gumbel = difflayers.gaussian_noise(seed), difflayers.gumbel_noise(seed)
    young = difflayers.losses.FenchelYoungLoss(SOLVER, sigma=0.2, samples=3, noise=gaussian, batched=True)
    margin = difflayers.losses.StructuredSVMLoss(SOLVER, margin=0.1, batched=True)
    blackbox = difflayers.BlackboxLayer(SOLVER, scales=1.0, batched=True)
    logistic = nn.functional.binary_cross_entropy_with_logits
    return {
        "edge by edge": lambda costs, matchings: logistic(-costs, matchings),
        "Fenchel–Young": lambda costs, matchings: young(costs, true_solutions=matchings),
        "structured SVM": lambda costs, matchings: margin(costs, true_solutions=matchings),
        "perturbed": through(difflayers.PerturbedLayer(SOLVER, 1.0, 3, gaussian, batched=True)),
        "I-MLE": through(difflayers.IMLELayer(SOLVER, 2.0, 0.3, noise=gumbel, batched=True)),
        "blackbox": standardized(through(blackbox)),
        "blackbox, any scale": through(blackbox),
        "identity": through(difflayers.IdentityLayer(SOLVER, projection="std", batched=True)),
    }


def train(grids: Grids, loss: Loss, seed: int, epochs: int) -> EdgeCosts:
    """Fit a network to cheapest matchings."""
    torch.manual_seed(seed)
    model = EdgeCosts()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(grids.images)).split(20):
            optimizer.zero_grad()
            loss(model(grids.images[rows]), grids.matchings[rows]).backward()
            optimizer.step()
    return model


@torch.no_grad()
def quality(grids: Grids, model: EdgeCosts) -> tuple[float, float]:
    """True cost of the matchings found over that of the cheapest, and the share of cheapest matchings."""
    found = torch.from_numpy(SOLVER(model(grids.images).numpy()))
    cost, least = (grids.costs * found).sum(1), (grids.costs * grids.matchings).sum(1)
    return float(cost.sum() / least.sum()), float((cost < least + 1e-3).float().mean())


def run(
    seeds: Sequence[int] = (0, 1, 2), training: int = 500, testing: int = 500, epochs: int = 15
) -> tuple[Table, dict[str, EdgeCosts], Grids]:
    """Return every method's results, one a seed, and the models and test grids of the last seed."""
    table: Table = {}
    for seed in seeds:
        grids, test = draw_grids(training, 2 * seed, False), draw_grids(testing, 2 * seed + 1, True)
        torch.manual_seed(seed)
        models = {"untrained": EdgeCosts()}
        models |= {name: train(grids, loss, seed, epochs) for name, loss in losses(seed).items()}
        for name, model in models.items():
            table.setdefault(name, []).append(quality(test, model))
    return table, models, test


@torch.no_grad()
def draw(models: dict[str, EdgeCosts], grids: Grids, path: Path) -> None:
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
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    torch.set_num_threads(1)
    table, models, test = run((0,), 100, 100, 3) if "--quick" in sys.argv else run()
    print("test grids, mean (range) over seeds: cost ratio; share of cheapest matchings")
    for name, results in table.items():
        columns = [f"{np.mean(c):.3f} ({min(c):.3f}–{max(c):.3f})" for c in zip(*results, strict=True)]
        print(f"{name:20}" + "   ".join(columns))
    draw(models, test, Path("runs/matching/result.png"))
    print(f"{time.process_time():.0f} s of CPU time; picture: runs/matching/result.png")
