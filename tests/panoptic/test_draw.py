"""Overlays of panoptic labelings, pixel by pixel."""

import numpy as np
import pytest

from difflayers.panoptic import VOID, PanopticLabels, draw
from difflayers.pictures import palette

IS_THING = [False, True]
COLORS = [(100, 60, 20), (0, 0, 200)]


@pytest.fixture
def labels() -> PanopticLabels:
    segments = np.zeros((8, 12), dtype=np.int32)
    segments[2:6, 2:6] = 1
    segments[2:6, 6:10] = 2
    segments[7] = VOID
    return PanopticLabels(segments, np.array([0, 1, 1]))


def test_overlay_blends_class_colours_and_leaves_void_alone(labels):
    image = np.full((8, 12, 3), 40, dtype=np.uint8)
    result = draw.overlay(image, labels, IS_THING, COLORS, alpha=0.5)
    assert result[0, 0].tolist() == [70, 50, 30]
    assert (result[7] == 40).all()
    assert (draw.overlay(image, labels, IS_THING, COLORS, alpha=0.0)[0, 0] == 40).all()
    assert (image == 40).all()


def test_overlay_outlines_instances_and_gives_touching_ones_their_own_shade(labels):
    result = draw.overlay(None, labels, IS_THING, COLORS, alpha=1.0, outline=(255, 0, 255))
    line = (result == (255, 0, 255)).all(axis=2)
    expected = np.zeros((8, 12), bool)
    expected[2:6, [1, 5, 9]] = True  # left of the cars, between them, and their last column
    expected[[1, 5], 2:10] = True  # above them, and their last row
    assert (line == expected).all()
    assert (result[3, 3] != result[3, 8]).any()
    assert result[3, 3].argmax() == result[3, 8].argmax() == 2  # both still blue


def test_a_zoomed_overlay_has_the_same_colours_and_thinner_lines(labels):
    image = np.random.default_rng(0).integers(0, 255, (8, 12, 3), dtype=np.uint8)
    small = draw.overlay(image, labels, IS_THING, COLORS)
    large = draw.overlay(image, labels, IS_THING, COLORS, zoom=5)
    assert large.shape == (40, 60, 3)
    assert (large[::5, ::5] == small)[(small != 255).any(2)].all()
    assert (large == 255).all(2).mean() < (small == 255).all(2).mean() / 3


def test_classes_without_given_colours_get_distinct_ones():
    segments = np.arange(6, dtype=np.int32).repeat(4).reshape(6, 4)
    labels = PanopticLabels(segments, np.arange(6))
    result = draw.overlay(None, labels, np.zeros(6, bool), alpha=1.0)
    assert (result[:, 0] == palette(6)).all()


def test_overlay_of_nothing_is_the_image():
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    empty = PanopticLabels(np.full((4, 4), VOID), np.array([], int))
    assert (draw.overlay(image, empty, IS_THING) == image).all()


def test_wrong_arguments_are_named(labels):
    with pytest.raises(ValueError, match=r"image must be uint8 of shape \(8, 12, 3\), got uint8"):
        draw.overlay(np.zeros((4, 4, 3), np.uint8), labels, IS_THING)
    with pytest.raises(ValueError, match="labels has class 1, but is_thing has 1 entries"):
        draw.overlay(None, labels, [False])
    with pytest.raises(ValueError, match=r"colors must have shape \(2, 3\), got \(1, 3\)"):
        draw.overlay(None, labels, IS_THING, [(1, 2, 3)])
    with pytest.raises(ValueError, match="names has 1 entries, but is_thing has 2"):
        draw.show(labels, IS_THING, names=["road"])


def test_names_stand_inside_their_segments_even_where_these_are_hollow():
    segments = np.zeros((30, 30), np.int32)
    segments[5:25, 5:25] = 1
    labels = PanopticLabels(segments, np.array([0, 1]))
    rows, columns = draw.anchors(labels).T
    assert labels.segments[rows, columns].tolist() == [0, 1]
    assert abs(rows[1] - 14.5) <= 1
    assert abs(columns[1] - 14.5) <= 1


def test_figures_show_the_overlay_and_name_what_is_large_enough(labels):
    pytest.importorskip("matplotlib")
    figure = draw.show(labels, IS_THING, ["road", "car"], colors=COLORS, smallest=20)
    (axes,) = figure.axes
    shown = axes.images[0]
    assert (shown.get_array() == draw.overlay(None, labels, IS_THING, COLORS, 1.0, zoom=33)).all()
    assert list(shown.get_extent()) == [-0.5, 11.5, 7.5, -0.5]  # names and mouse count pixels of the labels
    assert [text.get_text() for text in axes.texts] == ["road"]
    figure = draw.show(labels, IS_THING, ["road", "car"])
    assert [text.get_text() for text in figure.axes[0].texts] == ["road", "car", "car"]
