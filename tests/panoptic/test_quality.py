import numpy as np
import pytest
import torch
from torchmetrics.detection import PanopticQuality as ReferencePanopticQuality

from difflayers.panoptic import VOID, PanopticLabels, PanopticQuality, compact, from_maps, panoptic_quality

IS_THING = np.array([True, True, False, False])


def strip(*runs):
    """A one-row labeling of (class, length) runs, a segment each; VOID for void."""
    classes = [label for label, _ in runs if label != VOID]
    numbers, segments = iter(range(len(classes))), []
    for label, length in runs:
        segments += [VOID if label == VOID else next(numbers)] * length
    return PanopticLabels(np.array([segments]), np.array(classes, dtype=np.int64))


def with_crowd(labels, *crowd):
    is_crowd = np.zeros(len(labels.classes), dtype=bool)
    is_crowd[list(crowd)] = True
    return PanopticLabels(labels.segments, labels.classes, is_crowd)


def random_labeling(generator, shape, is_thing):
    """A labeling without void, as torchmetrics counts it: all pixels of a stuff class are one segment."""
    blocks = generator.integers(0, 12, (3, 3)).repeat(4, axis=0).repeat(4, axis=1)[: shape[0], : shape[1]]
    noise = generator.random(shape) < 0.15
    segments = np.where(noise, generator.integers(0, 12, shape), blocks)
    classes = generator.integers(0, len(is_thing), 12)
    first_of_class = np.array([np.flatnonzero(classes == label)[0] for label in classes])
    merged = np.where(is_thing[classes], np.arange(12), first_of_class)
    return compact(merged[segments], classes)


def as_torchmetrics(labels):
    instance = np.where(IS_THING[labels.semantic()], labels.segments, 0)
    return torch.as_tensor(np.stack([labels.semantic(), instance], axis=-1))[None]


@pytest.mark.parametrize("seed", range(15))
def test_equals_torchmetrics_on_random_labelings_without_void(seed):
    generator = np.random.default_rng(seed)
    reference = ReferencePanopticQuality(
        things={0, 1}, stuffs={2, 3}, return_sq_and_rq=True, return_per_class=True
    )
    ours = PanopticQuality(4, IS_THING)
    for _ in range(4):
        target = random_labeling(generator, (12, 11), IS_THING)
        # Predictions near the target, so that true positives occur.
        mixed = np.where(generator.random((12, 11)) < 0.25, 0, target.segments)
        prediction = compact(mixed, target.classes)
        if generator.random() < 0.3:
            prediction = random_labeling(generator, (12, 11), IS_THING)
        ours.update(prediction, target)
        reference.update(as_torchmetrics(prediction), as_torchmetrics(target))
    result = ours.compute()
    expected = reference.compute().numpy()
    assert np.allclose(np.nan_to_num(result.per_class_pq), np.nan_to_num(expected[:, 0]))
    assert np.allclose(np.nan_to_num(result.per_class_sq), np.nan_to_num(expected[:, 1]))
    assert np.allclose(np.nan_to_num(result.per_class_rq), np.nan_to_num(expected[:, 2]))


def quality_by_pixel_sets(prediction, target, num_classes):
    """TP, FP, FN and summed IoU by the rules of the COCO evaluation, one pair of segments at a time."""
    pixels = [
        [{*np.flatnonzero(labels.segments == s)} for s in range(len(labels.classes))]
        for labels in (prediction, target)
    ]
    void = {*np.flatnonzero(target.segments == VOID)}
    counts, matched_p, matched_t = np.zeros((4, num_classes)), set(), set()
    for p, own in enumerate(pixels[0]):
        for t, truth in enumerate(pixels[1]):
            if target.is_crowd[t] or prediction.classes[p] != target.classes[t]:
                continue
            iou = len(own & truth) / len((own | truth) - (void - truth))
            if iou > 0.5:
                matched_p.add(p)
                matched_t.add(t)
                counts[[0, 3], target.classes[t]] += [1, iou]
    for t in range(len(pixels[1])):
        counts[2, target.classes[t]] += not target.is_crowd[t] and t not in matched_t
    for p, own in enumerate(pixels[0]):
        excuse = set(void)
        for t, truth in enumerate(pixels[1]):
            if target.is_crowd[t] and prediction.classes[p] == target.classes[t]:
                excuse |= truth
        counts[1, prediction.classes[p]] += p not in matched_p and len(own & excuse) <= 0.5 * len(own)
    return counts


@pytest.mark.parametrize("seed", range(40))
def test_equals_the_rules_applied_to_pixel_sets_with_void_and_crowd(seed):
    generator = np.random.default_rng(seed)
    target = random_labeling(generator, (12, 11), IS_THING)
    # At most one crowd region of a class, as in COCO.
    is_crowd = np.isin(np.arange(len(target.classes)), np.unique(target.classes, return_index=True)[1][:2])
    classes = np.where(generator.random(len(is_crowd)) < 0.2, generator.integers(0, 4), target.classes)
    noisy = np.where(
        generator.random((12, 11)) < 0.25, generator.integers(VOID, 3, (12, 11)), target.segments
    )
    prediction = compact(noisy, classes)
    holed = np.where(generator.random((3, 11)).repeat(4, axis=0) < 0.3, VOID, target.segments)
    target = compact(holed, target.classes, is_crowd)

    tp, fp, fn, iou = quality_by_pixel_sets(prediction, target, 4)
    result = panoptic_quality([prediction], [target], IS_THING)
    with np.errstate(invalid="ignore"):
        assert np.allclose(result.per_class_pq, iou / (tp + 0.5 * fp + 0.5 * fn), equal_nan=True)
        assert np.allclose(result.per_class_rq, tp / (tp + 0.5 * fp + 0.5 * fn), equal_nan=True)


def test_the_random_labelings_hold_every_kind_of_outcome():
    generator = np.random.default_rng(0)
    target = random_labeling(generator, (12, 11), IS_THING)
    result = panoptic_quality(
        [compact(target.segments * (target.segments > 3), target.classes)], [target], IS_THING
    )
    assert 0 < result.rq < 1


def test_a_perfect_prediction_scores_one():
    target = strip((0, 3), (0, 2), (VOID, 2), (2, 4))
    result = panoptic_quality([target], [target], IS_THING)
    assert (result.pq, result.sq, result.rq, result.pq_things, result.pq_stuff) == (1, 1, 1, 1, 1)


def test_a_hand_worked_data_set():
    # Image 1: thing 0 with IoU 3/4; stuff 2 with IoU 6/7. Image 2: thing 0 missed, stuff 2 predicted as 3.
    predictions = [strip((0, 3), (2, 7)), strip((3, 10))]
    targets = [strip((0, 4), (2, 6)), strip((0, 4), (2, 6))]
    result = panoptic_quality(predictions, targets, IS_THING)
    assert np.allclose(result.per_class_sq, [3 / 4, np.nan, 6 / 7, 0], equal_nan=True)
    assert np.allclose(result.per_class_rq, [1 / 1.5, np.nan, 1 / 1.5, 0], equal_nan=True)
    assert np.allclose(result.per_class_pq, [0.5, np.nan, 4 / 7, 0], equal_nan=True)
    assert result.pq == pytest.approx((0.5 + 4 / 7 + 0) / 3)
    assert result.pq_things == pytest.approx(0.5)
    assert result.pq_stuff == pytest.approx(2 / 7)
    assert result.rq_stuff == pytest.approx(1 / 3)
    assert result.sq_things == pytest.approx(0.75)


def test_an_iou_of_exactly_one_half_is_no_match():
    result = panoptic_quality([strip((0, 2), (2, 2))], [strip((0, 4))], IS_THING)
    assert result.per_class_pq[0] == 0
    assert result.per_class_rq[2] == 0


def test_void_of_the_ground_truth_does_not_count_in_the_union():
    # 4 of 8 pixels of the prediction are void: with them the IoU would be 4 / 10.
    result = panoptic_quality([strip((0, 8), (VOID, 2))], [strip((VOID, 4), (0, 6))], IS_THING)
    assert result.per_class_pq[0] == pytest.approx(4 / 6)


def test_a_prediction_more_than_half_void_is_no_false_positive():
    target = strip((VOID, 3), (2, 7))
    ignored = panoptic_quality([strip((0, 5), (2, 5))], [target], IS_THING)  # 3 of 5 on void
    assert np.isnan(ignored.per_class_pq[0])
    counted = panoptic_quality([strip((0, 6), (2, 4))], [target], IS_THING)  # 3 of 6
    assert counted.per_class_pq[0] == 0


def test_void_of_the_prediction_is_only_missed_area():
    result = panoptic_quality([strip((0, 3), (VOID, 2))], [strip((0, 5))], IS_THING)
    assert result.per_class_pq[0] == pytest.approx(3 / 5)


def test_a_crowd_region_is_neither_matched_nor_missed():
    target = with_crowd(strip((0, 4), (2, 6)), 0)
    result = panoptic_quality([strip((0, 4), (2, 6))], [target], IS_THING)
    assert np.isnan(result.per_class_pq[0])
    assert result.per_class_pq[2] == 1
    missed = panoptic_quality([strip((VOID, 4), (2, 6))], [target], IS_THING)
    assert np.isnan(missed.per_class_pq[0])


def test_crowd_excuses_predictions_of_its_own_class_only():
    target = with_crowd(strip((0, 5), (2, 5)), 0)
    own = panoptic_quality([strip((0, 2), (0, 2), (VOID, 1), (2, 5))], [target], IS_THING)
    assert np.isnan(own.per_class_pq[0])
    other = panoptic_quality([strip((1, 4), (VOID, 1), (2, 5))], [target], IS_THING)
    assert other.per_class_pq[1] == 0


def test_void_and_crowd_add_up_to_the_half_that_excuses():
    target = with_crowd(strip((VOID, 2), (0, 2), (2, 6)), 0)
    excused = panoptic_quality([strip((0, 7), (2, 3))], [target], IS_THING)  # 4 of 7
    assert np.isnan(excused.per_class_pq[0])
    counted = panoptic_quality([strip((0, 8), (2, 2))], [target], IS_THING)  # 4 of 8
    assert counted.per_class_pq[0] == 0


def test_crowd_counts_in_the_union_of_a_match():
    # Only void leaves the union; the crowd beside the instance does not.
    target = with_crowd(strip((0, 6), (0, 4)), 1)
    result = panoptic_quality([strip((0, 8), (VOID, 2))], [target], IS_THING)
    assert result.per_class_pq[0] == pytest.approx(6 / 8)


def test_accumulating_merging_and_starting_anew():
    generator = np.random.default_rng(5)
    pairs = [[random_labeling(generator, (12, 11), IS_THING) for _ in range(2)] for _ in range(4)]
    whole, left, right = (PanopticQuality(4, IS_THING) for _ in range(3))
    for index, (prediction, target) in enumerate(pairs):
        whole.update(prediction, target)
        (left if index < 2 else right).update(prediction, target)
    left += right
    assert left.compute().pq == whole.compute().pq
    assert np.array_equal(left.compute().per_class_pq, whole.compute().per_class_pq, equal_nan=True)
    whole.reset()
    assert np.isnan(whole.compute().pq)


def test_many_segments_count_as_few_do():
    # More pairs of segments than pixels: the overlaps are found by sorting.
    generator = np.random.default_rng(0)
    target = PanopticLabels(np.arange(400).reshape(20, 20), generator.integers(0, 4, 400))
    order = generator.permutation(400)
    prediction = PanopticLabels(np.argsort(order).reshape(20, 20), target.classes[order])
    assert panoptic_quality([prediction], [target], IS_THING).pq == 1


def test_misuse_is_refused_with_a_reason():
    with pytest.raises(ValueError, match=r"is_thing must be bool of shape \(3,\), got bool \(4,\)"):
        PanopticQuality(3, IS_THING)
    with pytest.raises(ValueError, match=r"prediction must have shape \(1, 4\), as target has, got \(1, 3\)"):
        PanopticQuality(4, IS_THING).update(strip((0, 3)), strip((0, 4)))
    with pytest.raises(ValueError, match="target holds class 4, but there are 4 classes"):
        PanopticQuality(4, IS_THING).update(strip((0, 3)), strip((4, 3)))
    with pytest.raises(ValueError, match="is_thing differs"):
        PanopticQuality(4, IS_THING).merge(PanopticQuality(4, ~IS_THING))


@pytest.mark.parametrize("shape", [(24,), (4, 6), (2, 3, 4)])
def test_quality_does_not_depend_on_how_the_pixels_are_laid_out(shape):
    is_thing = np.array([True, False, True])
    results = []
    for lay_out in (shape, (24,)):
        rng = np.random.default_rng(0)
        quality = PanopticQuality(3, is_thing)
        for _ in range(3):
            maps = rng.integers(-1, 3, 24), rng.integers(0, 2, 24)
            other = np.where(rng.random(24) < 0.1, 0, maps[0]), maps[1]
            truth, found = (
                from_maps(*(part.reshape(lay_out) for part in pair), is_thing) for pair in (maps, other)
            )
            quality.update(found, truth)
        results.append(quality.compute())
    for name in ("per_class_pq", "per_class_tp", "per_class_fp", "per_class_fn"):
        assert np.array_equal(getattr(results[0], name), getattr(results[1], name), equal_nan=True)
    assert results[0].per_class_tp.sum() > 0


def test_counts_are_public_and_make_up_the_quality():
    # Class 0 has a match and a bad pair, class 1 is missed, and class 2 does not exist.
    truth = PanopticLabels(np.array([[0, 0, 0, 1, 1, 2, 2, 2]]), [0, 0, 1])
    found = PanopticLabels(np.array([[0, 0, 1, 1, 2, 2, 2, 2]]), [0, 0, 2])
    result = panoptic_quality([found], [truth], np.array([True, True, True]))
    assert result.per_class_tp.tolist() == [1, 0, 0]
    assert result.per_class_fp.tolist() == [1, 0, 1]
    assert result.per_class_fn.tolist() == [1, 1, 0]
    assert result.per_class_tp.dtype == np.int64
    np.testing.assert_allclose(result.per_class_pq, [2 / 3 / 2, 0, 0])
