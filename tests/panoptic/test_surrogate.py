from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers.panoptic import (
    VOID,
    PanopticLabels,
    SegmentMasks,
    SoftPanopticQualityLoss,
    compact,
    panoptic_quality,
    soft_panoptic_quality,
)

FORMS = ("authors", "expected", "printed")
IS_THING = np.array([True, True, False, False])
OPTIONS = {"is_thing": IS_THING, "thing_area": 40.0, "stuff_area": 90.0, "pixel_area": 4.0}


def hard_masks(labels, dtype=torch.float32):
    rows = np.arange(len(labels.classes))[:, None, None] == labels.segments
    return SegmentMasks(torch.as_tensor(rows).to(dtype), labels.classes)


def slow_soft_panoptic_quality(predictions, targets, is_thing, thing_area, stuff_area, pixel_area, form):
    """Equation 6 in one of its forms, pixel set by pixel set, with the matching by trying all of them."""
    qualities, weights = [], []
    for label in range(len(is_thing)):
        threshold = thing_area if is_thing[label] else stuff_area
        numerator = denominator = 0.1 if form == "authors" else 0.0
        absent, in_target = 1.0, False
        for prediction, target in zip(predictions, targets, strict=True):
            valid = np.array([s >= 0 and not target.is_crowd[s] for s in target.segments.ravel()])
            valid = valid.reshape(target.shape)
            masks = [
                m * valid for m, c in zip(prediction.masks, prediction.classes, strict=True) if c == label
            ]
            masks = [m for m in masks if m.sum() > 0]
            truths = [
                (target.segments == s).astype(float)
                for s in range(len(target.classes))
                if target.classes[s] == label and not target.is_crowd[s]
            ]
            in_target |= bool(truths)
            size = max(len(masks), len(truths))
            iou = np.zeros((size, size))
            for i, mask in enumerate(masks):
                for j, truth in enumerate(truths):
                    intersection = (mask * truth).sum()
                    iou[i, j] = intersection / (mask.sum() + truth.sum() - intersection)
            best = max(
                permutations(range(size)), key=lambda order: sum(iou[i, j] for i, j in enumerate(order))
            )
            matched_truths = 0
            for i, mask in enumerate(masks):
                sigma = 1 / (1 + np.exp(-0.1 * (pixel_area * mask.sum() - threshold)))
                u = iou[i, best[i]]
                if u > 0:
                    h = u**4 / (u**4 + (1 - u) ** 4)
                    numerator += h * sigma * u
                    p = (
                        h * sigma
                    )  # the pair is a match; otherwise the truth is missed and the prediction wrong
                    denominator += {
                        "printed": p,
                        "authors": p + 0.5 * (1 - h),
                        "expected": p + 0.5 * (1 - p) + 0.5 * sigma * (1 - h),
                    }[form]
                    matched_truths += 1
                else:
                    denominator += 0.5 * sigma
                    absent *= 1 - sigma
            denominator += 0.5 * (len(truths) - matched_truths)
        qualities.append(numerator / denominator if denominator > 0 else 0.0)
        weights.append(1.0 if in_target else 1 - absent)
    nothing = np.prod([1 - w for w in weights])
    return (np.dot(qualities, weights) + nothing) / (sum(weights) + nothing)


def random_batch(seed, images=2, dtype=torch.float64):
    generator = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(images):
        segments = generator.integers(VOID, 5, (3, 3)).repeat(3, axis=0).repeat(3, axis=1)
        target = compact(segments, generator.integers(0, 4, 5), generator.random(5) < 0.2)
        noisy = np.where(generator.random((9, 9)) < 0.3, generator.integers(0, 5, (9, 9)), segments)
        masks = (noisy == np.arange(5)[:, None, None]) * generator.uniform(0.6, 1.0, (5, 9, 9))
        classes = generator.integers(0, 4, 5)
        own = min(len(target.classes), 3)
        classes[:own] = target.classes[:own]
        predictions.append(SegmentMasks(torch.as_tensor(masks, dtype=dtype), classes))
        targets.append(target)
    return predictions, targets


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(10))
def test_equals_equation_6_written_out(seed, form):
    predictions, targets = random_batch(seed)
    value = soft_panoptic_quality(predictions, targets, **OPTIONS, form=form)
    arrays = [SegmentMasks(p.masks.numpy(), p.classes) for p in predictions]
    expected = slow_soft_panoptic_quality(arrays, targets, **OPTIONS, form=form)
    assert value.item() == pytest.approx(expected, abs=1e-12)


def class_quality(form, ious, unmatched=0, missed=0):
    """Soft and exact quality of a class of things with given IoUs of its pairs; every σ is 1."""
    width = 200
    lengths = [round(iou * width) for iou in ious] + [width] * unmatched + [0] * missed
    here = np.arange(width) < np.array([*lengths, 0])[:, None]
    true = np.repeat([True, False, True, False], [len(ious), unmatched, missed, 1])[:, None]
    rows, stuff = np.arange(len(here))[:, None], len(here)  # the last row is stuff in both
    found, truth = np.where(here, rows, stuff), np.where(true, rows, stuff) + np.zeros_like(here)
    classes = np.append(np.zeros(stuff, int), 2)
    prediction, target = compact(found, classes), compact(truth, classes)
    things = np.flatnonzero(prediction.classes == 0)
    masks = torch.as_tensor(prediction.segments == things[:, None, None]).double()
    soft = soft_panoptic_quality(
        [SegmentMasks(masks, np.zeros(len(things), int))],
        [target],
        is_thing=IS_THING,
        thing_area=-1e9,
        form=form,
    )
    of_stuff = 0.1 / 0.6 if form == "authors" else 0.0  # which has no mask
    exact = panoptic_quality([prediction], [target], IS_THING).per_class_pq[0]
    return 2 * soft.item() - of_stuff, exact


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("printed", [1.000, 0.978, 0.833, 0.818]),
        ("authors", [0.687, 0.687, 0.730, 0.794]),
        ("exact", [0.5, 0.5, 0.5, 0.8]),
    ],
)
def test_one_perfect_and_one_bad_match_have_the_worked_values(form, values):
    for iou, value in zip([0.05, 0.3, 0.5, 0.6], values, strict=True):
        soft, exact = class_quality("authors" if form == "exact" else form, [1.0, iou])
        assert (exact if form == "exact" else soft) == pytest.approx(value, abs=6e-4)


def test_the_default_is_the_form_of_the_authors():
    predictions, targets = random_batch(0)
    default = soft_panoptic_quality(predictions, targets, **OPTIONS)
    assert default == soft_panoptic_quality(predictions, targets, **OPTIONS, form="authors")
    loss = SoftPanopticQualityLoss(**OPTIONS)(predictions, targets)
    assert loss.item() == 1 - default.item()
    with pytest.raises(ValueError, match="form must be one of 'authors', 'printed', 'expected'"):
        SoftPanopticQualityLoss(IS_THING, form="exact")


pairs = st.lists(st.integers(1, 100).map(lambda percent: percent / 100), max_size=4)
others = st.integers(0, 2)


@settings(max_examples=40, deadline=None)
@given(pairs, st.integers(1, 100), st.integers(1, 100), others, others)
def test_a_worse_match_is_not_rewarded(ious, first, second, unmatched, missed):
    worse, better = sorted([first / 100, second / 100])
    for form, most in (("expected", 1e-9), ("authors", 1e-9 if worse >= 0.5 else 0.002)):
        low, high = (class_quality(form, [*ious, iou], unmatched, missed)[0] for iou in (worse, better))
        assert low <= high + most


@settings(max_examples=40, deadline=None)
@given(pairs, others, others)
def test_the_distance_to_the_exact_quality_is_bounded(ious, unmatched, missed):
    if not ious and unmatched == missed == 0:
        return
    for form, above, below in (("authors", 0.42, 0.17), ("expected", 0.25, 0.25)):
        soft, exact = class_quality(form, ious, unmatched, missed)
        assert -below - 1e-9 <= soft - exact <= above + 1e-9


def test_the_bounds_of_the_distance_are_nearly_reached():
    soft, exact = class_quality("authors", [0.5])  # just no match
    assert soft - exact == pytest.approx(0.35 / 0.85)
    soft, exact = class_quality("authors", [0.505] * 12)
    assert exact - soft > 0.15
    soft, exact = class_quality("expected", [0.5])
    assert soft - exact == pytest.approx(0.25)


def test_expected_form_is_exact_where_nothing_is_near_a_threshold():
    for ious, unmatched, missed in (([1.0, 1.0], 1, 2), ([1.0, 0.01], 2, 0), ([], 1, 1)):
        soft, exact = class_quality("expected", ious, unmatched, missed)
        assert soft == pytest.approx(exact, abs=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_gradient_equals_finite_differences(form):
    predictions, targets = random_batch(2, images=1)
    # Away from 0, where a mask's row may become a prediction within the step.
    masks = [(p.masks * 0.9 + 0.05).requires_grad_() for p in predictions]

    def value(*masks):
        rows = [SegmentMasks(m, p.classes) for m, p in zip(masks, predictions, strict=True)]
        return soft_panoptic_quality(rows, targets, **OPTIONS, form=form)

    assert torch.autograd.gradcheck(value, masks, fast_mode=True)  # in random directions


def test_a_perfect_prediction_of_large_segments_scores_one():
    segments = np.arange(4).reshape(2, 2).repeat(8, axis=0).repeat(8, axis=1)
    target = PanopticLabels(segments, np.array([0, 0, 2, 3]))
    prediction = hard_masks(target)
    assert soft_panoptic_quality([prediction], [target], **OPTIONS).item() == pytest.approx(1, abs=1e-6)
    loss = SoftPanopticQualityLoss(IS_THING, thing_area=40, stuff_area=90, pixel_area=4)
    assert loss([prediction], [target]).item() == pytest.approx(0, abs=1e-6)


def test_is_near_the_exact_quality_where_no_threshold_is_near():
    segments = np.repeat(np.arange(5), 20)[None].repeat(10, axis=0)
    target = PanopticLabels(segments, np.array([0, 0, 1, 2, 3]))
    shifted = np.roll(segments, 2, axis=1)
    shifted[:, :2] = 0
    # The second instance of class 0 is taken for class 1: a false positive and a false negative.
    prediction = PanopticLabels(shifted, np.array([0, 1, 1, 2, 3]))
    exact = panoptic_quality([prediction], [target], IS_THING).pq
    soft = soft_panoptic_quality([hard_masks(prediction)], [target], **OPTIONS, form="expected").item()
    assert soft == pytest.approx(exact, abs=3e-3)


def test_void_and_crowd_pixels_play_no_role_and_get_no_gradient():
    segments = np.array([[0, 0, 1, 1], [-1, -1, 2, 2]])
    target = PanopticLabels(segments, np.array([0, 2, 0]), np.array([False, False, True]))
    torch.manual_seed(0)
    masks = torch.rand(3, 2, 4, dtype=torch.float64, requires_grad=True)
    classes = np.array([0, 2, 1])
    changed = masks.detach().clone()
    changed[:, 1] = torch.rand(3, 4, dtype=torch.float64)
    options = OPTIONS | {"thing_area": 4.0, "stuff_area": 4.0}
    value = soft_panoptic_quality([SegmentMasks(masks, classes)], [target], **options)
    value.backward()
    other = soft_panoptic_quality([SegmentMasks(changed, classes)], [target], **options)
    assert value.item() == other.item()
    assert (masks.grad[:, 1] == 0).all()
    assert (masks.grad[:2, 0] != 0).all()


def test_the_gradient_prefers_the_pixels_of_the_matched_segment():
    segments = np.array([[0] * 6 + [1] * 6])
    target = PanopticLabels(segments, np.array([0, 2]))
    masks = torch.full((2, 1, 12), 0.3)
    masks[0, 0, :6] = masks[1, 0, 6:] = 0.7
    masks.requires_grad_()
    loss = SoftPanopticQualityLoss(IS_THING, thing_area=0, stuff_area=0)
    loss([SegmentMasks(masks, np.array([0, 2]))], [target]).backward()
    assert (masks.grad[0, 0, :6] < 0).all()
    assert (masks.grad[0, 0, 6:] > 0).all()
    assert (masks.grad[1, 0, 6:] < 0).all()
    assert (masks.grad[1, 0, :6] > 0).all()


def test_an_unmatched_prediction_is_pushed_below_the_threshold_of_its_size():
    target = PanopticLabels(np.zeros((4, 4), dtype=int), np.array([2]))
    masks = torch.stack([torch.ones(4, 4), torch.full((4, 4), 0.5)]).requires_grad_()
    options = OPTIONS | {"thing_area": 32.0, "stuff_area": 0.0, "form": "expected"}
    alone = soft_panoptic_quality([SegmentMasks(masks[:1], [2])], [target], **options)
    both = soft_panoptic_quality([SegmentMasks(masks, torch.tensor([2, 0]))], [target], **options)
    # σ = 1/2 at the threshold: the class occurs by half, and takes 0 into the mean with that weight.
    assert both.item() == pytest.approx(alone.item() / 1.5)
    both.backward()
    assert (masks.grad[1] < 0).all()


def test_empty_rows_are_no_predictions():
    predictions, targets = random_batch(3)
    options = OPTIONS | {"thing_area": 0.0, "stuff_area": 0.0}
    value = soft_panoptic_quality(predictions, targets, **options)
    padded = [
        SegmentMasks(torch.cat([p.masks, torch.zeros(4, 9, 9)]), np.append(p.classes, [0, 1, 2, 3]))
        for p in predictions
    ]
    assert soft_panoptic_quality(padded, targets, **options).item() == value.item()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "masks",
    [
        torch.zeros(3, 4, 4),
        torch.ones(3, 4, 4),
        torch.zeros(0, 4, 4),
        torch.full((3, 4, 4), 1e-12),
        torch.eye(16).reshape(16, 4, 4)[:3],
    ],
    ids=["empty masks", "full masks", "no rows", "vanishing masks", "single pixels"],
)
@pytest.mark.parametrize(
    "target",
    [
        PanopticLabels(np.full((4, 4), VOID), []),
        PanopticLabels(np.zeros((4, 4), dtype=int), [0]),
        PanopticLabels(np.zeros((4, 4), dtype=int), [2]),
        PanopticLabels(np.zeros((4, 4), dtype=int), [0], [True]),
        PanopticLabels(np.arange(16).reshape(4, 4), np.arange(16) % 4),
    ],
    ids=["void", "one thing", "one stuff", "crowd", "a segment a pixel"],
)
def test_value_and_gradient_stay_finite_in_every_corner(masks, target, dtype, form):
    masks = masks.to(dtype, copy=True).requires_grad_()
    classes = np.array([0, 2, 2])[: len(masks)]
    value = soft_panoptic_quality([SegmentMasks(masks, classes)], [target], is_thing=IS_THING, form=form)
    value.backward()
    assert 0 <= value.item() <= 1 + 1e-6
    assert torch.isfinite(masks.grad).all()


def test_nothing_to_find_and_nothing_found_scores_one():
    masks = torch.ones(1, 4, 4, requires_grad=True)
    void = PanopticLabels(np.full((4, 4), VOID), [])
    value = soft_panoptic_quality([SegmentMasks(masks, [0])], [void], **OPTIONS)
    value.backward()
    assert value.item() == 1
    assert (masks.grad == 0).all()


def test_a_match_far_below_the_size_threshold_still_counts_by_its_iou():
    # σ = exp(−199) underflows in float32; in Eq. 6 it cancels, as the pair is all there is of its class.
    target = PanopticLabels(np.zeros((8, 8), dtype=int), np.array([2]))
    masks = torch.zeros(1, 8, 8)
    masks[0, 0] = 1
    masks.requires_grad_()
    value = soft_panoptic_quality(
        [SegmentMasks(masks, [2])], [target], is_thing=IS_THING, stuff_area=2120.0, form="printed"
    )
    assert value.item() == pytest.approx(1 / 8)
    value.backward()
    assert masks.grad.flatten().tolist() == pytest.approx([1 / 64] * 64)


def test_the_sums_run_over_the_batch_and_not_over_an_image():
    # Class 0: IoU 1 in the first image, missed in the second: 1.1 / 1.6, not the mean of 1 and 0.1 / 0.6.
    target = PanopticLabels(np.zeros((8, 8), dtype=int), np.array([0]))
    found, missed = torch.ones(1, 8, 8), torch.zeros(1, 8, 8)
    batch = [SegmentMasks(found, [0]), SegmentMasks(missed, [0])]
    assert soft_panoptic_quality(batch, [target, target], **OPTIONS).item() == pytest.approx(1.1 / 1.6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_masks_and_autocast_count_areas_exactly(dtype):
    # 4 099 pixels are no number of either type.
    segments = np.zeros((1, 5000), dtype=int)
    segments[0, 4099:] = 1
    target = PanopticLabels(segments, np.array([0, 2]))
    prediction = hard_masks(PanopticLabels(np.roll(segments, 100), np.array([0, 2])))
    expected = soft_panoptic_quality([prediction], [target], **OPTIONS).item()
    masks = prediction.masks.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = soft_panoptic_quality([SegmentMasks(masks, prediction.classes)], [target], **OPTIONS)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, abs=1e-7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value.backward()
    assert masks.grad.dtype == dtype
    exact = prediction.masks.requires_grad_()
    soft_panoptic_quality([SegmentMasks(exact, prediction.classes)], [target], **OPTIONS).backward()
    assert (masks.grad == exact.grad.to(dtype)).all()


def test_a_default_device_changes_nothing():
    predictions, targets = random_batch(1)
    expected = soft_panoptic_quality(predictions, targets, **OPTIONS)
    masks = [p.masks.requires_grad_() for p in predictions]
    torch.set_default_device("meta")
    try:
        value = soft_panoptic_quality(predictions, targets, **OPTIONS)
        value.backward()
    finally:
        torch.set_default_device(None)
    assert value.device.type == "cpu"
    assert value == expected
    assert all(part.grad.any() for part in masks)


def test_misuse_is_refused_with_a_reason():
    target = PanopticLabels(np.zeros((2, 3), dtype=int), np.array([1]))
    masks = torch.ones(1, 2, 3)

    def refused(prediction, message, targets=(target,), is_thing=IS_THING):
        with pytest.raises(ValueError, match=message):
            soft_panoptic_quality([prediction], targets, is_thing=is_thing)

    refused(
        SegmentMasks(masks[:, :1], [0]),
        r"predictions\[0\].masks must be .* shape \(2, 3\), got shape \(1, 1, 3\)",
    )
    refused(SegmentMasks(masks.int(), [0]), "masks must be floating .* torch.int32")
    refused(SegmentMasks(masks, [0, 1]), r"predictions\[0\].classes must have shape \(1,\), got \(2,\)")
    refused(SegmentMasks(masks, [4]), r"classes must lie in \[0, 4\), got \[4, 4\]")
    refused(SegmentMasks(masks * torch.nan, [0]), r"predictions\[0\].masks must hold no NaN")
    refused(SegmentMasks(masks, [0]), "got 1 and 2", targets=(target, target))
    refused(SegmentMasks(masks, [0]), r"is_thing must be a \(K,\) bool array", is_thing=[1, 0])
    refused(SegmentMasks(masks, [0]), r"the target's classes must lie in \[0, 1\)", is_thing=[True])
