from itertools import permutations

import numpy as np
import pytest

from difflayers.panoptic import match


def best_sum(iou, prediction_classes, target_classes):
    """The largest sum of IoUs of any matching within the classes, by trying all of them."""
    allowed = np.where(prediction_classes[:, None] == target_classes, iou, 0.0)
    size = max(allowed.shape)
    square = np.zeros((size, size))
    square[: len(prediction_classes), : len(target_classes)] = allowed
    return max(square[np.arange(size), list(columns)].sum() for columns in permutations(range(size)))


@pytest.mark.parametrize("seed", range(40))
def test_no_matching_has_a_larger_sum(seed):
    generator = np.random.default_rng(seed)
    p, g = generator.integers(0, 6, 2)
    iou = generator.random((p, g)) * (generator.random((p, g)) < 0.6)
    prediction_classes, target_classes = generator.integers(0, 2, p), generator.integers(0, 2, g)
    pairs = match(iou, prediction_classes, target_classes)
    rows, columns = pairs.T
    assert len(set(rows)) == len(set(columns)) == len(pairs)
    assert (iou[rows, columns] > 0).all()
    assert (prediction_classes[rows] == target_classes[columns]).all()
    assert np.isclose(iou[rows, columns].sum(), best_sum(iou, prediction_classes, target_classes))


def test_the_sum_counts_and_not_the_best_single_pair():
    # Greedy would take 0.5 and then 0.0.
    assert match([[0.5, 0.4], [0.4, 0.0]], [1, 1], [1, 1]).tolist() == [[0, 1], [1, 0]]


def test_segments_of_other_classes_and_without_overlap_stay_alone():
    assert match([[0.9, 0.0], [0.1, 0.0]], [0, 1], [1, 1]).tolist() == [[1, 0]]


def test_mismatched_shapes_and_nan_are_refused():
    with pytest.raises(ValueError, match=r"shapes \(P, G\), \(P,\) and \(G,\), got \(1, 2\), \(2,\)"):
        match([[0.1, 0.2]], [0, 0], [0, 0])
    with pytest.raises(ValueError, match="NaN"):
        match([[np.nan]], [0], [0])
