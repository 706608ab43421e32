"""Overlays, panels and curves."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from difflayers.panoptic import VOID, PanopticLabels
from difflayers.panoptic.files import Category
from examples.cops.measure.pictures import overlay, panel, training_curve

CATEGORIES = (Category(1, "road", False, (100, 60, 20)), Category(2, "car", True, (0, 0, 200)))


@pytest.fixture
def labels() -> PanopticLabels:
    segments = np.zeros((8, 12), dtype=np.int32)
    segments[2:6, 2:6] = 1
    segments[2:6, 6:10] = 2
    segments[7] = VOID
    return PanopticLabels(segments, np.array([0, 1, 1]))


def test_overlay_blends_class_colours_and_leaves_void_alone(labels: PanopticLabels) -> None:
    image = np.full((8, 12, 3), 40, dtype=np.uint8)
    result = overlay(image, labels, CATEGORIES, alpha=0.5)
    assert result[0, 0].tolist() == [70, 50, 30]
    assert result[7, 3].tolist() == [40, 40, 40]
    assert (overlay(image, labels, CATEGORIES, alpha=0.0)[0, 0] == 40).all()


def test_overlay_outlines_instances_and_gives_neighbours_their_own_shade(labels: PanopticLabels) -> None:
    result = overlay(np.zeros((8, 12, 3), np.uint8), labels, CATEGORIES, alpha=1.0)
    outlined = (result == 255).all(axis=2)
    assert outlined[3, 5]  # between the two cars
    assert outlined[3, 1]
    assert outlined[5, 3]  # around them
    assert not outlined[6].any()  # road and void: no instance
    assert (result[3, 3] != result[3, 8]).any()
    for pixel in (result[3, 3], result[3, 8]):
        assert pixel.argmax() == 2  # both still blue


def test_overlay_refuses_labels_of_another_size(labels: PanopticLabels) -> None:
    with pytest.raises(
        ValueError,
        match=r"image must be uint8 of shape \(8, 12, 3\)",
    ):
        overlay(np.zeros((4, 4, 3), np.uint8), labels, CATEGORIES)


def test_overlay_of_nothing_is_the_image() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert (
        overlay(image, PanopticLabels(np.full((4, 4), VOID), np.array([], int)), CATEGORIES) == image
    ).all()


def test_panel_shows_its_images_in_order(tmp_path: Path) -> None:
    colors = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)]]
    rows = [[np.full((20, 30, 3), color, dtype=np.uint8) for color in row] for row in colors]
    path = tmp_path / "new" / "panel.png"
    panel(rows, ["first", "second"], path)
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    centres = {}
    for row in colors:
        for color in row:
            found = np.argwhere(np.abs(picture - color).max(axis=2) < 8)
            assert len(found) > 0.1 * picture.shape[0] * picture.shape[1]
            centres[color] = found.mean(axis=0)
    (a, b), (c, d) = ((centres[color] for color in row) for row in colors)
    assert a[1] < b[1]
    assert c[1] < d[1]
    assert a[0] < c[0]
    assert b[0] < d[0]


def test_panel_refuses_a_row_that_its_titles_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row 0 has 1 images, but there are 2 titles"):
        panel([[np.zeros((4, 4, 3), np.uint8)]], ["a", "b"], tmp_path / "panel.png")


def test_training_curve_draws_more_for_a_second_stage_with_qualities(tmp_path: Path) -> None:
    first = [
        {"stage": 1, "iteration": i, "loss": 3.0 / (i + 1), "semantic": 1.0, "affinity": 0.5}
        for i in range(30)
    ]
    second = [
        {"stage": 2, "iteration": i, "loss": 2.0, "soft_pq": 0.4 + i / 100, "pq": 0.3} for i in range(30)
    ]
    for name, log in (("one", first), ("both", first + second)):
        training_curve(log, tmp_path / f"{name}.png")
    one, both = (Image.open(tmp_path / f"{name}.png") for name in ("one", "both"))
    assert both.width == 3 * one.width  # one plot against three: losses, losses, qualities


def test_training_curve_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="log is empty"):
        training_curve([], tmp_path / "curve.png")
