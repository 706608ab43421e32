"""Measures, files that others' evaluators read, batches, and pictures of what a labeling comes from."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from difflayers.graph import grid_edges
from difflayers.panoptic import PanopticLabels, PanopticQuality, from_coco
from examples.cops.data import Category, DrawnScenes, Sample, open_dataset
from examples.cops.evaluate import Evaluation, count_classes, evaluate, mean_iou
from examples.cops.inference import Prediction, Predictor, mean_probabilities
from examples.cops.measure.instances import average_precision, predicted_instances, true_instances
from examples.cops.measure.submission import official_quality, write_instances
from examples.cops.predict import cut_maps, halfway, image_files, image_ids, predict_files
from examples.cops.run import runs
from tests.examples.cops.answers import CONFIG, Answers, blurred, perfect, write_scenes

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "data")


# ---- measures


def test_a_perfect_prediction_has_all_measures_at_one(folder: Path) -> None:
    pytest.importorskip("pycocotools", reason="AP needs the package pycocotools")
    data = open_dataset(folder, "val")
    found = evaluate(Answers(data, perfect), data)  # type: ignore[arg-type]
    assert (found.quality.pq, found.quality.sq, found.quality.rq, found.mean_iou) == (1, 1, 1, 1)
    assert found.instances == {"AP": pytest.approx(1), "AP50": pytest.approx(1)}


def test_pq_from_the_files_is_that_of_cityscapesscripts_and_our_own(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("cityscapesscripts", reason="needs the package cityscapesscripts")
    data = open_dataset(folder, "val")
    found = evaluate(Answers(data, blurred), data, out=tmp_path / "out")  # type: ignore[arg-type]
    official = official_quality(data.json_path, data.labels_folder, tmp_path / "out")  # type: ignore[union-attr]
    assert official is not None
    assert 0.05 < found.quality.pq < 0.95
    ours = (found.quality.pq, found.quality.pq_things, found.quality.pq_stuff)
    assert tuple(official.values()) == pytest.approx(ours, abs=1e-12)


def test_the_files_hold_the_predictions_in_coco_panoptic_format(folder: Path, tmp_path: Path) -> None:
    data = open_dataset(folder, "val")
    answers = Answers(data, blurred)
    found = evaluate(answers, data, out=tmp_path / "out")  # type: ignore[arg-type]
    content = json.loads((tmp_path / "out" / "panoptic.json").read_text())
    assert [entry["image_id"] for entry in content["annotations"]] == [0, 1, 2, 3]
    again = PanopticQuality(len(data.is_thing), data.is_thing)
    ids = [category.id for category in data.categories]
    for index, entry in enumerate(content["annotations"]):
        png = np.asarray(Image.open(tmp_path / "out" / "panoptic" / entry["file_name"]))
        assert all(info.keys() >= {"id", "category_id", "area", "bbox"} for info in entry["segments_info"])
        # from_coco refuses what the official evaluator refuses: ids that only one of the two files names.
        again.update(from_coco(png, entry["segments_info"], ids), data[index].labels)
    assert again.compute().pq == found.quality.pq


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the official sample of COCO in {SHARED}")
def test_official_coco_ground_truth_as_its_own_prediction_is_accepted(tmp_path: Path) -> None:
    import shutil

    pytest.importorskip("cityscapesscripts", reason="needs the package cityscapesscripts")
    source = SHARED / "coco_sample"
    shutil.copytree(source / "input_images", tmp_path / "val")
    shutil.copytree(source / "panoptic_examples", tmp_path / "panoptic_val")
    content = json.loads((source / "panoptic_examples.json").read_text())
    content["categories"] = json.loads((source / "panoptic_coco_categories.json").read_text())
    (tmp_path / "panoptic_val.json").write_text(json.dumps(content))
    data = open_dataset(tmp_path, "val")
    found = evaluate(Answers(data, blurred), data, out=tmp_path / "out")  # type: ignore[arg-type]
    official = official_quality(data.json_path, data.labels_folder, tmp_path / "out")  # type: ignore[union-attr]
    assert official is not None
    assert official["PQ"] == pytest.approx(found.quality.pq, abs=1e-12)


def test_mean_iou_is_that_of_a_case_by_hand() -> None:
    target = PanopticLabels(np.array([[0, 0, 1, 1], [0, 0, -1, 1]]), np.array([0, 2]))
    semantic = np.array([[0, 0, 2, 0], [0, 1, 1, 2]])
    confusion = count_classes(semantic, target, 4)
    assert confusion.tolist() == [[3, 1, 0, 0], [0, 0, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
    # IoU of class 0: 3 of 5, of class 1: 0 of 1, of class 2: 2 of 3; class 3 occurs nowhere.
    assert mean_iou(confusion) == pytest.approx((3 / 5 + 0 + 2 / 3) / 3)
    assert np.isnan(mean_iou(np.zeros((4, 4), int)))


class Listed(NamedTuple):
    """A data set of given samples."""

    samples: list[Sample]
    categories: tuple[Category, ...]

    @property
    def is_thing(self) -> np.ndarray:
        return np.array([category.is_thing for category in self.categories])

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self.samples[index]


def test_an_image_without_a_segment_is_counted_as_the_evaluators_do(folder: Path) -> None:
    data = open_dataset(folder, "val")
    sample = data[0]
    empty = Sample(sample.image[::-1], PanopticLabels(np.full((32, 48), -1), np.zeros(0, int)), "empty")
    both = Listed([sample, empty], data.categories)

    def something(labels: PanopticLabels, generator: np.random.Generator) -> PanopticLabels:
        return labels if len(labels.classes) else PanopticLabels(np.zeros((32, 48), int), np.array([6]))

    # All of what is predicted on void is ignored: neither a hit nor a false positive.
    found = evaluate(Answers(both, something), both)  # type: ignore[arg-type]
    assert found.quality.pq == 1
    nothing = Listed([empty], data.categories)
    quality: Evaluation = evaluate(Answers(nothing, something), nothing)  # type: ignore[arg-type]
    assert np.isnan(quality.quality.pq)
    assert np.isnan(quality.mean_iou)
    assert quality.instances == {}
    assert "nan" in quality.table(data.categories)


def test_the_official_evaluator_has_no_answer_where_no_thing_occurs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cityscapesscripts", reason="needs the package cityscapesscripts")
    path = folder / "panoptic_val.json"
    content = json.loads(path.read_text())
    for category in content["categories"]:
        category["isthing"] = 0
    path.write_text(json.dumps(content))
    data = open_dataset(folder, "val")
    evaluate(Answers(data, perfect), data, out=tmp_path)
    assert official_quality(path, folder / "panoptic_val", tmp_path) is None
    assert "no thing or no stuff occurs" in capsys.readouterr().out


def test_crowds_alone_leave_nothing_that_ap_could_measure() -> None:
    pytest.importorskip("pycocotools", reason="needs the package pycocotools")
    segments, is_thing = np.repeat([[0], [1]], 8, axis=1), np.array([True, False])
    crowd = PanopticLabels(segments, np.array([0, 1]), np.array([True, False]))
    found = predicted_instances(0, PanopticLabels(segments, np.array([0, 1])), np.ones(2), is_thing)
    assert average_precision(found, true_instances(0, crowd, is_thing)) == {}


class NoNumbers:
    """A labeler whose network gives no numbers."""

    config = CONFIG

    def predict(self, images: list[np.ndarray]) -> list[Prediction]:
        raise ValueError("instance 0: node_costs contain NaN")


def test_the_image_that_could_not_be_labeled_is_named(folder: Path) -> None:
    data = open_dataset(folder, "val")
    with pytest.raises(ValueError, match=rf"{data[0].name}.*instance 0: node_costs contain NaN"):
        evaluate(NoNumbers(), data)


def test_a_quality_that_is_not_defined_is_null_in_the_figures(tmp_path: Path) -> None:
    runs.write_figures(tmp_path, {"results": {"stage 1": {"PQ": float("nan"), "PQ_th": 0.5}}, "log": [1.0]})
    content = json.loads((tmp_path / "figures.json").read_text(), parse_constant=pytest.fail)
    assert content == {"results": {"stage 1": {"PQ": None, "PQ_th": 0.5}}, "log": [1.0]}


def test_a_batch_of_no_image_is_refused(folder: Path) -> None:
    data = open_dataset(folder, "val")
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        evaluate(Answers(data, perfect), data, batch=0)


def test_instance_files_have_the_ap_of_one_in_cityscapes_own_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official = pytest.importorskip(
        "cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling",
        reason="needs the package cityscapesscripts",
    )
    road, car, person = (Category(7, "road", False, (0,) * 3), Category(26, "car", True, (0,) * 3),
                         Category(24, "person", True, (0,) * 3))  # fmt: skip
    ids = np.full((60, 80), 7, dtype=np.int32)
    ids[10:40, 5:30], ids[10:40, 30:60], ids[5:50, 65:75] = 26000, 26001, 24000
    numbers, segments = np.unique(ids, return_inverse=True)
    kinds = np.array([{7: 0, 24: 2, 26: 1}[n if n < 1000 else n // 1000] for n in numbers])
    labels = PanopticLabels(segments.reshape(ids.shape), kinds)
    stem = "frankfurt_000000_000294"
    truth = tmp_path / "gtFine" / f"{stem}_gtFine_instanceIds.png"
    truth.parent.mkdir()
    Image.fromarray(ids.astype(np.uint16)).save(truth)
    write_instances(tmp_path / "out", labels, np.linspace(0.5, 1, 4), stem, (road, car, person))
    settings = official.args
    for name, value in {
        "predictionPath": str(tmp_path / "out" / "instances"),
        "predictionWalk": None,
        "gtInstancesFile": str(tmp_path / "gt.json"),
        "JSONOutput": False,
        "quiet": True,
        "distanceAvailable": False,
    }.items():
        monkeypatch.setattr(settings, name, value, raising=False)
    # Version 2.3.0 calls what NumPy 2.4 took away, and cannot write its own matches to a file with it.
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    monkeypatch.setattr(official, "writeDict2JSON", lambda *_: None)
    results = official.evaluateImgLists(
        [official.getPrediction(str(truth), settings)], [str(truth)], settings
    )
    assert results["averages"]["classes"]["car"]["ap"] == 1
    assert results["averages"]["classes"]["person"]["ap"] == 1


# ---- inference


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    scenes = DrawnScenes("val", 0, 1)
    return Predictor(runs.build_network(CONFIG, len(scenes.categories)), scenes.is_thing, CONFIG)


def test_a_batch_gives_each_image_what_it_gets_alone(predictor: Predictor) -> None:
    scenes = DrawnScenes("val", 0, 3, size=(52, 70))
    other = DrawnScenes("val", 1, 1, size=(40, 44))[0].image
    images = [scenes[0].image, scenes[1].image, other, scenes[2].image]
    for together, image in zip(predictor.predict(images), images, strict=True):
        (alone,) = predictor.predict([image])
        assert (together.labels.segments == alone.labels.segments).mean() > 0.999  # sums in another order
        assert together.labels.shape == image.shape[:2]


def test_scores_are_the_mean_probability_of_a_segments_class(predictor: Predictor) -> None:
    (found,) = predictor.predict([DrawnScenes("val", 0, 1, size=(52, 70))[0].image])
    solved = found.solved
    probability = torch.softmax(-torch.from_numpy(solved.node_costs), 1).numpy()
    means = mean_probabilities(solved)
    for segment in range(len(means)):
        inside = solved.solution.segments == segment
        kind = solved.solution.labels[inside][0]
        assert means[segment] == pytest.approx(probability[inside, kind].mean(), rel=1e-5)
    assert len(found.scores) == len(found.labels.classes)
    assert set(found.scores.tolist()) <= set(means.tolist())


def test_timing_tells_network_solver_and_rest_apart(predictor: Predictor) -> None:
    before = replace(predictor.timing)
    predictor.predict([np.zeros((64, 64, 3), np.uint8)] * 2)
    assert predictor.timing.images == before.images + 2
    for part in ("network", "solver", "rest"):
        assert getattr(predictor.timing, part) > getattr(before, part)


FIRST_IMAGE = """
import numpy as np
from examples.cops.run import runs
from examples.cops.data import DrawnScenes
from examples.cops.inference import Predictor
from tests.examples.cops.answers import CONFIG
from tests.test_warming import compiled

scene = DrawnScenes("val", 0, 1, size=(52, 70))
predictor = Predictor(runs.build_network(CONFIG, len(scene.categories)), scene.is_thing, CONFIG)
before = compiled()
predictor(scene[0].image)
print([kernel for kernel, signatures in compiled().items() if signatures - before.get(kernel, set())])
"""


def test_the_first_image_compiles_nothing_so_its_time_counts_like_any_other() -> None:
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", FIRST_IMAGE], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr


# ---- predict


def test_cuts_are_laid_out_as_the_edges_are_listed(predictor: Predictor) -> None:
    (found,) = predictor.predict([DrawnScenes("val", 0, 1, size=(52, 70))[0].image])
    solved = found.solved
    segments = solved.solution.segments.reshape(solved.shape)
    stuff = ~predictor.is_thing[solved.solution.labels].reshape(solved.shape)
    for d, (vertical, horizontal) in zip(CONFIG.network.distances, cut_maps(solved), strict=True):
        assert np.array_equal(vertical, segments[d:] != segments[:-d])
        assert np.array_equal(horizontal, segments[:, d:] != segments[:, :-d])
    assert sum(side.size for pair in cut_maps(solved) for side in pair) == len(
        grid_edges(solved.shape, CONFIG.network.distances)
    )
    assert stuff.shape == solved.shape


def test_pairs_are_drawn_half_way_between_their_ends() -> None:
    vertical, horizontal = np.zeros((6, 9)), np.zeros((10, 5))
    vertical[2, 3] = 1  # pixels (2, 3) and (6, 3)
    horizontal[8, 1] = 1  # pixels (8, 1) and (8, 5)
    drawn = halfway((vertical, horizontal), (10, 9), 4)
    # Only horizontal pairs meet in row 8, only half of those at (4, 3) are boundaries.
    assert np.isnan(drawn[:2, :2]).all()
    assert {tuple(map(int, place)): drawn[tuple(place)] for place in np.argwhere(drawn > 0)} == {
        (4, 3): 0.5,
        (8, 3): 1.0,
    }


def test_predict_writes_files_that_read_back_and_pictures(predictor: Predictor, tmp_path: Path) -> None:
    scenes = DrawnScenes("val", 0, 2, size=(52, 70))
    (tmp_path / "in").mkdir()
    for index in range(2):
        Image.fromarray(scenes[index].image).save(tmp_path / "in" / f"{index}.png")
    out = tmp_path / "out"
    predict_files(predictor, [tmp_path / "in"], scenes.categories, out, explain=True)
    content = json.loads((out / "panoptic.json").read_text())
    ids = [category.id for category in scenes.categories]
    for index, entry in enumerate(content["annotations"]):
        png = np.asarray(Image.open(out / "panoptic" / entry["file_name"]))
        labels = from_coco(png, entry["segments_info"], ids)
        assert np.array_equal(labels.segments, predictor(scenes[index].image).segments)
        assert Image.open(out / "overlay" / f"{index}.png").size == (8 * 70, 8 * 52)  # for the names
        assert Image.open(out / "explain" / f"{index}.png").size[0] > 300


def test_predict_names_what_it_cannot_read(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"hello")
    categories = DrawnScenes.categories
    with pytest.raises(ValueError, match=r"broken\.jpg: cannot be read as an image"):
        predict_files(predictor, [tmp_path / "broken.jpg"], categories, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"nothing\.jpg: no such file"):
        predict_files(predictor, [tmp_path / "nothing.jpg"], categories, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: holds no image \(\.bmp, \.jpeg, \.jpg, \.png, "):
        predict_files(predictor, [tmp_path / "empty"], categories, tmp_path / "out")


def test_a_folder_is_labeled_in_any_usual_format_and_photographs_upright(
    predictor: Predictor, tmp_path: Path
) -> None:
    orientation = Image.Exif()
    orientation[274] = 6
    for name in ("a.JPG", "b.webp", "c.tif", "d.bmp"):
        Image.new("RGB", (40, 32)).save(tmp_path / name, **({"exif": orientation} if name == "a.JPG" else {}))
    (tmp_path / "notes.txt").write_text("none of them")
    predict_files(predictor, [tmp_path], DrawnScenes.categories, tmp_path / "out")
    sizes = {path.stem: Image.open(path).size for path in (tmp_path / "out" / "panoptic").iterdir()}
    assert sizes == {"a": (32, 40), "b": (40, 32), "c": (40, 32), "d": (40, 32)}


def test_images_whose_results_would_have_one_name_are_refused_before_any_is_written(
    predictor: Predictor, tmp_path: Path
) -> None:
    for name in ("a/street.png", "a/other.png", "b/street.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 32)).save(tmp_path / name)
    with pytest.raises(
        ValueError, match=r"a/street\.png and .*b/street\.jpg would both be written to street\.png"
    ):
        predict_files(predictor, [tmp_path / "a", tmp_path / "b"], DrawnScenes.categories, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    named_twice = [tmp_path / "a/street.png", tmp_path / "a"]
    assert image_files(named_twice) == [tmp_path / "a/street.png", tmp_path / "a/other.png"]


def test_images_of_one_padded_size_are_one_batch_and_keep_their_order(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [(52, 70), (64, 96), (32, 32), (60, 90)]  # all but the third are padded to 64 x 96
    images = [DrawnScenes("val", 0, 1, size=size)[0].image for size in sizes]
    alone = [predictor(image) for image in images]
    batches: list[int] = []
    costs = predictor._costs

    def counted(batch: torch.Tensor, own: list[tuple[int, int]]) -> list:  # type: ignore[type-arg]
        batches.append(len(batch))
        return costs(batch, own)

    monkeypatch.setattr(predictor, "_costs", counted)
    together = [prediction.labels for prediction in predictor.predict(images)]
    assert sorted(batches) == [1, 3]
    for found, expected, size in zip(together, alone, sizes, strict=True):
        assert found.shape == size
        assert np.array_equal(found.segments, expected.segments)
        assert np.array_equal(found.classes, expected.classes)


# ---- submissions to the servers of COCO and Cityscapes


def test_ids_are_those_of_the_evaluators_and_never_the_same() -> None:
    names = ["000000000139", "berlin/berlin_000000_000019_leftImg8bit", "street", "a/other"]
    assert list(image_ids(names).values()) == [139, "berlin_000000_000019", "street", "a/other"]
    assert image_ids(["a/0001", "b/0001"]) == {"a/0001": "a/0001", "b/0001": "b/0001"}


def test_subfolders_are_searched_and_results_keep_their_place(predictor: Predictor, tmp_path: Path) -> None:
    names = ("bonn/bonn_000000_000001_leftImg8bit.png", "ulm/ulm_000000_000002_leftImg8bit.png")
    for name in names:
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (40, 32)).save(tmp_path / name)
    for _ in range(2):  # what the first run wrote below the folder is no image of the second
        predict_files(predictor, [tmp_path], DrawnScenes.categories, tmp_path / "out", pictures=False)
    content = json.loads((tmp_path / "out/panoptic.json").read_text())["annotations"]
    assert [entry["image_id"] for entry in content] == ["bonn_000000_000001", "ulm_000000_000002"]
    assert [entry["file_name"] for entry in content] == list(names)
    assert all((tmp_path / "out/panoptic" / name).is_file() for name in names)
    assert not (tmp_path / "out/overlay").exists()


def test_a_list_of_images_without_annotations_chooses_and_names_them(
    predictor: Predictor, tmp_path: Path
) -> None:
    (tmp_path / "test2017").mkdir()
    for number in (1, 7, 16):
        Image.new("RGB", (40, 32)).save(tmp_path / f"test2017/{number:012}.jpg")
    listed = tmp_path / "image_info_test-dev2017.json"
    images = [{"id": number, "file_name": f"{number:012}.jpg"} for number in (16, 1)]
    listed.write_text(json.dumps({"images": images, "categories": []}))
    arguments = {"pictures": False, "listed": listed, "batch": 2}
    folders, categories, out = [tmp_path / "test2017"], DrawnScenes.categories, tmp_path / "out"
    predict_files(predictor, folders, categories, out, **arguments)  # type: ignore[arg-type]
    content = json.loads((out / "panoptic.json").read_text())["annotations"]
    assert [(entry["image_id"], entry["file_name"]) for entry in content] == [
        (1, "000000000001.png"),
        (16, "000000000016.png"),
    ]
    (tmp_path / "test2017/000000000016.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of its images are not there, such as 000000000016\.jpg"):
        predict_files(predictor, folders, categories, out, **arguments)  # type: ignore[arg-type]
    listed.write_text("[]")
    with pytest.raises(ValueError, match=r"image_info_test-dev2017\.json: lists no images"):
        predict_files(predictor, folders, categories, out, **arguments)  # type: ignore[arg-type]
