"""Slices of electron microscopy with their cells: read from a folder, or made."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from difflayers.panoptic.images import read_image


@dataclass(frozen=True, eq=False)
class Slice:
    """An image (h, w) float32 in [0, 1], and its cells (h, w) int32 from 1, with 0 on membranes."""

    image: np.ndarray
    cells: np.ndarray


class Split(NamedTuple):
    """Slices to train and tune on, and held-out slices."""

    training: list[Slice]
    held_out: list[Slice]


def split(slices: Sequence[Slice]) -> Split:
    """Hold out the last third of the slices.

    Neighbours in a stack look alike, so that a held-out slice between two training slices would be easy.

    Raises:
        ValueError: if there are fewer than three slices.
    """
    if len(slices) < 3:
        raise ValueError(f"at least 3 slices are needed to train and to hold one out, got {len(slices)}")
    last = len(slices) - len(slices) // 3
    return Split(list(slices[:last]), list(slices[last:]))


def read_slices(folder: Path) -> list[Slice]:
    """Read a folder in the layout of the ISBI 2012 challenge (Arganda-Carreras et al. 2015).

    Args:
        folder: holds `image/<number>.png` and `label/<number>.png`, grey, 8 bit. In a label, 0 is membrane;
            cells are the connected components of the other pixels, in each slice by itself.

    Returns:
        The slices in the order of their numbers.

    Raises:
        FileNotFoundError: if the folder has no `image/<number>.png`, or an image has no label.
        ValueError: naming the file, if it cannot be read, a label has no cell, or its image another size.
    """
    images = [path for path in folder.glob("image/*.png") if path.stem.isdecimal()]
    if not images:
        raise FileNotFoundError(f"{folder}: must hold image/0.png, image/1.png, … and label/0.png, …")
    slices = []
    for path in sorted(images, key=lambda path: int(path.stem)):
        label_path = folder / "label" / path.name
        image, label = (read_image(file)[..., 0] for file in (path, label_path))
        if image.shape != label.shape:
            raise ValueError(f"{label_path}: must have shape {image.shape} as its image, got {label.shape}")
        if not label.any():
            raise ValueError(f"{label_path}: must have a pixel above 0, in a cell")
        slices.append(Slice((image / 255).astype(np.float32), ndimage.label(label)[0]))
    return slices


def draw_slices(count: int, seed: int = 0, side: int = 128) -> list[Slice]:
    """Make slices that are hard in two ways of real ones: faint membranes, and organelles with dark rims.

    Cells are the regions nearest to random points, with bent borders. Membranes are dark lines between them,
    in places hardly darker than the cells. Some cells hold organelles with dark rims.

    Args:
        count: number of slices.
        seed: the same seed draws the same slices.
        side: height and width in pixels.
    """
    return [_draw(np.random.default_rng([seed, number]), side) for number in range(count)]


def _draw(rng: np.random.Generator, side: int) -> Slice:
    pixels = np.indices((side, side)).reshape(2, -1).T
    bend = np.stack([_clouds(rng, side, width=8) for _ in range(2)], axis=-1).reshape(-1, 2)
    centres = rng.uniform(-10, side + 10, ((side // 16) ** 2 // 2, 2))
    distance, cell = cKDTree(centres).query(pixels + 4 * bend, k=2)
    gap = (distance[:, 1] - distance[:, 0]).reshape(side, side)
    nearest = cell[:, 0].reshape(side, side)

    visible = 1 / (1 + np.exp(-4 * (_clouds(rng, side, width=6) + 1.2)))  # 1 for a dark membrane, 0 for none
    image = 0.65 + 0.05 * rng.normal(size=len(centres))[nearest]
    image -= 0.4 * visible * np.exp(-((gap / 3) ** 2))
    for at in rng.uniform(0, side, (side // 12, 2)):  # organelles
        radius = np.hypot(*(pixels - at + 2 * bend).T).reshape(side, side)
        rim, size = rng.uniform(0.15, 0.35), rng.uniform(3, 7)
        image -= rim * np.exp(-(((radius - size) / 1.2) ** 2)) * (gap > 5)
    image = ndimage.gaussian_filter(image, 0.7) + 0.08 * rng.normal(size=image.shape)
    return Slice(np.clip(image, 0, 1).astype(np.float32), ndimage.label(_apart(nearest, gap))[0])


def _apart(nearest: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Where a cell is: off the membranes, and off the pixels where two cells touch."""
    touch = ndimage.maximum_filter(nearest, 3) != ndimage.minimum_filter(nearest, 3)
    return (gap > 2) & ~touch


def _clouds(rng: np.random.Generator, side: int, width: float) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1."""
    smooth = ndimage.gaussian_filter(rng.normal(size=(side, side)), width)
    return (smooth - smooth.mean()) / smooth.std()
