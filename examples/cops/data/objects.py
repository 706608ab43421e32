"""What stands in a drawn street, made of primitives: cars, buses, people, trees; all in metres."""

import numpy as np

from examples.cops.data.street import BUS, CAR, GLASS, PERSON, TREE, Color, Points, Spot, Street

_PAINTS = ((172, 174, 178), (52, 54, 60), (225, 226, 224), (150, 32, 34), (40, 66, 120), (92, 98, 84))
_FABRICS = (
    (48, 50, 66),
    (120, 40, 44),
    (72, 92, 118),
    (176, 168, 150),
    (62, 78, 56),
    (206, 200, 198),
    (140, 104, 66),
)
_SKINS = ((224, 186, 160), (188, 142, 108), (132, 92, 66), (92, 64, 48))
_TYRE = (34, 34, 38)


class Wardrobe:
    """The few paints and fabrics of one scene, so that neighbours of a class often share theirs."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.paints = [_PAINTS[i] for i in rng.choice(len(_PAINTS), 2, replace=False)]
        self.fabrics = [_FABRICS[i] for i in rng.choice(len(_FABRICS), 3, replace=False)]

    def paint(self, rng: np.random.Generator) -> Color:
        return self.paints[rng.integers(len(self.paints))]

    def fabric(self, rng: np.random.Generator) -> Color:
        return self.fabrics[rng.integers(len(self.fabrics))]


def draw_car(street: Street, spot: Spot, wardrobe: Wardrobe) -> None:
    """A car, about two thirds of them along the street, the others across."""
    segment, color = street.new_segment(CAR), street.shade(wardrobe.paint(street.rng), 7)
    tyre = street.shade(_TYRE, 6)
    if street.rng.random() < 0.65:
        _draw_car_along(street, spot, segment, color, tyre)
    else:
        _draw_car_across(street, spot, segment, color, tyre)


def draw_bus(street: Street, spot: Spot, wardrobe: Wardrobe) -> None:
    """A bus from ahead, with its sign."""
    segment, color = street.new_segment(BUS), street.shade(wardrobe.paint(street.rng), 14)
    tyre, glass = street.shade(_TYRE, 6), street.shade(GLASS, 12)
    _draw_shadow(street, spot, 1.4)
    for s in (-0.9, 0.9):
        street.part(spot, "rectangle", [(s - 0.16, 0.5), (s + 0.16, 0)], tyre, segment)
    street.part(spot, "rectangle", [(-1.25, 2.9), (1.25, 0.3)], color, segment)
    street.part(spot, "rectangle", [(-1.1, 2.3), (1.1, 1.25)], glass, segment)
    street.part(spot, "rectangle", [(-0.7, 2.75), (0.7, 2.45)], street.shade((226, 170, 60), 12), segment)


def draw_person(street: Street, spot: Spot, wardrobe: Wardrobe) -> None:
    """A person: legs in mid-stride, torso, head and hair."""
    rng = street.rng
    body = spot._replace(metre=spot.metre * rng.uniform(0.85, 1.1))
    segment = street.new_segment(PERSON)
    coat, trousers = (street.shade(wardrobe.fabric(rng), 8) for _ in range(2))
    skin = street.shade(_SKINS[rng.integers(len(_SKINS))], 8)
    _draw_shadow(street, spot, 0.35)
    stride = rng.uniform(0.02, 0.22)
    for s in (-1, 1):
        leg = [(-0.13 * s, 0.9), (0.14 * s, 0.9), ((stride + 0.08) * s, 0), ((stride - 0.08) * s, 0)]
        street.part(body, "polygon", leg, trousers, segment)
    street.part(body, "polygon", _symmetric([(-0.2, 0.75), (-0.26, 1.3), (-0.16, 1.46)]), coat, segment)
    street.part(body, "ellipse", [(-0.13, 1.76), (0.13, 1.44)], skin, segment)
    street.part(body, "ellipse", [(-0.13, 1.78), (0.13, 1.62)], street.shade((50, 40, 34), 12), segment)


def draw_tree(street: Street, spot: Spot, wardrobe: Wardrobe) -> None:
    """A tree; all trees of a scene are one segment."""
    rng = street.rng
    street.part(spot, "rectangle", [(-0.16, 2.6), (0.16, 0)], street.shade((78, 62, 50), 8), TREE)
    crown = street.shade((72, 98, 54), 16)
    for _ in range(7):
        a, b, r = rng.normal(0, 0.7), rng.uniform(2.4, 4.4), rng.uniform(0.6, 1.1)
        street.part(spot, "ellipse", [(a - r, b + r), (a + r, b - r)], street.shade(crown, 9), TREE)


def _draw_car_along(street: Street, spot: Spot, segment: int, color: Color, tyre: Color) -> None:
    _draw_shadow(street, spot, 1.1)
    for s in (-0.68, 0.68):
        street.part(spot, "rectangle", [(s - 0.13, 0.35), (s + 0.13, 0)], tyre, segment)
    street.part(spot, "rectangle", [(-0.9, 0.95), (0.9, 0.2)], color, segment)
    street.part(spot, "polygon", _symmetric([(-0.85, 0.92), (-0.62, 1.5)]), color, segment)
    window = _symmetric([(-0.7, 0.97), (-0.54, 1.4)])
    street.part(spot, "polygon", window, street.shade(GLASS, 12), segment)
    from_behind = street.rng.random() < 0.6
    light = street.shade((170, 44, 40), 20) if from_behind else street.shade((232, 228, 200), 10)
    for s in (-0.74, 0.74):
        street.part(spot, "rectangle", [(s - 0.12, 0.8), (s + 0.12, 0.62)], light, segment)


def _draw_car_across(street: Street, spot: Spot, segment: int, color: Color, tyre: Color) -> None:
    _draw_shadow(street, spot, 2.1)
    f = float(street.rng.choice([-1, 1]))  # which way it drives
    street.part(spot, "rectangle", [(-2.0, 0.9), (2.0, 0.25)], color, segment)
    roof = [(-1.5 * f, 0.88), (-1.05 * f, 1.45), (0.45 * f, 1.45), (1.1 * f, 0.88)]
    street.part(spot, "polygon", roof, color, segment)
    for pane in (
        [(-1.25 * f, 0.92), (-0.95 * f, 1.36), (-0.35 * f, 1.36), (-0.35 * f, 0.92)],
        [(-0.22 * f, 0.92), (-0.22 * f, 1.36), (0.38 * f, 1.36), (0.85 * f, 0.92)],
    ):
        street.part(spot, "polygon", pane, street.shade(GLASS, 12), segment)
    for s in (-1.25, 1.25):
        street.part(spot, "ellipse", [(s - 0.34, 0.64), (s + 0.34, -0.02)], tyre, segment)


def _draw_shadow(street: Street, spot: Spot, half: float) -> None:
    street.part(spot, "ellipse", [(-half, 0.12), (half, -0.1)], street.shade((50, 50, 54), 5), None)


def _symmetric(left: Points) -> Points:
    """The left half of an outline, from bottom to top, completed by its mirror image."""
    return [*left, *((-a, b) for a, b in reversed(left))]
