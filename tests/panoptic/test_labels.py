import json
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from difflayers.panoptic import (
    VOID,
    PanopticLabels,
    compact,
    decode_ids,
    encode_ids,
    from_coco,
    from_maps,
    from_solution,
    reject_small,
    resize,
    to_coco,
)

COCO_SAMPLE = Path(__file__).parents[2].parent / "shared" / "data" / "coco_sample"

UNTIMED = settings(deadline=None)  # the machine may be busy


@st.composite
def labelings(draw):
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=9))
    count = draw(st.integers(0, 6))
    segments = draw(arrays(np.int32, shape, elements=st.integers(VOID, count - 1)))
    classes = draw(arrays(np.int64, count, elements=st.integers(0, 3)))
    is_crowd = draw(arrays(bool, count))
    return compact(segments, classes, is_crowd)


def same(a, b):
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in ("segments", "classes", "is_crowd"))


SMALL = PanopticLabels(np.array([[0, 0, 1], [-1, 2, 1]]), np.array([3, 0, 3]), np.array([False, False, True]))


def test_areas_and_semantic_of_a_hand_made_labeling():
    assert SMALL.shape == (2, 3)
    assert SMALL.areas().tolist() == [2, 2, 1]
    assert SMALL.semantic().tolist() == [[3, 3, 0], [VOID, 3, 0]]


def test_small_unsigned_types_do_not_wrap():
    segments = np.arange(256, dtype=np.uint8).reshape(16, 16)
    labels = PanopticLabels(segments, np.zeros(256, dtype=np.uint8))
    assert labels.areas().tolist() == [1] * 256
    assert compact(segments[8:], labels.classes).areas().tolist() == [1] * 128


def test_an_all_void_image_is_a_labeling():
    empty = PanopticLabels(np.full((2, 2), VOID), [])
    assert len(empty.classes) == 0
    assert empty.semantic().tolist() == [[VOID, VOID], [VOID, VOID]]
    rgb, segments_info = to_coco(empty, [])
    assert not rgb.any()
    assert segments_info == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.array(0), [0]), r"segments must be integers of the shape of the image, got shape \(\)"),
        ((np.zeros((1, 2)), [0]), r"segments must be .* dtype float64"),
        ((np.zeros((1, 2), int), [0.5]), r"classes must be .* dtype float64"),
        ((np.array([[0, 2]]), [0, 0]), r"segments must lie in \[-1, 1\] for 2 classes, got \[0, 2\]"),
        ((np.array([[0, -2]]), [0]), r"segments must lie in \[-1, 0\]"),
        ((np.array([[0, 0]]), [-1]), r"classes must lie in \[0, 2\*\*31\), got -1"),
        (
            (np.array([[0, 0]]), np.array([2**64 - 1], np.uint64)),
            "classes must lie in .* got 18446744073709551615",
        ),
        ((np.array([[0, 2**64 - 1]], np.uint64), [0]), r"got \[0, 18446744073709551615\]"),
        ((np.array([[0, 0]]), [0, 1]), r"every segment must have a pixel, but segment 1 has none"),
        ((np.array([[0, 0]]), [0], [True, False]), r"is_crowd must be bool of the shape of classes, \(1,\)"),
        ((np.array([[0, 0]]), [0], [1]), r"is_crowd must be bool .* dtype int64"),
    ],
)
def test_bad_labelings_are_refused_with_a_reason(arguments, message):
    with pytest.raises(ValueError, match=message):
        PanopticLabels(*(np.asarray(a) for a in arguments))


@UNTIMED
@given(ids=arrays(np.int64, array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 2**24 - 1)))
def test_decoding_undoes_encoding(ids):
    assert np.array_equal(decode_ids(encode_ids(ids)), ids)


@UNTIMED
@given(rgb=arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3))))
def test_encoding_undoes_decoding(rgb):
    assert np.array_equal(encode_ids(decode_ids(rgb)), rgb)


def test_red_is_the_least_significant_byte():
    assert decode_ids(np.array([[[1, 2, 3]]], dtype=np.uint8)).tolist() == [[1 + 2 * 256 + 3 * 65536]]


@pytest.mark.parametrize("bad", [np.array([[1 << 24]]), np.array([[-1]]), np.array([1]), np.array([[1.0]])])
def test_ids_that_three_bytes_cannot_hold_are_refused(bad):
    with pytest.raises(ValueError, match="ids must"):
        encode_ids(bad)


@UNTIMED
@given(labels=labelings())
def test_reading_undoes_writing_coco(labels):
    category_ids = [7, 1, 200, 13]
    assert same(from_coco(*to_coco(labels, category_ids), category_ids), labels)


def test_segments_info_of_a_hand_made_labeling():
    _, segments_info = to_coco(SMALL, [10, 20, 30, 40])
    assert segments_info == [
        {"id": 1, "category_id": 40, "area": 2, "bbox": [0, 0, 2, 1], "iscrowd": 0},
        {"id": 2, "category_id": 10, "area": 2, "bbox": [2, 0, 1, 2], "iscrowd": 0},
        {"id": 3, "category_id": 40, "area": 1, "bbox": [1, 1, 1, 1], "iscrowd": 1},
    ]
    assert json.loads(json.dumps(segments_info)) == segments_info


@pytest.mark.parametrize(
    ("infos", "message"),
    [
        ([(5, 1)], "rgb holds segment id 9, which segments_info does not name"),
        ([(5, 1), (9, 1), (6, 1)], "segments_info names segment 6, which has no pixel"),
        ([(5, 1), (9, 3)], "segment 9 the category 3, which category_ids does not list"),
        ([(5, 1), (5, 1), (9, 1)], "segments_info names segment 5 twice"),
        ([(5, 1), (9, 1), (0, 1)], "id 0, which is void"),
    ],
)
def test_an_inconsistent_annotation_is_refused(infos, message):
    rgb = encode_ids(np.array([[0, 5, 9]]))
    with pytest.raises(ValueError, match=message):
        from_coco(rgb, [{"id": i, "category_id": c} for i, c in infos], [1, 2])


@pytest.mark.parametrize("key", ["id", "category_id", "iscrowd"])
@pytest.mark.parametrize("value", ["0", "1", 1.0, 0.5, None, [1], 2**64 - 1, -1, np.nan])
def test_numbers_of_an_annotation_are_whole_numbers_or_refused_by_name(key, value):
    info = {"id": 5, "category_id": 1, "iscrowd": 0, key: value}
    with pytest.raises(
        ValueError, match=f"segments_info.0..'{key}'.|category 18446744073709551615|category -1"
    ):
        from_coco(encode_ids(np.array([[0, 5]])), [info], [1, 2])


@pytest.mark.parametrize("missing", ["id", "category_id"])
def test_an_entry_without_id_or_category_is_refused_by_name(missing):
    info = {"id": 5, "category_id": 1}
    del info[missing]
    with pytest.raises(ValueError, match=f"segments_info.0..'{missing}'. must be an integer, got None"):
        from_coco(encode_ids(np.array([[0, 5]])), [info], [1, 2])
    with pytest.raises(ValueError, match=r"segments_info\[0\] must be a dict, got 5"):
        from_coco(encode_ids(np.array([[0, 5]])), [5], [1, 2])


@pytest.mark.parametrize(("value", "expected"), [(0, False), (1, True), (False, False), (np.int64(1), True)])
def test_a_crowd_is_a_flag(value, expected):
    info = {"id": 5, "category_id": 1, "iscrowd": value}
    assert from_coco(encode_ids(np.array([[5]])), [info], [1]).is_crowd.tolist() == [expected]


@pytest.mark.parametrize(
    "category_ids", [[1.5, 2.0], ["1", "2"], [1, 1], [[1, 2]], [True, False], [2**70, 1]]
)
def test_categories_that_are_no_distinct_integers_are_refused_both_ways(category_ids):
    labels = PanopticLabels(np.array([[0, 1]]), [0, 1])
    rgb, info = to_coco(labels, [1, 2])
    for call in (lambda: from_coco(rgb, info, category_ids), lambda: to_coco(labels, category_ids)):
        with pytest.raises(ValueError, match="category_ids must be"):
            call()


@pytest.mark.parametrize("index", [0, 1])
def test_official_coco_ground_truth_survives_reading_and_writing_byte_for_byte(index):
    if not COCO_SAMPLE.exists():
        pytest.skip(f"the COCO sample is not at {COCO_SAMPLE}")
    image = pytest.importorskip("PIL.Image", reason="reading PNG files needs the extra `cops`")
    categories = json.loads((COCO_SAMPLE / "panoptic_coco_categories.json").read_text())
    category_ids = [category["id"] for category in categories]
    annotation = json.loads((COCO_SAMPLE / "panoptic_examples.json").read_text())["annotations"][index]
    infos = annotation["segments_info"]
    rgb = np.asarray(image.open(COCO_SAMPLE / "panoptic_examples" / annotation["file_name"]))

    labels = from_coco(rgb, infos, category_ids)
    written, written_infos = to_coco(labels, category_ids)

    original_id = np.array([0, *(info["id"] for info in infos)])
    assert np.array_equal(encode_ids(original_id[decode_ids(written)]), rgb)
    # Areas, boxes, categories and crowd flags are recomputed; the official file states them as well.
    assert [{**info, "id": 0} for info in written_infos] == [{**info, "id": 0} for info in infos]


def test_from_solution_lays_nodes_out_row_by_row():
    labels = from_solution(np.array([2, 2, 0, 1, 2, 0]), np.array([0, 0, 1, 2, 3, 1]), (2, 3))
    assert labels.segments.tolist() == [[0, 0, 1], [2, 3, 1]]
    assert labels.classes.tolist() == [2, 0, 1, 2]


def test_from_solution_refuses_a_segment_of_two_classes():
    with pytest.raises(ValueError, match="segment 1 holds nodes of more than one class"):
        from_solution(np.array([0, 1, 2, 1]), np.array([0, 1, 1, 1]), (2, 2))
    with pytest.raises(ValueError, match=r"labels must be integers of shape \(6,\), got shape \(4,\)"):
        from_solution(np.zeros(4, int), np.zeros(4, int), (2, 3))


@pytest.mark.parametrize(
    ("labels", "segments", "message"),
    [
        ([0, 0], [0, -1], r"segments must lie in \[0, 2\*\*31\), got \[-1, 0\]"),
        ([0, 0], np.array([0, 2**64 - 1], np.uint64), "got .*18446744073709551615"),
        (np.array([0, 2**64 - 1], np.uint64), [0, 1], "labels must lie in .*18446744073709551615"),
        ([0, 0], [0, 10**9], "segments must be contiguous from 0, got 1000000000 for 2 nodes"),
        ([0.0, 0.0], [0, 0], "labels must be integers .* dtype float64"),
    ],
)
def test_from_solution_refuses_numbers_that_are_no_labels_or_segments(labels, segments, message):
    with pytest.raises(ValueError, match=message):
        from_solution(labels, segments, (1, 2))


@pytest.mark.parametrize("shape", [(7,), (2, 7), (3, 2, 2)])
def test_maps_of_classes_and_instances_become_segments_of_both(shape):
    rng = np.random.default_rng(len(shape))
    classes, instances = rng.integers(-1, 3, shape), rng.integers(0, 3, shape) * 1000
    labels = from_maps(classes, instances, [True, False, True])
    assert np.array_equal(labels.semantic(), classes)
    flat, kinds, numbers = labels.segments.ravel(), classes.ravel(), instances.ravel()
    for i in range(flat.size):
        for j in range(flat.size):
            together = kinds[i] == kinds[j] and (kinds[i] == 1 or numbers[i] == numbers[j])
            assert (flat[i] == flat[j]) == (together or kinds[i] == kinds[j] == VOID)
    # The same labeling from a solution, and back from a finer grid.
    known = from_maps(np.abs(classes), instances, [True, False, True])
    again = from_solution(known.semantic().ravel(), known.segments.ravel(), shape)
    assert same(again, known)
    assert same(resize(resize(known, tuple(2 * side for side in shape)), shape), known)


def test_maps_that_do_not_fit_and_volumes_as_images_are_refused():
    with pytest.raises(ValueError, match=r"instances must be integers of shape \(2,\), got shape \(3,\)"):
        from_maps([0, 1], [0, 0, 0], [True, True])
    with pytest.raises(ValueError, match=r"classes must lie in \[-1, 0\] for 1 classes, got \[0, 1\]"):
        from_maps([0, 1], [0, 0], [True])
    with pytest.raises(ValueError, match=r"is_thing must be a \(K,\) bool array"):
        from_maps([0], [0], [1])
    volume = from_maps(np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int), [True])
    with pytest.raises(ValueError, match=r"labels must be of an image \(h, w\), got shape \(2, 2, 2\)"):
        to_coco(volume, [1])
    with pytest.raises(ValueError, match=r"cannot resize \(2, 2, 2\) to \(2, 2\)"):
        resize(volume, (2, 2))


def test_reject_small_uses_the_threshold_of_the_kind():
    segments = np.array([[0, 0, 0, 1, 2, 2], [3, 3, 3, 3, -1, -1]])
    labels = PanopticLabels(segments, np.array([0, 0, 1, 1]))
    kept = reject_small(labels, np.array([True, False]), thing_area=2, stuff_area=3)
    assert kept.segments.tolist() == [[0, 0, 0, -1, -1, -1], [1, 1, 1, 1, -1, -1]]
    assert kept.classes.tolist() == [0, 1]


@UNTIMED
@given(labels=labelings(), area=st.integers(0, 20))
def test_reject_small_changes_no_pixel_of_what_it_keeps(labels, area):
    kept = reject_small(labels, np.ones(4, dtype=bool), thing_area=area, stuff_area=0)
    assert (kept.areas() >= area).all()
    large = np.append(labels.areas() >= area, False)[labels.segments]
    assert np.array_equal(kept.semantic(), np.where(large, labels.semantic(), VOID))


@settings(max_examples=50, deadline=None)
@given(labels=labelings(), shape=st.tuples(st.integers(1, 12), st.integers(1, 12)))
def test_resize_reads_the_pixel_under_each_centre(labels, shape):
    resized = resize(labels, shape)
    classes = labels.semantic()
    for i in range(shape[0]):
        for j in range(shape[1]):
            row = int((i + 0.5) * labels.shape[0] / shape[0])
            column = int((j + 0.5) * labels.shape[1] / shape[1])
            assert resized.semantic()[i, j] == classes[row, column]


@UNTIMED
@given(labels=labelings(), factor=st.integers(1, 4))
def test_resizing_up_and_back_changes_nothing(labels, factor):
    large = resize(labels, (labels.shape[0] * factor, labels.shape[1] * factor))
    assert np.array_equal(large.areas(), labels.areas() * factor**2)
    assert same(resize(large, labels.shape), labels)


def test_a_segment_that_no_sample_hits_is_dropped():
    labels = PanopticLabels(np.array([[0, 1, 2]]), np.array([4, 5, 6]), np.array([False, False, True]))
    small = resize(labels, (1, 1))
    assert small.segments.tolist() == [[0]]
    assert small.classes.tolist() == [5]
    cropped = compact(labels.segments[:, 1:], labels.classes, labels.is_crowd)
    assert cropped.segments.tolist() == [[0, 1]]
    assert cropped.classes.tolist() == [5, 6]
    assert cropped.is_crowd.tolist() == [False, True]
