"""Procedurally drawn street scenes: a panoptic data set that needs no files."""

from functools import cached_property

import numpy as np
from PIL import Image, ImageFilter
from torch.utils.data import Dataset

from difflayers.panoptic import PanopticLabels
from examples.cops.data.objects import Wardrobe, draw_bus, draw_car, draw_person, draw_tree
from examples.cops.data.samples import Sample
from examples.cops.data.street import BUS, CAR, CATEGORIES, PERSON, TREE, Street, draw_background, draw_bonnet

SMALLEST_SIDE = 32  # pixels; objects in smaller scenes could not be recognized


class DrawnScenes(Dataset[Sample]):
    """Street scenes drawn from a seed; a scene depends on (seed, split, index) and nothing else.

    Instances stand in rows and groups, occlude each other in the order of their depth, and often share the
    colour of their neighbour, so that class boundaries do not give away instance boundaries.

    Args:
        split: "train" or "val"; the two draw from separate random streams.
        seed: seed of the whole data set, at least 0.
        length: number of scenes.
        size: (height, width) of a scene in pixels, at least 32 each.

    Raises:
        ValueError: naming the argument that is out of its range.
    """

    categories = CATEGORIES

    def __init__(
        self, split: str, seed: int = 0, length: int = 1000, size: tuple[int, int] = (128, 192)
    ) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split is {split!r}, expected 'train' or 'val'")
        if seed < 0:
            raise ValueError(f"seed is {seed}, expected at least 0")
        if length < 1:
            raise ValueError(f"length is {length}, expected at least 1")
        if min(size) < SMALLEST_SIDE:
            raise ValueError(f"size is {size}, expected at least {SMALLEST_SIDE} pixels per side")
        self.split, self.seed, self.length, self.size = split, seed, length, size

    @cached_property
    def is_thing(self) -> np.ndarray:
        """(K,) bool, which classes have instances."""
        return np.array([category.is_thing for category in self.categories])

    def __len__(self) -> int:
        return self.length

    def file_ids(self, index: int) -> tuple[str, str]:
        """A scene's name, and the name of its PNG file, as `CocoPanoptic.file_ids`."""
        name = self.name(index)
        return name, f"{name}.png"

    def name(self, index: int) -> str:
        """What the scene is called."""
        return f"{self.split}_{self.seed}_{index:05d}"

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(f"index is {index}, but there are {self.length} scenes")
        generator = np.random.default_rng([self.seed, int(self.split == "val"), index])
        image, labels = draw_scene(generator, self.size)
        return Sample(image, labels, self.name(index))


def draw_scene(generator: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, PanopticLabels]:
    """Draw one street of size (height, width): the image (H, W, 3) uint8 and its labels."""
    street, wardrobe = Street(generator, size), Wardrobe(generator)
    draw_background(street)
    draw = {CAR: draw_car, PERSON: draw_person, BUS: draw_bus, TREE: draw_tree}
    for depth, kind, side in sorted(_place(street)):
        draw[kind](street, street.spot(side, depth), wardrobe)
    if generator.random() < 0.3:
        draw_bonnet(street)
    return _photograph(np.asarray(street.picture, dtype=np.float32), generator), street.labels()


def _place(street: Street) -> list[tuple[float, int, float]]:
    """Choose who stands where: depth (1 is the bottom row), class, and metres right of the road's middle."""
    rng = street.rng
    placed: list[tuple[float, int, float]] = []
    for side in (-1.0, 1.0):
        depth = rng.uniform(0.9, 1.1)
        while depth > 0.22 and rng.random() < 0.75:  # a row of cars, each hiding part of the next
            placed.append((depth, CAR, side * (street.road - rng.uniform(0.9, 1.6))))
            depth *= rng.uniform(0.62, 0.86)
        for _ in range(rng.integers(0, 3)):
            along = rng.uniform(0.2, 0.8)
            placed.append((along, TREE, side * rng.uniform(street.pavement - 0.6, street.pavement)))
    for _ in range(rng.integers(1, 4)):  # groups of people, on the pavement or crossing
        depth, side = rng.uniform(0.4, 1.0), float(rng.choice([-1, 1]))
        crossing = rng.random() >= 0.6
        middle = rng.uniform(-3, 3) if crossing else side * rng.uniform(street.road, street.pavement)
        for _ in range(rng.integers(1, 5)):
            placed.append((depth * rng.uniform(0.9, 1.05), PERSON, middle + rng.normal(0, 0.5)))
    if rng.random() < 0.45:
        placed.append((rng.uniform(0.3, 0.7), BUS, float(rng.choice([-1, 1])) * rng.uniform(1.4, 2.4)))
    if rng.random() < 0.5:
        placed.append((rng.uniform(0.3, 0.7), CAR, rng.uniform(-2, 2)))
    return placed


def _photograph(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Texture, light, blur of the lens and noise of the sensor."""
    height, width = picture.shape[:2]
    coarse = _smooth_noise(rng, (height // 3, width // 3), (height, width))
    light = _smooth_noise(rng, (3, 4), (height, width))
    gain = rng.uniform(0.65, 1.15) * (1 + 0.07 * coarse + 0.14 * light)
    cast = rng.normal(1, 0.05, 3)
    lit = picture * gain[..., None] * cast.astype(np.float32)
    lens = Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))
    blurred = np.asarray(lens.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9))), dtype=np.float32)
    grain = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(3, 11))
    return np.clip(blurred + grain, 0, 255).astype(np.uint8)


def _smooth_noise(rng: np.random.Generator, coarse: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Normal noise on a coarse grid, interpolated to size (height, width), float32."""
    grid = Image.fromarray(rng.standard_normal(coarse, dtype=np.float32))
    return np.asarray(grid.resize(size[::-1], Image.Resampling.BILINEAR))
