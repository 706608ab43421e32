"""The stage of a drawn scene: a street in perspective, its picture and segments painted together."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from difflayers.panoptic import VOID, PanopticLabels
from difflayers.panoptic.files import Category

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
UNLABELED = 255
SMALLEST = 20  # visible pixels; a smaller rest of an instance is void, as in annotated data

Color = tuple[int, int, int]
Points = Sequence[tuple[float, float]]
GLASS = (62, 76, 92)
_WALLS = ((148, 124, 106), (168, 160, 148), (128, 82, 68), (112, 114, 120), (186, 170, 138))
_STOREY = 3.1  # metres


class Spot(NamedTuple):
    """A place on the ground: its pixel (x, y), and the pixels that a metre has there."""

    x: float
    y: float
    metre: float


class Street:
    """A street with its horizon, its vanishing point and its widths, painted from back to front.

    Args:
        generator: all that is random comes from it.
        size: (height, width) in pixels.
    """

    def __init__(self, generator: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng, (self.height, self.width) = generator, size
        self.picture = Image.new("RGB", (self.width, self.height))
        self.ids = Image.new("L", (self.width, self.height), UNLABELED)
        self._paint, self._mark = ImageDraw.Draw(self.picture), ImageDraw.Draw(self.ids)
        self.classes = [
            SKY,
            BUILDING,
            ROAD,
            SIDEWALK,
            TREE,
        ]  # of each segment; stuff has one segment per class
        self.horizon = self.height * generator.uniform(0.3, 0.42)
        self.vanishing = self.width * generator.uniform(0.35, 0.65)
        self.metre = (self.height - self.horizon) / generator.uniform(1.9, 2.7)  # at the bottom row
        self.road = generator.uniform(3.4, 4.6)  # half its width in metres
        self.pavement = self.road + generator.uniform(2.0, 4.0)

    def spot(self, side: float, depth: float) -> Spot:
        """The place `side` metres right of the road's middle; depth 1 is the bottom row, 0 the horizon."""
        metre = self.metre * depth
        y = self.horizon + (self.height - self.horizon) * depth
        return Spot(self.vanishing + side * metre, y, metre)

    def shape(self, kind: str, points: Points, color: Color, segment: int | None) -> None:
        """Draw a rectangle, ellipse or polygon; without a segment it only colours what is there."""
        getattr(self._paint, kind)(points, fill=color)
        if segment is not None:
            getattr(self._mark, kind)(points, fill=segment)

    def part(self, spot: Spot, kind: str, points: Points, color: Color, segment: int | None) -> None:
        """Draw a shape whose points are metres to the right of and above a spot."""
        self.shape(
            kind, [(spot.x + a * spot.metre, spot.y - b * spot.metre) for a, b in points], color, segment
        )

    def new_segment(self, kind: int) -> int:
        """Begin an instance of a class."""
        self.classes.append(kind)
        return len(self.classes) - 1

    def shade(self, color: Color, spread: float = 10.0) -> Color:
        """The colour with another brightness and, a third as much, another tint."""
        change = self.rng.normal(0, spread) + self.rng.normal(0, spread / 3, 3)
        r, g, b = np.clip(np.array(color) + change, 0, 255)
        return int(r), int(g), int(b)

    def labels(self) -> PanopticLabels:
        """The labels of the visible pixels."""
        ids = np.asarray(self.ids)
        areas = np.bincount(ids.ravel(), minlength=256)[: len(self.classes)]
        classes = np.array(self.classes, dtype=np.int64)
        listed = (areas > 0) & ((classes < CAR) | (areas >= SMALLEST))
        renumber = np.full(256, VOID, dtype=np.int32)
        renumber[: len(classes)][listed] = np.arange(listed.sum())
        return PanopticLabels(renumber[ids], classes[listed])


def draw_background(street: Street) -> None:
    """Sky with clouds, two rows of houses, pavement and road."""
    rng = street.rng
    sky = street.shade((158, 184, 212), 24)
    street.shape("rectangle", [(0, 0), (street.width, street.height)], sky, SKY)
    for _ in range(rng.integers(0, 5)):
        x, y, r = rng.uniform(0, street.width), rng.uniform(0, street.horizon), rng.uniform(6, 30)
        cloud = [(x - r, y - r / 4), (x + r, y + r / 4)]
        street.shape("ellipse", cloud, street.shade((222, 226, 230), 8), None)
    for side in (-1.0, 1.0):
        _draw_houses(street, side)
    far = street.spot(0, 0.0)
    for half, color, kind in (
        (street.pavement, street.shade((156, 148, 140), 14), SIDEWALK),
        (street.road, street.shade((96, 96, 100), 12), ROAD),
    ):
        left, right = street.spot(-half, 1.6), street.spot(half, 1.6)
        street.shape("polygon", [(far.x, far.y), (left.x, left.y), (right.x, right.y)], color, kind)
    _draw_road_surface(street)


def draw_bonnet(street: Street) -> None:
    """The front of the car that carries the camera: void."""
    w, h = street.width, street.height
    box = [(w * 0.05, h * street.rng.uniform(0.9, 0.96)), (w * 0.95, h * 1.3)]
    street.shape("ellipse", box, street.shade((44, 46, 52), 12), UNLABELED)


def _draw_houses(street: Street, side: float) -> None:
    """A row of fronts that runs from the picture's edge to the vanishing point."""
    rng = street.rng
    depths = np.concatenate([[1.7], np.sort(rng.uniform(0.12, 1.0, rng.integers(3, 6)))[::-1], [0.05]])
    for near, far in pairwise(depths):
        if rng.random() < 0.12:
            continue  # a gap, through which the sky is seen
        storeys = int(rng.integers(2, 6))
        wall = street.shade(_WALLS[rng.integers(len(_WALLS))], 10)
        _draw_front(street, side, (near, far), (0, _STOREY * storeys), wall, BUILDING)
        columns = int(rng.integers(2, 5))
        glass = street.shade(GLASS, 14)
        for column in range(columns):
            window = [near + (far - near) * (column + part) / columns for part in (0.3, 0.7)]
            for storey in range(storeys):
                _draw_front(
                    street, side, window, (_STOREY * storey + 0.9, _STOREY * storey + 2.4), glass, None
                )


def _draw_front(
    street: Street,
    side: float,
    depths: Sequence[float],
    heights: tuple[float, float],
    color: Color,
    segment: int | None,
) -> None:
    """An upright rectangle above the outer edge of the pavement; heights in metres."""
    near, far = (street.spot(side * street.pavement, depth) for depth in depths)
    low, high = heights
    corners = [(near, low), (far, low), (far, high), (near, high)]
    street.shape("polygon", [(p.x, p.y - height * p.metre) for p, height in corners], color, segment)


def _draw_road_surface(street: Street) -> None:
    """Lane markings, and shadows or patches of asphalt: colours that are no boundaries."""
    rng = street.rng
    for lane in rng.choice([-1.2, 0.0, 1.2], rng.integers(1, 3), replace=False):
        for depth in np.arange(rng.uniform(0.1, 0.2), 1.1, 0.16):
            a, b = street.spot(lane, depth), street.spot(lane, depth + 0.07)
            half = 0.08 * a.metre
            corners = [(a.x - half, a.y), (a.x + half, a.y), (b.x + half, b.y), (b.x - half, b.y)]
            street.shape("polygon", corners, street.shade((196, 194, 186), 8), None)
    for _ in range(rng.integers(0, 4)):
        spot = street.spot(rng.uniform(-6, 6), rng.uniform(0.3, 1.0))
        r = rng.uniform(0.6, 2.5)
        street.part(spot, "ellipse", [(-r, r / 6), (r, -r / 6)], street.shade((74, 74, 78), 10), None)
