"""Instances that the benchmarks draw themselves: street scenes on grids, and region graphs.

Costs follow COPS: a node cost is a negative log-probability, and a positive edge cost attracts. All draws
repeat with the seed. With the presets, seeds and noises of `reference.json`, the scenes are those that the
COPS authors' C++ solver was measured on.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from scipy.special import log_softmax

from difflayers.graph import grid_edges

# Sizes of the paper's maps, which have a quarter of the images' height and width.
PRESETS: dict[str, dict[str, Any]] = {
    "coco": {
        "shape": (160, 160), "classes": 133, "things": 80, "objects": 12, "distances": (1, 4, 16, 32, 64)
    },
    "cityscapes-crop": {
        "shape": (128, 256), "classes": 19, "things": 8, "objects": 20, "distances": (1, 4, 16, 32, 64, 128)
    },
    "cityscapes": {
        "shape": (256, 512), "classes": 19, "things": 8, "objects": 40, "distances": (1, 4, 16, 32, 64, 128)
    },
}  # fmt: skip
MARGIN, BLUR = 3.0, 3  # of a pixel's class over the others in the logits; of their noise, in pixels


class Scene(NamedTuple):
    """The arguments of `amwc.AMWC`, and the truth behind them."""

    node_costs: np.ndarray  # (n, K)
    edges: np.ndarray  # (m, 2)
    edge_costs: np.ndarray  # (m,)
    partitionable: np.ndarray  # (K,), True for things
    classes: np.ndarray  # (h, w), true class of each pixel
    objects: np.ndarray  # (h, w), number of the object that a pixel belongs to, 0 for stuff


def preset(name: str, seed: int, noise: float, **changes: Any) -> Scene:
    """Draw a scene of a preset's sizes."""
    return draw(**PRESETS[name] | changes, seed=seed, noise=noise)


def draw(
    shape: tuple[int, int],
    classes: int,
    things: int,
    objects: int,
    distances: tuple[int, ...],
    seed: int,
    noise: float,
) -> Scene:
    """Draw a scene: smooth patches of stuff, ellipses of things on top of them, and noisy costs.

    Args:
        shape: height and width.
        classes, things: the number K of classes, of which the first are things.
        objects: how many ellipses are drawn; later ones hide earlier ones.
        distances: between the two pixels of an edge.
        seed: of all that is drawn.
        noise: size of the errors in the costs; 1.5 is easy, 4.0 is hard.
    """
    rng = np.random.default_rng(seed)
    semantic, instance = truth(rng, shape, classes, things, objects)
    logits = MARGIN * (semantic[None] == np.arange(classes)[:, None, None])
    for image in logits:
        image += noise * 2 * BLUR * gaussian_filter(rng.normal(size=shape), BLUR)
    node_costs = -log_softmax(logits, axis=0).reshape(classes, -1).T.copy()

    edges = grid_edges(shape, distances)
    segments = (semantic * (objects + 1) + instance).ravel()
    same = segments[edges[:, 0]] == segments[edges[:, 1]]
    height, width = shape
    errors = [
        gaussian_filter(rng.normal(size=size), 1.5).ravel()
        for distance in distances
        for size in ((height - distance, width), (height, width - distance))
        if min(size) > 0
    ]
    edge_costs = np.where(same, 2.0, -2.0) + 3 * noise * np.concatenate(errors)
    return Scene(node_costs, edges, edge_costs, np.arange(classes) < things, semantic, instance)


def truth(
    rng: np.random.Generator, shape: tuple[int, int], classes: int, things: int, objects: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the class and the object of every pixel."""
    height, width = shape
    patches = [
        gaussian_filter(rng.normal(size=shape), max(shape) / 12) for _ in range(min(classes - things, 8))
    ]
    semantic = np.argmax(patches, axis=0) + things
    instance = np.zeros(shape, int)
    rows, columns = np.mgrid[:height, :width]
    for number in range(1, objects + 1):
        down, right = rows - rng.uniform(0, height), columns - rng.uniform(0, width)
        long = rng.uniform(0.02, 0.12) * width
        short = long * rng.uniform(0.4, 1.2)
        angle = rng.uniform(0, np.pi)
        along = right * np.cos(angle) + down * np.sin(angle)
        across = down * np.cos(angle) - right * np.sin(angle)
        inside = (along / long) ** 2 + (across / short) ** 2 < 1
        semantic[inside], instance[inside] = rng.integers(things), number
    return semantic, instance


def region_graph(
    shape: tuple[int, int], regions: int, seed: int, noise: float
) -> tuple[int, np.ndarray, np.ndarray]:
    """Draw a multicut on a graph of regions, as an over-segmented image has it.

    Regions are the Voronoi cells of random points. Two regions have an edge if their pixels touch. The cost
    of the edge is a sum over the touching pixels: each votes for or against one object, with noise.

    Args:
        shape: height and width of the image.
        regions: the number n of regions.
        seed: of all that is drawn.
        noise: size of the errors in the votes.

    Returns:
        The arguments of `multicut.Multicut`: n, the edges (m, 2) and their costs (m,).
    """
    rng = np.random.default_rng(seed)
    semantic, instance = truth(rng, shape, classes=12, things=4, objects=max(3, regions // 10))
    points = rng.uniform(0, shape, size=(regions, 2))
    pixels = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 2)
    region = cKDTree(points).query(pixels)[1]
    used, region = np.unique(region, return_inverse=True)
    segments = (semantic * (instance.max() + 1) + instance).ravel()
    touching = grid_edges(shape, (1,))
    ends = np.sort(region[touching], axis=1)
    votes = np.where(segments[touching[:, 0]] == segments[touching[:, 1]], 0.4, -1.0)
    borders = ends[:, 0] != ends[:, 1]
    edges, border = np.unique(ends[borders], axis=0, return_inverse=True)
    lengths = np.bincount(border)
    costs = np.bincount(border, votes[borders]) + noise * np.sqrt(lengths) * rng.normal(size=len(edges))
    return len(used), edges, costs


def references() -> list[dict[str, Any]]:
    """What the COPS authors' C++ greedy solver reached on scenes of the presets, with sums of their costs."""
    found: list[dict[str, Any]] = json.loads(Path(__file__).with_name("reference.json").read_text())
    return found
