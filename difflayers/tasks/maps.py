"""Shortest paths on images of terrain, after the Warcraft maps of Vlastelica et al. (ICLR 2020)."""

import numpy as np

from difflayers._arguments import count
from difflayers.solver import Array
from difflayers.solvers import GridShortestPath
from difflayers.tasks.task import Task

# What a cell of each terrain costs, and its mean colour: path, grass, forest, mountain, water.
TERRAIN_COSTS = np.array([0.8, 1.2, 5.3, 7.7, 9.2])
COLOURS = np.array([[0.7, 0.6, 0.4], [0.4, 0.7, 0.3], [0.1, 0.4, 0.1], [0.5, 0.5, 0.5], [0.2, 0.3, 0.8]])


def maps(
    num_instances: int = 500, size: int = 12, pixels: int = 8, noise: float = 0.15, seed: int = 0
) -> Task:
    """The cheapest path from corner to corner of a terrain that only an image shows.

    The terrain has coherent regions of five kinds. The colour of a cell shows its kind, and so its cost.
    Steps go to all eight neighbours. The Warcraft maps themselves are not needed.

    Args:
        num_instances: number N of maps.
        size: cells in each direction.
        pixels: pixels per cell in each direction.
        noise: standard deviation of the brightness of pixels, where colours lie in 0 to 1.
        seed: of the random numbers.

    Returns:
        A task with images (N, 3, size · pixels, size · pixels) in float32 and costs of cells (N, size, size).
        Its solver replaces negative costs by 0.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> task = maps(num_instances=2, size=6)
        >>> task.features.shape, np.unique(task.parameters).tolist()
        ((2, 3, 48, 48), [0.8, 1.2, 5.3, 7.7, 9.2])
    """
    count("num_instances", num_instances)
    count("size", size, least=2)
    count("pixels", pixels)
    if not noise >= 0:
        raise ValueError(f"noise must be at least 0, got {noise!r}")
    rng = np.random.default_rng(seed)
    kinds = _terrain(rng, num_instances, size)
    colours = np.moveaxis(COLOURS[kinds], 3, 1)
    images = np.repeat(np.repeat(colours, pixels, axis=2), pixels, axis=3)
    images = np.clip(images + noise * rng.normal(size=images.shape), 0, 1).astype(np.float32)
    solver = GridShortestPath((size, size), neighbours=8, clip_negative=True)
    return Task(images, TERRAIN_COSTS[kinds], solver, seed=seed)


def _terrain(rng: np.random.Generator, num_instances: int, size: int) -> Array:
    """Kinds of terrain (N, size, size): a smooth random height, cut at its own quantiles."""
    coarse = rng.normal(size=(num_instances, size, size))
    frequency = np.fft.fftfreq(size) * size
    smooth = np.exp(-((frequency[:, None] ** 2 + frequency[None] ** 2) / 8))
    height = np.fft.ifft2(np.fft.fft2(coarse) * smooth).real
    flat = height.reshape(num_instances, -1)
    cuts = np.quantile(flat, [0.2, 0.45, 0.65, 0.85], axis=1)
    return (flat[None] > cuts[:, :, None]).sum(axis=0).reshape(height.shape)
