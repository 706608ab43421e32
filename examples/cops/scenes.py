"""Procedurally drawn street scenes: a panoptic data set that needs no files."""

from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from torch.utils.data import Dataset

from difflayers.panoptic.labels import VOID, PanopticLabels
from examples.cops.samples import Category, Sample

CATEGORIES = (
    Category(1, "sky", False, (70, 130, 180)),
    Category(2, "building", False, (90, 90, 90)),
    Category(3, "road", False, (128, 64, 128)),
    Category(4, "sidewalk", False, (244, 35, 232)),
    Category(5, "tree", False, (107, 142, 35)),
    Category(6, "car", True, (0, 0, 200)),
    Category(7, "person", True, (220, 20, 60)),
    Category(8, "bus", True, (0, 120, 140)),
)
SKY, BUILDING, ROAD, SIDEWALK, TREE, CAR, PERSON, BUS = range(len(CATEGORIES))
_UNLABELLED = 255
_SMALLEST = 20  # visible pixels; what is left of an instance below that is void, as annotators do

Color = tuple[int, int, int]
_CAR_PAINTS = ((172, 174, 178), (52, 54, 60), (225, 226, 224), (150, 32, 34), (40, 66, 120), (92, 98, 84))
_CLOTHES = (
    (48, 50, 66),
    (120, 40, 44),
    (72, 92, 118),
    (176, 168, 150),
    (62, 78, 56),
    (206, 200, 198),
    (140, 104, 66),
)
_SKINS = ((224, 186, 160), (188, 142, 108), (132, 92, 66), (92, 64, 48))
_WALLS = ((148, 124, 106), (168, 160, 148), (128, 82, 68), (112, 114, 120), (186, 170, 138))
_GLASS = (62, 76, 92)


class DrawnScenes(Dataset[Sample]):
    """Street scenes drawn from a seed; a scene depends on (seed, split, index) and nothing else.

    Instances stand in rows and groups, occlude each other in the order of their depth, and often share the
    colour of their neighbour, so that class boundaries do not give away instance boundaries.

    Args:
        split: "train" or "val"; the two draw from separate random streams.
        seed: seed of the whole data set, at least 0.
        length: number of scenes.
        size: (height, width) of a scene in pixels.
    """

    categories = CATEGORIES

    def __init__(
        self, split: str, seed: int = 0, length: int = 1000, size: tuple[int, int] = (128, 192)
    ) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split is {split!r}, expected 'train' or 'val'")
        if length < 1:
            raise ValueError(f"length is {length}, expected at least 1")
        self.split, self.seed, self.length, self.size = split, seed, length, size

    @cached_property
    def is_thing(self) -> np.ndarray:
        """(K,) bool, which classes have instances."""
        return np.array([category.is_thing for category in self.categories])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(f"index is {index}, but there are {self.length} scenes")
        generator = np.random.default_rng([self.seed, int(self.split == "val"), index])
        image, labels = draw_scene(generator, self.size)
        return Sample(image, labels, f"{self.split}_{self.seed}_{index:05d}")


def draw_scene(generator: np.random.Generator, size: tuple[int, int]) -> tuple[np.ndarray, PanopticLabels]:
    """Draw one street: the image (H, W, 3) uint8 and its labels."""
    scene = _Scene(generator, size)
    scene.draw_background()
    scene.draw_objects()
    if generator.random() < 0.3:
        scene.draw_bonnet()
    image = _photograph(np.asarray(scene.picture, dtype=np.float32), generator)
    return image, scene.labels()


class _Spot(NamedTuple):
    """Where an object stands: its foot (x, y) in pixels and the pixels that a metre has there."""

    x: float
    y: float
    metre: float


class _Scene:
    """A picture and the map of its segments, painted together from back to front."""

    def __init__(self, generator: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng, (self.height, self.width) = generator, size
        self.picture = Image.new("RGB", (self.width, self.height))
        self.ids = Image.new("L", (self.width, self.height), _UNLABELLED)
        self.paint, self.mark = ImageDraw.Draw(self.picture), ImageDraw.Draw(self.ids)
        self.classes = [SKY, BUILDING, ROAD, SIDEWALK, TREE]  # of each segment; stuff has one segment a class
        self.horizon = self.height * generator.uniform(0.3, 0.42)
        self.vanishing = self.width * generator.uniform(0.35, 0.65)
        self.metre = (self.height - self.horizon) / generator.uniform(1.9, 2.7)  # at the bottom row
        self.road = generator.uniform(3.4, 4.6)  # half its width in metres
        self.pavement = self.road + generator.uniform(2.0, 4.0)
        self.cars = [_CAR_PAINTS[i] for i in generator.choice(len(_CAR_PAINTS), 2, replace=False)]
        self.clothes = [_CLOTHES[i] for i in generator.choice(len(_CLOTHES), 3, replace=False)]

    def spot(self, side: float, depth: float) -> _Spot:
        """The place `side` metres right of the road's middle; depth 1 is the bottom row, 0 the horizon."""
        metre = self.metre * depth
        return _Spot(
            self.vanishing + side * metre, self.horizon + (self.height - self.horizon) * depth, metre
        )

    def shape(self, kind: str, points: list[tuple[float, float]], color: Color, segment: int | None) -> None:
        """Draw a rectangle, ellipse or polygon; without a segment it only colours what is there."""
        getattr(self.paint, kind)(points, fill=color)
        if segment is not None:
            getattr(self.mark, kind)(points, fill=segment)

    def new_segment(self, kind: int) -> int:
        self.classes.append(kind)
        return len(self.classes) - 1

    def shade(self, color: Color, spread: float = 10.0) -> Color:
        r, g, b = np.clip(
            np.array(color) + self.rng.normal(0, spread) + self.rng.normal(0, spread / 3, 3), 0, 255
        )
        return int(r), int(g), int(b)

    def labels(self) -> PanopticLabels:
        ids = np.asarray(self.ids)
        areas = np.bincount(ids.ravel(), minlength=256)[: len(self.classes)]
        classes = np.array(self.classes, dtype=np.int64)
        listed = (areas > 0) & ((classes < CAR) | (areas >= _SMALLEST))
        renumber = np.full(256, VOID, dtype=np.int32)
        renumber[: len(classes)][listed] = np.arange(listed.sum())
        return PanopticLabels(renumber[ids], classes[listed])

    # ---- what stands still

    def draw_background(self) -> None:
        w, h, rng = self.width, self.height, self.rng
        top = self.shade((158, 184, 212), 24)
        self.shape("rectangle", [(0, 0), (w, h)], top, SKY)
        for _ in range(rng.integers(0, 5)):
            x, y, r = rng.uniform(0, w), rng.uniform(0, self.horizon), rng.uniform(6, 30)
            self.shape(
                "ellipse", [(x - r, y - r / 4), (x + r, y + r / 4)], self.shade((222, 226, 230), 8), None
            )
        for side in (-1.0, 1.0):
            self.draw_houses(side)
        far = self.spot(0, 0.0)
        for half, color, kind in (
            (self.pavement, self.shade((156, 148, 140), 14), SIDEWALK),
            (self.road, self.shade((96, 96, 100), 12), ROAD),
        ):
            left, right = self.spot(-half, 1.6), self.spot(half, 1.6)
            self.shape("polygon", [(far.x, far.y), (left.x, left.y), (right.x, right.y)], color, kind)
        for lane in rng.choice([-1.2, 0.0, 1.2], rng.integers(1, 3), replace=False):
            for depth in np.arange(rng.uniform(0.1, 0.2), 1.1, 0.16):
                a, b = self.spot(lane, depth), self.spot(lane, depth + 0.07)
                half = 0.08 * a.metre
                corners = [(a.x - half, a.y), (a.x + half, a.y), (b.x + half, b.y), (b.x - half, b.y)]
                self.shape("polygon", corners, self.shade((196, 194, 186), 8), None)
        for _ in range(rng.integers(0, 4)):  # shadows and patches of asphalt
            p = self.spot(rng.uniform(-6, 6), rng.uniform(0.3, 1.0))
            r = rng.uniform(0.6, 2.5) * p.metre
            self.shape(
                "ellipse",
                [(p.x - r, p.y - r / 6), (p.x + r, p.y + r / 6)],
                self.shade((74, 74, 78), 10),
                None,
            )

    def draw_houses(self, side: float) -> None:
        """A row of fronts that runs from the picture's edge to the vanishing point."""
        rng = self.rng
        depths = np.concatenate([[1.7], np.sort(rng.uniform(0.12, 1.0, rng.integers(3, 6)))[::-1], [0.05]])
        for near, far in pairwise(depths):
            if rng.random() < 0.12:
                continue  # a gap: sky or the trees behind it
            a, b = self.spot(side * self.pavement, near), self.spot(side * self.pavement, far)
            storeys = rng.integers(2, 6)
            color = self.shade(_WALLS[rng.integers(len(_WALLS))], 10)
            eaves = [(p.x, p.y - 3.1 * storeys * p.metre) for p in (a, b)]
            self.shape("polygon", [(a.x, a.y), (b.x, b.y), eaves[1], eaves[0]], color, BUILDING)
            columns = int(rng.integers(2, 5))
            glass = self.shade(_GLASS, 14)
            for column in range(columns):
                depth = (
                    near + (far - near) * (column + 0.3) / columns,
                    near + (far - near) * (column + 0.7) / columns,
                )
                p, q = (self.spot(side * self.pavement, d) for d in depth)
                for storey in range(storeys):
                    low, high = 3.1 * storey + 0.9, 3.1 * storey + 2.4
                    pane = [(p.x, p.y - low * p.metre), (q.x, q.y - low * q.metre)]
                    pane += [(q.x, q.y - high * q.metre), (p.x, p.y - high * p.metre)]
                    self.shape("polygon", pane, glass, None)

    def draw_bonnet(self) -> None:
        """The front of the car that carries the camera: void."""
        w, h = self.width, self.height
        top = h * self.rng.uniform(0.9, 0.96)
        self.shape(
            "ellipse", [(w * 0.05, top), (w * 0.95, h * 1.3)], self.shade((44, 46, 52), 12), _UNLABELLED
        )

    # ---- what moves, and trees

    def draw_objects(self) -> None:
        """Place rows of cars, groups of people, buses and trees, then draw them from far to near."""
        rng = self.rng
        placed: list[tuple[float, int, float]] = []  # depth, class, metres right of the middle
        for side in (-1.0, 1.0):
            depth = rng.uniform(0.9, 1.1)
            while (
                depth > 0.22 and rng.random() < 0.75
            ):  # cars parked or queueing, each hiding part of the next
                placed.append((depth, CAR, side * (self.road - rng.uniform(0.9, 1.6))))
                depth *= rng.uniform(0.62, 0.86)
            for _ in range(rng.integers(0, 3)):
                placed.append(
                    (rng.uniform(0.2, 0.8), TREE, side * rng.uniform(self.pavement - 0.6, self.pavement))
                )
        for _ in range(rng.integers(1, 4)):  # groups of people, on the pavement or crossing
            depth, side = rng.uniform(0.4, 1.0), float(rng.choice([-1, 1]))
            middle = (
                side * rng.uniform(self.road, self.pavement) if rng.random() < 0.6 else rng.uniform(-3, 3)
            )
            for _ in range(rng.integers(1, 5)):
                placed.append((depth * rng.uniform(0.9, 1.05), PERSON, middle + rng.normal(0, 0.5)))
        if rng.random() < 0.45:
            placed.append((rng.uniform(0.3, 0.7), BUS, float(rng.choice([-1, 1])) * rng.uniform(1.4, 2.4)))
        if rng.random() < 0.5:
            placed.append((rng.uniform(0.3, 0.7), CAR, rng.uniform(-2, 2)))
        draw = {CAR: self.draw_car, PERSON: self.draw_person, BUS: self.draw_bus, TREE: self.draw_tree}
        for depth, kind, side in sorted(placed):
            draw[kind](self.spot(side, depth))

    def draw_shadow(self, spot: _Spot, half: float) -> None:
        r = half * spot.metre
        box = [(spot.x - r, spot.y - 0.12 * spot.metre), (spot.x + r, spot.y + 0.1 * spot.metre)]
        self.shape("ellipse", box, self.shade((50, 50, 54), 5), None)

    def draw_car(self, spot: _Spot) -> None:
        x, y, m = spot
        segment, color = self.new_segment(CAR), self.shade(self.cars[self.rng.integers(2)], 7)
        dark = self.shade((34, 34, 38), 6)
        if self.rng.random() < 0.65:  # from behind or ahead: body, roof, window, two wheels, lights
            self.draw_shadow(spot, 1.1)
            for s in (-0.68, 0.68):
                self.shape(
                    "rectangle", [(x + (s - 0.13) * m, y - 0.35 * m), (x + (s + 0.13) * m, y)], dark, segment
                )
            self.shape("rectangle", [(x - 0.9 * m, y - 0.95 * m), (x + 0.9 * m, y - 0.2 * m)], color, segment)
            roof = [(x - 0.85 * m, y - 0.92 * m), (x - 0.62 * m, y - 1.5 * m)]
            self.shape("polygon", roof + [(2 * x - a, b) for a, b in roof[::-1]], color, segment)
            window = [(x - 0.7 * m, y - 0.97 * m), (x - 0.54 * m, y - 1.4 * m)]
            self.shape(
                "polygon", window + [(2 * x - a, b) for a, b in window[::-1]], self.shade(_GLASS, 12), segment
            )
            light = (
                self.shade((170, 44, 40), 20) if self.rng.random() < 0.6 else self.shade((232, 228, 200), 10)
            )
            for s in (-0.74, 0.74):
                box = [(x + (s - 0.12) * m, y - 0.8 * m), (x + (s + 0.12) * m, y - 0.62 * m)]
                self.shape("rectangle", box, light, segment)
        else:  # from the side
            self.draw_shadow(spot, 2.1)
            front = float(self.rng.choice([-1, 1])) * m
            self.shape("rectangle", [(x - 2.0 * m, y - 0.9 * m), (x + 2.0 * m, y - 0.25 * m)], color, segment)
            roof = [(-1.5, 0.88), (-1.05, 1.45), (0.45, 1.45), (1.1, 0.88)]
            self.shape("polygon", [(x + a * front, y - b * m) for a, b in roof], color, segment)
            for pane in (
                [(-1.25, 0.92), (-0.95, 1.36), (-0.35, 1.36), (-0.35, 0.92)],
                [(-0.22, 0.92), (-0.22, 1.36), (0.38, 1.36), (0.85, 0.92)],
            ):
                corners = [(x + a * front, y - b * m) for a, b in pane]
                self.shape("polygon", corners, self.shade(_GLASS, 12), segment)
            for s in (-1.25, 1.25):
                wheel = [(x + (s - 0.34) * m, y - 0.64 * m), (x + (s + 0.34) * m, y + 0.02 * m)]
                self.shape("ellipse", wheel, dark, segment)

    def draw_bus(self, spot: _Spot) -> None:
        x, y, m = spot
        segment, color = self.new_segment(BUS), self.shade(self.cars[self.rng.integers(2)], 14)
        dark, glass = self.shade((34, 34, 38), 6), self.shade(_GLASS, 12)
        self.draw_shadow(spot, 1.4)
        for s in (-0.9, 0.9):
            self.shape(
                "rectangle", [(x + (s - 0.16) * m, y - 0.5 * m), (x + (s + 0.16) * m, y)], dark, segment
            )
        self.shape("rectangle", [(x - 1.25 * m, y - 2.9 * m), (x + 1.25 * m, y - 0.3 * m)], color, segment)
        self.shape("rectangle", [(x - 1.1 * m, y - 2.3 * m), (x + 1.1 * m, y - 1.25 * m)], glass, segment)
        sign = [(x - 0.7 * m, y - 2.75 * m), (x + 0.7 * m, y - 2.45 * m)]
        self.shape("rectangle", sign, self.shade((226, 170, 60), 12), segment)

    def draw_person(self, spot: _Spot) -> None:
        x, y, _ = spot
        m = spot.metre * self.rng.uniform(0.85, 1.1)
        segment = self.new_segment(PERSON)
        coat, legs = (self.shade(self.clothes[self.rng.integers(3)], 8) for _ in range(2))
        skin = self.shade(_SKINS[self.rng.integers(len(_SKINS))], 8)
        self.draw_shadow(spot, 0.35)
        stride = self.rng.uniform(0.02, 0.22)
        for s in (-1, 1):
            leg = [(-0.13 * s, 0.9), (0.14 * s, 0.9), ((stride + 0.08) * s, 0.0), ((stride - 0.08) * s, 0.0)]
            self.shape("polygon", [(x + a * m, y - b * m) for a, b in leg], legs, segment)
        torso = [(-0.2, 0.75), (-0.26, 1.3), (-0.16, 1.46), (0.16, 1.46), (0.26, 1.3), (0.2, 0.75)]
        self.shape("polygon", [(x + a * m, y - b * m) for a, b in torso], coat, segment)
        self.shape("ellipse", [(x - 0.13 * m, y - 1.76 * m), (x + 0.13 * m, y - 1.44 * m)], skin, segment)
        hair = self.shade((50, 40, 34), 12)
        self.shape("ellipse", [(x - 0.13 * m, y - 1.78 * m), (x + 0.13 * m, y - 1.62 * m)], hair, segment)

    def draw_tree(self, spot: _Spot) -> None:
        x, y, m = spot
        trunk = self.shade((78, 62, 50), 8)
        self.shape("rectangle", [(x - 0.16 * m, y - 2.6 * m), (x + 0.16 * m, y)], trunk, TREE)
        crown = self.shade((72, 98, 54), 16)
        for _ in range(7):
            a, b = x + self.rng.normal(0, 0.7) * m, y - self.rng.uniform(2.4, 4.4) * m
            r = self.rng.uniform(0.6, 1.1) * m
            self.shape("ellipse", [(a - r, b - r), (a + r, b + r)], self.shade(crown, 9), TREE)


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
