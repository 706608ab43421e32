"""Learn how hard terrain is to cross from drawn maps and the shortest round tours across them.

Nine cities are marked on a map, with a straight road between any two, as long as the terrain under it makes
it: image → network → a cost for each place → integrals along the roads → travelling salesman → tour.
`python -m examples.travelling_salesman` compares ways to train the network.
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
from difflayers.solvers import TravellingSalesman
from examples.comparison import Loss, Table, hamming, print_table, save, train

CITIES, SIDE, STEPS = 9, 48, 24  # maps of 48 × 48 pixels; the cost of a road is read at 24 places
TERRAIN_COSTS = np.array([8.0, 1.0, 2.5, 5.0])  # water, meadow, forest, rock
TERRAIN_COLOURS = np.array([[70, 110, 190], [150, 190, 100], [50, 105, 55], [135, 130, 125]]) / 255
SOLVER = TravellingSalesman(CITIES)
FIRST, SECOND = SOLVER.edges.T
SHOWN = ("untrained", "road by road", "Fenchel–Young", "blackbox")


class Maps(NamedTuple):
    """Images (N, 3, 48, 48), cities (N, 9, 2) in [-1, 1], true costs of roads and shortest tours (N, 36)."""

    images: Tensor
    cities: Tensor
    costs: Tensor
    tours: Tensor


def draw_maps(count: int, seed: int) -> Maps:
    """Draw terrains from smooth noise, with grain, and cities as black dots with a white rim."""
    draw = np.random.default_rng(seed)
    heights = gaussian_filter(draw.normal(size=(count, SIDE, SIDE)), (0, 4, 4), mode="wrap")
    terrain = np.digitize(heights / heights.std(), [-0.7, 0.2, 0.9])
    images = TERRAIN_COLOURS[terrain] + 0.1 * draw.normal(size=(*terrain.shape, 1))
    places = np.stack([draw.permutation(36)[:CITIES] for _ in range(count)])
    pixels = np.stack(np.divmod(places, 6), 2) * 7 + draw.integers(4, 9, (count, CITIES, 2))
    for image, at in zip(images, pixels, strict=True):
        for row, column in at:
            image[row - 2 : row + 3, column - 2 : column + 3] = 1
            image[row - 1 : row + 2, column - 1 : column + 2] = 0
    cities = torch.from_numpy((2 * pixels[..., ::-1] + 1) / SIDE - 1).float()
    costs = roads(torch.from_numpy(TERRAIN_COSTS[terrain]).float()[:, None], cities)
    images = torch.from_numpy(images.clip(0, 1)).float().movedim(3, 1).contiguous()
    return Maps(images, cities, costs, torch.from_numpy(SOLVER(costs.numpy())))


def roads(terrain: Tensor, cities: Tensor) -> Tensor:
    """Integrals of a cost (N, 1, h, w) along the straight roads between cities, (N, 36)."""
    at = (torch.arange(STEPS) + 0.5) / STEPS
    begin, end = cities[:, FIRST, None], cities[:, SECOND, None]
    along = nn.functional.grid_sample(terrain, begin + at[:, None] * (end - begin), align_corners=False)
    return along.squeeze(1).mean(2) * (end - begin).norm(dim=3).squeeze(2)


class Surveyor(nn.Module):
    """Costs of roads from a map and its cities. Their mean is 1, because tours say nothing about the unit."""

    def __init__(self) -> None:
        super().__init__()
        self.terrain = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1), nn.Softplus()
        )

    def forward(self, images: Tensor, cities: Tensor) -> Tensor:
        """Return (N, 36) costs."""
        costs = roads(self.terrain(images), cities)
        return costs / costs.mean(1, keepdim=True)


def losses(seed: int) -> dict[str, Loss]:
    """Every way to train; scales are in units of a road's mean cost."""
    gaussian, gumbel = difflayers.gaussian_noise(seed), difflayers.gumbel_noise(seed)
    young = difflayers.losses.FenchelYoungLoss(SOLVER, sigma=0.03, samples=3, noise=gaussian, batched=True)
    margin = difflayers.losses.StructuredSVMLoss(SOLVER, margin=0.02, batched=True)
    logistic = nn.functional.binary_cross_entropy_with_logits
    return {
        "road by road": lambda costs, tours: logistic(2 - 5 * costs, tours),
        "Fenchel–Young": lambda costs, tours: young(costs, true_solutions=tours),
        "structured SVM": lambda costs, tours: margin(costs, true_solutions=tours),
        "perturbed": hamming(difflayers.PerturbedLayer(SOLVER, 0.2, 3, gaussian, batched=True)),
        "I-MLE": hamming(difflayers.IMLELayer(SOLVER, 0.5, 0.03, noise=gumbel, batched=True)),
        "blackbox": hamming(difflayers.BlackboxLayer(SOLVER, scales=0.5, batched=True)),
        "identity": hamming(difflayers.IdentityLayer(SOLVER, projection="std", batched=True)),
    }


def quality(maps: Maps, costs: Tensor) -> tuple[float, float]:
    """Mean true length of the tours found over that of the shortest, and the share of shortest tours."""
    found = torch.from_numpy(SOLVER(costs.numpy()))
    ratio = (maps.costs * found).sum(1) / (maps.costs * maps.tours).sum(1)
    return float(ratio.mean()), float((ratio < 1 + 1e-6).float().mean())


def run(
    seeds: Sequence[int] = (0, 1, 2), training: int = 200, testing: int = 300, epochs: int = 12
) -> tuple[Table, dict[str, Surveyor], Maps]:
    """Return every method's results, one per seed, and the models and test maps of the last seed."""
    table: Table = {}
    for seed in seeds:
        maps, test = draw_maps(training, 2 * seed), draw_maps(testing, 2 * seed + 1)
        inputs, targets = [maps.images, maps.cities], [maps.tours]
        models = train(Surveyor, losses(seed), inputs, targets, seed=seed, epochs=epochs, batch=10, rate=3e-3)
        flat = roads(torch.ones(len(test.images), 1, 2, 2), test.cities)
        table.setdefault("as the crow flies", []).append(quality(test, flat))
        for name, model in models.items():
            with torch.no_grad():
                table.setdefault(name, []).append(quality(test, model(test.images, test.cities)))
    return table, models, test


@torch.no_grad()
def draw(models: dict[str, Surveyor], maps: Maps) -> Figure:
    """A test map with its shortest tour, and what some of the models make of the terrain and of the tour."""
    panels = [("shortest tour", maps.images[0].movedim(0, 2), maps.costs[:1])]
    for name in SHOWN:
        costs = models[name](maps.images[:1], maps.cities[:1])
        panels.append((name, models[name].terrain(maps.images[:1])[0, 0], costs))
    figure = Figure(figsize=(3 * len(panels), 3.4), layout="constrained")
    ends = (maps.cities[0, SOLVER.edges] + 1) * SIDE / 2 - 0.5
    for axis, (name, picture, costs) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axis.imshow(picture.numpy(), extent=(-0.5, SIDE - 0.5, SIDE - 0.5, -0.5))
        tour = SOLVER(costs.numpy())[0]
        for (x, y), (u, v) in ends[tour == 1]:
            axis.plot([x, u], [y, v], "o-", color="white", mec="black", mfc="tab:red", lw=2)
        longer = float(maps.costs[0].numpy() @ tour) / float(maps.costs[0] @ maps.tours[0]) - 1
        axis.set(title=f"{name}, +{100 * longer:.1f} %", xticks=[], yticks=[])
    return figure


if __name__ == "__main__":
    torch.set_num_threads(1)
    table, models, test = run((0,), 60, 60, 3) if "--quick" in sys.argv else run()
    print_table("test maps, mean (range) over seeds: length ratio; share of shortest tours", table)
    save(draw(models, test), "runs/travelling_salesman/result.png")
