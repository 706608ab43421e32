"""Stage-1 targets on a labeling of 4 x 6 pixels, all values worked out by hand."""

import numpy as np
import pytest
import torch

from difflayers.panoptic import VOID, PanopticLabels
from examples.cops.targets import Targets, stage_one_targets

V = VOID
IS_THING = np.array([False, True, False])  # road, car, sky
DISTANCES = (1, 3, 4, 6)


@pytest.fixture
def labels() -> PanopticLabels:
    """Road above (segment 0) and below (5), touching cars 1 and 2, sky (3), a crowd of cars (4), void."""
    segments = np.array([[0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2], [3, 3, 3, V, 2, 2], [5, 5, 5, 4, 4, 4]])
    crowd = np.array([False, False, False, False, True, False])
    return PanopticLabels(segments, np.array([0, 1, 1, 2, 1, 0]), crowd)


@pytest.fixture
def targets(labels: PanopticLabels) -> Targets:
    # Car 1 covers 4 · 16 = 64 pixels of the image, car 2 covers 96: with 80, only car 1 is small.
    return stage_one_targets(labels, IS_THING, DISTANCES, pixel_area=16, small_area=80)


def test_semantic_targets_are_the_classes_and_a_small_car_weighs_three_times(targets: Targets) -> None:
    assert targets.semantic.tolist() == [
        [0, 0, 1, 1, 1, 1],
        [0, 0, 1, 1, 1, 1],
        [2, 2, 2, V, 1, 1],
        [0, 0, 0, 1, 1, 1],
    ]
    assert targets.semantic_weight.tolist() == [
        [1, 1, 3, 3, 1, 1],
        [1, 1, 3, 3, 1, 1],
        [1, 1, 1, 0, 1, 1],
        [1, 1, 1, 1, 1, 1],
    ]
    assert (targets.semantic.dtype, targets.semantic_weight.dtype) == (torch.int64, torch.float32)


# 9 stands for a boundary that does not count: its weight is 0.
EXPECTED = {
    (1, "vertical"): (
        [[0, 0, 0, 0, 0, 0], [1, 1, 1, 9, 0, 0], [1, 1, 1, 9, 9, 9]],
        [[1, 1, 12, 12, 4, 4], [1, 1, 12, 0, 4, 4], [1, 1, 1, 0, 0, 0]],
    ),
    (1, "horizontal"): (
        [[0, 1, 0, 1, 0], [0, 1, 0, 1, 0], [0, 0, 9, 9, 0], [0, 0, 9, 9, 9]],
        [[1, 12, 12, 12, 4], [1, 12, 12, 12, 4], [1, 1, 0, 0, 4], [1, 1, 0, 0, 0]],
    ),
    # The two pieces of road are one segment: no boundary between rows 0 and 3 in the first two columns.
    (3, "vertical"): ([[0, 0, 1, 9, 9, 9]], [[1, 1, 12, 0, 0, 0]]),
    (3, "horizontal"): (
        [[1, 1, 1], [1, 1, 1], [9, 1, 1], [9, 9, 9]],
        [[12, 4, 12], [12, 4, 12], [0, 4, 4], [0, 0, 0]],
    ),
    (4, "vertical"): ([], []),
    (4, "horizontal"): ([[1, 1], [1, 1], [1, 1], [9, 9]], [[4, 4], [4, 4], [4, 4], [0, 0]]),
    (6, "vertical"): ([], []),
    (6, "horizontal"): ([[], [], [], []], [[], [], [], []]),
}


@pytest.mark.parametrize(("distance", "direction"), EXPECTED)
def test_edges_and_weights_are_those_worked_out_by_hand(
    targets: Targets, distance: int, direction: str
) -> None:
    boundary, weights = EXPECTED[distance, direction]
    side = ("vertical", "horizontal").index(direction)
    edges = targets.edges[DISTANCES.index(distance)][side]
    edge_weights = targets.edge_weights[DISTANCES.index(distance)][side]
    assert edge_weights.tolist() == weights
    assert torch.where(edge_weights > 0, edges, 9.0).tolist() == boundary
    assert (edges.dtype, edge_weights.dtype) == (torch.float32, torch.float32)


def test_a_distance_beyond_the_image_gives_empty_tensors_of_the_right_shape(targets: Targets) -> None:
    shapes = [[tuple(side.shape) for side in sides] for sides in targets.edges]
    assert shapes == [[(3, 6), (4, 5)], [(1, 6), (4, 3)], [(0, 6), (4, 2)], [(0, 6), (4, 0)]]


def test_small_is_measured_in_pixels_of_the_image(labels: PanopticLabels) -> None:
    # An area of exactly the threshold is not small: 4 · 16 = 64.
    at_threshold = stage_one_targets(labels, IS_THING, (1,), pixel_area=16, small_area=64)
    assert at_threshold.semantic_weight.max() == 1
    coarser = stage_one_targets(labels, IS_THING, (1,), pixel_area=1, small_area=64)
    assert (coarser.semantic_weight == 3).sum() == 4 + 6  # both cars, but neither crowd nor stuff


def test_an_image_without_any_segment_counts_nowhere() -> None:
    empty = PanopticLabels(np.full((3, 3), VOID), np.array([], dtype=np.int64))
    targets = stage_one_targets(empty, IS_THING, (1, 2))
    assert (targets.semantic == VOID).all()
    assert targets.semantic_weight.sum() == 0
    assert sum(side.sum() for sides in targets.edge_weights for side in sides) == 0
