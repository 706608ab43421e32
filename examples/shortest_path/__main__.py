"""Learn what terrain costs from pictures of drawn maps and the cheapest paths across them.

After Vlastelica et al., Differentiation of Blackbox Combinatorial Solvers (ICLR 2020): image → network → a
cost for each cell → Dijkstra with 8 neighbours → path. `python -m examples.shortest_path` compares ways to
train the network.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

import difflayers
from difflayers.solvers import GridShortestPath
from examples.comparison import Loss, Table, hamming, print_table, save, train

CELLS, PIXELS = 12, 4  # a map has 12 × 12 cells of 4 × 4 pixels
TERRAIN_COSTS = np.array([9.0, 1.5, 1.0, 3.0, 6.0])  # water, sand, grass, forest, rock
TERRAIN_COLOURS = (
    np.array([[60, 100, 190], [225, 205, 140], [120, 180, 80], [40, 100, 50], [130, 125, 120]]) / 255
)
SOLVER = GridShortestPath((CELLS, CELLS), neighbours=8, clip_negative=True)
SHOWN = ("untrained", "cell by cell", "structured SVM", "blackbox", "blackbox, any scale")


class Maps(NamedTuple):
    """Images (N, 3, 48, 48), the cost of each cell (N, 12, 12) and the cheapest paths (N, 12, 12)."""

    images: Tensor
    costs: Tensor
    paths: Tensor


def draw_maps(count: int, seed: int) -> Maps:
    """Draw hills and lakes from smooth noise: five terrains by height, with grain and uneven light."""
    draw = np.random.default_rng(seed)
    heights = gaussian_filter(draw.normal(size=(count, CELLS, CELLS)), (0, 1.2, 1.2))
    terrain = np.digitize(
        heights / heights.std() + 0.3 * draw.normal(size=heights.shape), [-0.9, -0.4, 0.3, 0.9]
    )
    pixels = terrain.repeat(PIXELS, 1).repeat(PIXELS, 2)
    light = 4 * gaussian_filter(draw.normal(size=pixels.shape), (0, 12, 12))
    images = TERRAIN_COLOURS[pixels] + (light + 0.1 * draw.normal(size=pixels.shape))[..., None]
    costs = torch.from_numpy(TERRAIN_COSTS[terrain]).float()
    images = torch.from_numpy(images.clip(0, 1)).float().movedim(3, 1).contiguous()
    return Maps(images, costs, torch.from_numpy(SOLVER(costs.numpy())))


def network() -> nn.Module:
    """A positive cost (N, 12, 12) for every cell from its pixels and those next to it."""
    first, second = nn.Conv2d(3, 16, 4, stride=2, padding=1), nn.Conv2d(16, 32, 4, stride=2, padding=1)
    return nn.Sequential(
        first, nn.ReLU(), second, nn.ReLU(), nn.Conv2d(32, 1, 1), nn.Softplus(), nn.Flatten(1, 2)
    )


def scaled(loss: Loss) -> Loss:
    """The loss at costs of mean 1 per map; paths do not depend on the unit of the costs."""
    return lambda costs, paths: loss(costs / costs.mean((1, 2), keepdim=True), paths)


def losses(seed: int) -> dict[str, Loss]:
    """Every way to train; scales are in units of a map's mean cost."""
    gaussian, gumbel = difflayers.gaussian_noise(seed), difflayers.gumbel_noise(seed)
    young = difflayers.losses.FenchelYoungLoss(SOLVER, sigma=0.1, samples=3, noise=gaussian, batched=True)
    margin = difflayers.losses.StructuredSVMLoss(SOLVER, margin=0.05, batched=True)
    blackbox = difflayers.BlackboxLayer(SOLVER, scales=1.0, batched=True)
    return {
        # exp(-cost) as the probability of being on the path, so that the cheapest path is the most likely one
        "cell by cell": lambda costs, paths: nn.functional.binary_cross_entropy(torch.exp(-costs), paths),
        "Fenchel–Young": scaled(lambda costs, paths: young(costs, true_solutions=paths)),
        "structured SVM": scaled(lambda costs, paths: margin(costs, true_solutions=paths)),
        "I-MLE": scaled(hamming(difflayers.IMLELayer(SOLVER, 1.0, 0.05, noise=gumbel, batched=True))),
        "blackbox": scaled(hamming(blackbox)),
        "blackbox, any scale": hamming(blackbox),
        "identity": scaled(hamming(difflayers.IdentityLayer(SOLVER, batched=True))),
    }


@torch.no_grad()
def quality(maps: Maps, model: nn.Module) -> tuple[float, float]:
    """Mean true cost of the paths found over that of the cheapest, and the share of cheapest paths."""
    found = torch.from_numpy(SOLVER(model(maps.images).numpy()))
    ratio = (maps.costs * found).sum((1, 2)) / (maps.costs * maps.paths).sum((1, 2))
    return float(ratio.mean()), float((ratio < 1 + 1e-6).float().mean())


def run(
    seeds: Sequence[int] = (0, 1, 2), training: int = 300, testing: int = 300, epochs: int = 15
) -> tuple[Table, dict[str, nn.Module], Maps]:
    """Return every method's results, one per seed, and the models and test maps of the last seed."""
    table: Table = {}
    for seed in seeds:
        maps, test = draw_maps(training, 2 * seed), draw_maps(testing, 2 * seed + 1)
        inputs, targets = [maps.images], [maps.paths]
        models = train(network, losses(seed), inputs, targets, seed=seed, epochs=epochs, batch=20, rate=3e-3)
        for name, model in models.items():
            table.setdefault(name, []).append(quality(test, model))
    return table, models, test


@torch.no_grad()
def draw(models: dict[str, nn.Module], maps: Maps) -> Figure:
    """A test map with its cheapest path, and what some of the models make of it."""
    panels = [
        ("drawn map", maps.images[0].movedim(0, 2), maps.costs[0]),
        ("true costs", maps.costs[0], maps.costs[0]),
    ]
    panels += [(name, costs, costs) for name in SHOWN for costs in models[name](maps.images[:1])]
    figure = Figure(figsize=(2.3 * len(panels), 2.65), layout="constrained")
    for axis, (name, picture, costs) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axis.imshow(picture.numpy(), cmap="viridis", extent=(-0.5, CELLS - 0.5, CELLS - 0.5, -0.5))
        row, column = np.nonzero(SOLVER(costs[None].numpy())[0])
        axis.plot(column, row, "o", mfc="white", mec="black", ms=5)
        axis.set(title=name, xticks=[], yticks=[])
    return figure


if __name__ == "__main__":
    torch.set_num_threads(1)
    table, models, test = run((0,), 100, 100, 5) if "--quick" in sys.argv else run()
    print_table("test maps, mean (range) over seeds: cost ratio; share of cheapest paths", table)
    save(draw(models, test), "runs/shortest_path/result.png")
