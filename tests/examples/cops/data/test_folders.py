"""COCO-panoptic folders as samples, and what is done to a sample before the network sees it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from difflayers.panoptic import VOID, PanopticLabels, compact, encode_ids, resize
from difflayers.panoptic.images import read_image
from examples.cops.config import DRAWN
from examples.cops.data import CocoPanoptic, open_dataset
from examples.cops.data.batches import Crops, load_batches
from examples.cops.data.samples import (
    Sample,
    ShortSides,
    augment,
    draw_factor,
    shrink,
    shrink_image,
    to_tensor,
)
from examples.cops.data.scenes import DrawnScenes
from examples.cops.inference import network_input

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the real data sets in {SHARED}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image of 6 x 4 pixels: road (id 7) on the left, two cars (ids 300, 70000), a void column."""
    ids = np.array([[7, 7, 300, 300, 70000, 0]] * 4)
    content = {
        "images": [{"id": "a", "file_name": "a.png", "height": 4, "width": 6}],
        "annotations": [
            {
                "image_id": "a",
                "file_name": "a.png",
                "segments_info": [
                    {"id": 7, "category_id": 21, "area": 8, "bbox": [0, 0, 2, 4], "iscrowd": 0},
                    {"id": 300, "category_id": 3, "area": 8, "bbox": [2, 0, 2, 4], "iscrowd": 0},
                    {"id": 70000, "category_id": 3, "area": 4, "bbox": [4, 0, 1, 4], "iscrowd": 1},
                ],
            }
        ],
        "categories": [
            {"id": 3, "name": "car", "isthing": 1, "color": [0, 0, 142]},
            {"id": 21, "name": "road", "isthing": 0},
        ],
    }
    for name in ("train", "panoptic_train"):
        (tmp_path / name).mkdir()
    image = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    Image.fromarray(image).save(tmp_path / "train" / "a.png")
    Image.fromarray(encode_ids(ids)).save(tmp_path / "panoptic_train" / "a.png")
    (tmp_path / "panoptic_train.json").write_text(json.dumps(content))
    return tmp_path


def edit(folder: Path, change: str, value: object) -> None:
    """Replace one top-level entry of the JSON file."""
    path = folder / "panoptic_train.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, change: value}))


def test_a_folder_is_read_as_image_classes_and_segments(folder: Path) -> None:
    data = CocoPanoptic(folder, "train")
    sample = data[0]
    assert [category[:3] for category in data.categories] == [(3, "car", True), (21, "road", False)]
    assert data.categories[0].color == (0, 0, 142)
    assert data.is_thing.tolist() == [True, False]
    assert (sample.image == np.arange(72).reshape(4, 6, 3)).all()
    assert sample.labels.semantic()[0].tolist() == [1, 1, 0, 0, 0, VOID]
    assert sample.labels.segments[0, 2] != sample.labels.segments[0, 4]
    assert sample.labels.is_crowd[sample.labels.segments[0, 4]]
    assert (len(data), sample.name) == (1, "a")


@pytest.mark.parametrize("part", ["train", "panoptic_train"])
def test_more_bits_than_rgb_holds_are_refused_and_not_clipped(folder: Path, part: str) -> None:
    Image.fromarray(np.full((4, 6), 1000, np.uint16)).save(folder / part / "a.png")
    with pytest.raises(ValueError, match=rf"{part}/a\.png: .*its mode is I;16, expected 8 bits per channel"):
        CocoPanoptic(folder, "train")[0]


def test_a_photograph_is_turned_where_its_camera_said_so_and_only_if_asked(tmp_path: Path) -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[0] = 255  # the first row as stored is the right column of what was seen
    orientation = Image.Exif()
    orientation[274] = 6
    Image.fromarray(image).save(tmp_path / "a.png", exif=orientation)
    assert (read_image(tmp_path / "a.png") == image).all()
    assert (read_image(tmp_path / "a.png", upright=True) == np.rot90(image, -1)).all()


def test_a_missing_json_is_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"panoptic_val\.json: no such file.*side by side"):
        CocoPanoptic(folder, "val")


@pytest.mark.parametrize("missing", ["train", "panoptic_train"])
def test_a_missing_folder_is_named(folder: Path, missing: str) -> None:
    shutil.rmtree(folder / missing)
    with pytest.raises(FileNotFoundError, match=f"{missing}: no such folder"):
        CocoPanoptic(folder, "train")


@pytest.mark.parametrize("missing", ["train/a.png", "panoptic_train/a.png"])
def test_a_missing_image_or_png_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"{missing}: no such file"):
        CocoPanoptic(folder, "train")[0]


@pytest.mark.parametrize("damage", ["cut short", "not an image"])
def test_a_corrupt_image_is_named(folder: Path, damage: str) -> None:
    path = folder / "train" / "a.png"
    path.write_bytes(path.read_bytes()[:45] if damage == "cut short" else b"hello")
    with pytest.raises(ValueError, match=r"train/a\.png: cannot be read as an image"):
        CocoPanoptic(folder, "train")[0]


def test_a_corrupt_image_is_named_by_another_process_that_reads_it(folder: Path) -> None:
    (folder / "train" / "a.png").write_bytes(b"hello")
    crops = Crops(CocoPanoptic(folder, "train"), DRAWN.change(run={"workers": 1}), stage=2, size=1)
    with pytest.raises(ValueError, match=r"train/a\.png: cannot be read as an image"):
        list(load_batches(crops, [(0, 0)], torch.device("cpu")))


def test_a_png_of_another_size_than_its_image_is_named(folder: Path) -> None:
    Image.new("RGB", (5, 4)).save(folder / "train" / "a.png")
    with pytest.raises(
        ValueError, match=r"panoptic_train/a\.png: is 6 x 4 pixels, but .*train/a\.png is 5 x 4"
    ):
        CocoPanoptic(folder, "train")[0]


def test_a_png_that_contradicts_the_json_is_named(folder: Path) -> None:
    Image.fromarray(encode_ids(np.full((4, 6), 9))).save(folder / "panoptic_train" / "a.png")
    with pytest.raises(ValueError, match=r"panoptic_train/a\.png with .*segment id 9"):
        CocoPanoptic(folder, "train")[0]


def test_an_image_without_a_segment_is_all_void(folder: Path) -> None:
    Image.new("RGB", (6, 4)).save(folder / "panoptic_train" / "a.png")
    edit(folder, "annotations", [{"image_id": "a", "file_name": "a.png", "segments_info": []}])
    labels = CocoPanoptic(folder, "train")[0].labels
    assert (labels.segments == VOID).all()
    assert len(labels.classes) == 0
    assert (
        augment(CocoPanoptic(folder, "train")[0], (8, 8), np.random.default_rng(0)).labels.areas() == []
    ).all()


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("categories", [{"id": 3, "name": "car", "isthing": 1}], "category 21, which is not listed"),
        ("categories", [{"id": 3, "name": "x", "isthing": 1}] * 2, "two categories have the same id"),
        ("categories", [{"name": "car"}], r"not a COCO-panoptic file \(an entry lacks 'isthing'\)"),
        ("categories", [{"id": 3, "name": "x", "isthing": "0"}], "isthing must be .* from 0 to 1, got '0'"),
        ("categories", [{"id": 3, "name": "x", "isthing": 2}], "isthing must be .* from 0 to 1, got 2"),
        ("categories", [{"id": "3", "name": "x", "isthing": 1}], "id must be a whole number, got '3'"),
        ("categories", [{"id": 3.5, "name": "x", "isthing": 1}], "id must be a whole number, got 3.5"),
        (
            "categories",
            [{"id": 3, "name": "x", "isthing": 1, "color": [0, 256, 0]}],
            "color must be .* from 0 to 255, got 256",
        ),
        ("images", [], "image 'a' is annotated but not listed"),
        ("annotations", [], "holds no annotation"),
    ],
)
def test_a_json_with_a_mistake_says_which(folder: Path, entry: str, value: object, message: str) -> None:
    edit(folder, entry, value)
    with pytest.raises(ValueError, match=rf"panoptic_train\.json: .*{message}"):
        CocoPanoptic(folder, "train")


@pytest.mark.parametrize(("text", "message"), [("{", "not a JSON file"), ("[]", "expected an object")])
def test_a_file_that_is_no_json_object_says_so(folder: Path, text: str, message: str) -> None:
    (folder / "panoptic_train.json").write_text(text)
    with pytest.raises(ValueError, match=rf"panoptic_train\.json: {message}"):
        CocoPanoptic(folder, "train")


def test_no_folder_means_drawn_scenes() -> None:
    assert isinstance(open_dataset(None, "val", seed=4), DrawnScenes)


@needs_data
@pytest.mark.parametrize(
    ("name", "split", "length", "stuff", "things"),
    [
        ("camvid", "train", 367, 8, 3),
        ("camvid", "val", 101, 8, 3),
        ("pennfudan", "val", 36, 1, 1),
        ("dsb2018", "val", 132, 1, 1),
    ],
)
def test_real_sets_hold_the_areas_that_their_json_states(
    name: str, split: str, length: int, stuff: int, things: int
) -> None:
    data = open_dataset(SHARED / name, split)
    assert len(data) == length
    assert (data.is_thing.sum(), (~data.is_thing).sum()) == (things, stuff)
    for index in (0, length // 2, length - 1):
        stated = [info["area"] for info in data.annotations[index]["segments_info"]]
        assert data[index].labels.areas().tolist() == stated


@needs_data
def test_official_coco_ground_truth_is_read_with_its_crowd(tmp_path: Path) -> None:
    source = SHARED / "coco_sample"
    shutil.copytree(source / "input_images", tmp_path / "val")
    shutil.copytree(source / "panoptic_examples", tmp_path / "panoptic_val")
    content = json.loads((source / "panoptic_examples.json").read_text())
    content["categories"] = json.loads((source / "panoptic_coco_categories.json").read_text())
    (tmp_path / "panoptic_val.json").write_text(json.dumps(content))
    data = CocoPanoptic(tmp_path, "val")
    assert (len(data), len(data.categories), int(data.is_thing.sum())) == (2, 133, 80)
    for sample, annotation in zip((data[0], data[1]), content["annotations"], strict=True):
        infos = annotation["segments_info"]
        assert sample.labels.areas().tolist() == [info["area"] for info in infos]
        assert sample.labels.is_crowd.tolist() == [bool(info["iscrowd"]) for info in infos]
        assert [data.category_ids[kind] for kind in sample.labels.classes] == [
            i["category_id"] for i in infos
        ]


# ---- augmentation


def striped(height: int = 60, width: int = 90) -> Sample:
    """A sample whose image shows its labels: segment s has the colour (40 s + 20, 0, 255)."""
    segments = np.zeros((height, width), dtype=np.int32)
    segments[10:50, 20:40] = 1
    segments[10:50, 40:70] = 2
    segments[25:35, 30:60] = 3
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0], image[..., 2] = 40 * segments + 20, 255
    return Sample(image, PanopticLabels(segments, np.array([0, 1, 1, 2])), "striped")


def shown_segments(sample: Sample) -> np.ndarray:
    """The original segment that the image shows at each pixel, by its colour."""
    return np.rint((sample.image[..., 0].astype(float) - 20) / 40).astype(int)


@pytest.mark.parametrize("size", [(32, 48), (60, 90), (96, 128)])
def test_augment_keeps_image_and_labels_aligned(size: tuple[int, int]) -> None:
    original = striped()
    kinds = np.append(original.labels.classes, VOID)
    for seed in range(20):
        sample = augment(original, size, np.random.default_rng(seed))
        assert sample.image.shape == (*size, 3)
        known = sample.labels.segments != VOID
        shown = kinds[shown_segments(sample)]
        agrees = shown[known] == sample.labels.semantic()[known]
        # A resized image is blurred across boundaries: only there may the two disagree.
        assert agrees.mean() > 0.93
        inner = known & ~near_boundary(sample.labels.segments)
        assert (shown[inner] == sample.labels.semantic()[inner]).all()


@pytest.mark.parametrize("size", [(32, 48), (60, 90), (96, 128), (30, 200)])
def test_augment_is_scaling_all_then_cutting_out_then_mirroring(size: tuple[int, int]) -> None:
    original = striped()
    for seed in range(20):
        generator = np.random.default_rng(seed)
        factor = generator.uniform(0.5, 2.0)
        height, width = round(factor * 60), round(factor * 90)
        image = np.asarray(Image.fromarray(original.image).resize((width, height), Image.Resampling.BILINEAR))
        segments = resize(original.labels, (height, width)).segments
        corner = [
            int(generator.integers(max(0, have - want) + 1))
            for have, want in zip((height, width), size, strict=True)
        ]
        rows, columns = (first + np.arange(side) for first, side in zip(corner, size, strict=True))
        outside = ((rows < 0) | (rows >= height))[:, None] | (columns < 0) | (columns >= width)
        if generator.random() < 0.5:  # the image is mirrored, not the padding
            columns = np.where(
                columns < width, corner[1] + min(corner[1] + size[1], width) - 1 - columns, columns
            )
        where = np.clip(rows, 0, height - 1)[:, None], np.clip(columns, 0, width - 1)
        expected = np.where(outside[..., None], np.uint8([124, 116, 104]), image[where])
        truth = compact(np.where(outside, VOID, segments[where]), original.labels.classes)
        found = augment(original, size, np.random.default_rng(seed), (0.5, 2.0))
        assert (found.image == expected).all()
        assert (found.labels.segments == truth.segments).all()
        assert (found.labels.classes == truth.classes).all()


def near_boundary(segments: np.ndarray) -> np.ndarray:
    near = np.zeros(segments.shape, dtype=bool)
    for axis in (0, 1):
        for shift in (-2, -1, 1, 2):
            near |= np.roll(segments, shift, axis) != segments
    return near


def test_augment_is_a_function_of_the_generator() -> None:
    first, second = (augment(striped(), (40, 40), np.random.default_rng(5)) for _ in range(2))
    assert (first.image == second.image).all()
    assert (first.labels.segments == second.labels.segments).all()


def test_augment_mirrors_about_half_of_the_time_and_does_nothing_else_at_scale_one() -> None:
    original = striped()
    mirrored = 0
    for seed in range(60):
        sample = augment(original, (60, 90), np.random.default_rng(seed), scale=(1.0, 1.0))
        is_mirrored = not (sample.image == original.image).all()
        image = sample.image[:, ::-1] if is_mirrored else sample.image
        segments = sample.labels.segments[:, ::-1] if is_mirrored else sample.labels.segments
        assert (image == original.image).all()
        assert (segments == original.labels.segments).all()
        mirrored += is_mirrored
    assert 18 <= mirrored <= 42


def test_augment_pads_a_small_image_at_the_right_and_bottom_as_inference_does() -> None:
    image = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    sample = Sample(image, PanopticLabels(np.arange(120).reshape(10, 12), np.zeros(120, int)), "small")
    (expected,), _ = network_input([image], DRAWN.change(inference={"multiple": 32}))
    mirrored = 0
    for seed in range(10):
        padded = augment(sample, (32, 32), np.random.default_rng(seed), scale=(1.0, 1.0))
        void = padded.labels.segments == VOID
        assert void.sum() == 32 * 32 - 120
        assert not void[:10, :12].any()
        seen = to_tensor(padded.image)
        flip = not (padded.image[:10, :12] == image).all()
        mirrored += flip
        if flip:
            seen[:, :10, :12] = seen[:, :10, :12].flip(2)
        assert (seen[:, :10, :12] == expected[:, :10, :12]).all()
        # A pixel has whole numbers, so the mean is met to half of one.
        torch.testing.assert_close(seen, expected, atol=0.5 / 255 / 0.224, rtol=0)
    assert 0 < mirrored < 10


def test_the_shorter_side_is_one_of_those_given_unless_the_longer_one_became_too_long() -> None:
    scale = ShortSides(tuple(range(320, 961, 64)), 960)
    factors = {round(draw_factor((480, 640), scale, np.random.default_rng(seed)), 6) for seed in range(200)}
    # The authors' list for COCO; an image of 640 pixels cannot grow by more than 960 / 640.
    assert factors == {round(min(64 * tenth / 480, 1.5), 6) for tenth in range(5, 16)}
    mean = np.mean([draw_factor((480, 640), scale, np.random.default_rng(seed)) for seed in range(2000)])
    assert mean == pytest.approx(1.22, abs=0.02)


def test_augment_drops_segments_that_the_crop_leaves_out_and_keeps_the_crowd_flag() -> None:
    labels = PanopticLabels(
        np.repeat([[0, 1, 2]], 9, axis=0).repeat(30, axis=1), [2, 0, 1], np.array([0, 0, 1], bool)
    )
    sample = Sample(np.zeros((9, 90, 3), np.uint8), labels, "three")
    seen = {
        tuple(augment(sample, (9, 10), np.random.default_rng(seed), (1.0, 1.0)).labels.classes.tolist())
        for seed in range(40)
    }
    assert {(2,), (0,), (1,)} <= seen <= {(2,), (0,), (1,), (2, 0), (0, 1)}
    for seed in range(40):
        cropped = augment(sample, (9, 10), np.random.default_rng(seed), (1.0, 1.0)).labels
        assert (cropped.is_crowd == (cropped.classes == 1)).all()


def test_shrink_reaches_the_longest_side_and_leaves_smaller_samples_alone() -> None:
    sample = striped(60, 90)
    small = shrink(sample, 45)
    assert small.image.shape == (30, 45, 3)
    assert (small.labels.segments == sample.labels.segments[1::2, 1::2]).all()
    assert (small.image == shrink_image(sample.image, 45)).all()
    for unchanged in (shrink(sample, 90), shrink(sample, None)):
        assert (unchanged.image == sample.image).all()
        assert (unchanged.labels.segments == sample.labels.segments).all()


def test_to_tensor_normalises_by_the_imagenet_mean_and_deviation() -> None:
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    image[1, 2] = (255, 128, 0)
    tensor = to_tensor(image[:, ::-1])  # a mirrored view has negative strides
    expected = [(1 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, -0.406 / 0.225]
    assert tensor.dtype == torch.float32
    assert tensor[:, 1, 0].tolist() == pytest.approx(expected, rel=1e-6)
    assert tensor[:, 0, 0].tolist() == pytest.approx(
        [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rel=1e-6
    )
