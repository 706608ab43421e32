"""The command that scores files in COCO-panoptic format, against an evaluation of their pixels one by one."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from difflayers.panoptic import PanopticLabels, encode_ids, score, to_coco

CATEGORIES = [
    {"id": 7, "name": "person", "isthing": 1},
    {"id": 21, "name": "car", "isthing": 1},
    {"id": 3, "name": "sky", "isthing": 0},
    {"id": 100, "name": "road", "isthing": 0},
    {"id": 5, "name": "never", "isthing": 0},
]
IDS = [int(str(category["id"])) for category in CATEGORIES]
Run = Callable[..., str]


def write(json_path: Path, labelings: list[PanopticLabels], **more: Any) -> Path:
    """Write labelings beside the JSON, into the folder of the same name."""
    folder = json_path.with_suffix("")
    folder.mkdir(parents=True)
    annotations = []
    for image, labels in enumerate(labelings):
        rgb, segments = to_coco(labels, IDS)
        Image.fromarray(rgb).save(folder / f"{image}.png")
        annotations.append({"image_id": image, "file_name": f"{image}.png", "segments_info": segments})
    json_path.write_text(json.dumps({"annotations": annotations, **more}))
    return json_path


def random_labeling(rng: np.random.Generator, crowd: bool = False) -> PanopticLabels:
    blocks = rng.integers(-1, 6, (4, 5)).repeat(4, axis=0).repeat(4, axis=1)
    noisy = np.where(rng.random(blocks.shape) < 0.1, rng.integers(-1, 6, blocks.shape), blocks)
    known, segments = np.unique(noisy, return_inverse=True)
    segments = segments.reshape(noisy.shape) - (known[0] == -1)
    classes = np.arange(len(known) - (known[0] == -1)) % 4
    return PanopticLabels(segments, classes, (classes == 0) & crowd & (np.arange(len(classes)) == 0))


def disturbed(labels: PanopticLabels, rng: np.random.Generator) -> PanopticLabels:
    segments = np.where(rng.random(labels.shape) < 0.15, np.roll(labels.segments, 5, 1), labels.segments)
    return PanopticLabels(segments, np.where(rng.random(len(labels.classes)) < 0.2, 3, labels.classes))


@pytest.fixture
def labelings() -> tuple[list[PanopticLabels], list[PanopticLabels]]:
    rng = np.random.default_rng(0)
    truth = [random_labeling(rng, crowd=image % 2 == 0) for image in range(6)]
    return truth, [disturbed(labels, rng) for labels in truth]


@pytest.fixture
def files(tmp_path: Path, labelings: Any) -> tuple[Path, Path]:
    truth = write(tmp_path / "data" / "panoptic_val.json", labelings[0], categories=CATEGORIES)
    return truth, write(tmp_path / "out" / "panoptic.json", labelings[1])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["score", *map(str, arguments)])
        score.main()
        return capsys.readouterr().out

    return run


def counted(truth_path: Path, found_path: Path) -> dict[int, list[float]]:
    """TP, FP, FN and summed IoU of each category id, from sets of pixels, by COCO's rules."""
    counts: dict[int, list[float]] = {category: [0, 0, 0, 0.0] for category in IDS}
    documents = [json.loads(path.read_text())["annotations"] for path in (truth_path, found_path)]
    for wanted, found in zip(*documents, strict=True):
        segments = []
        for path, entry in ((truth_path, wanted), (found_path, found)):
            rgb = np.asarray(Image.open(path.with_suffix("") / entry["file_name"])).astype(int)
            ids = (rgb @ [1, 256, 65536]).ravel()
            pixels = [set(np.flatnonzero(ids == info["id"]).tolist()) for info in entry["segments_info"]]
            segments.append([*zip(pixels, entry["segments_info"], strict=True)])
        void = set(range(ids.size)).difference(*(pixels for pixels, _ in segments[0]))
        hit: set[int] = set()
        for pixels, info in segments[0]:
            if info["iscrowd"]:
                continue
            for other, guess in segments[1]:
                iou = len(pixels & other) / len(pixels | (other - void))
                if guess["category_id"] == info["category_id"] and iou > 0.5:
                    counts[info["category_id"]][0] += 1
                    counts[info["category_id"]][3] += iou
                    hit.add(guess["id"])
                    break
            else:
                counts[info["category_id"]][2] += 1
        for other, guess in segments[1]:
            crowds = [p for p, i in segments[0] if i["iscrowd"] and i["category_id"] == guess["category_id"]]
            excused = len(other & void.union(*crowds)) > 0.5 * len(other)
            counts[guess["category_id"]][1] += guess["id"] not in hit and not excused
    return counts


def test_the_quality_of_files_is_that_of_their_pixels(files: tuple[Path, Path], run: Run) -> None:
    found = json.loads(run(*files, "--json"), parse_constant=pytest.fail)
    expected = counted(*files)
    shares = {}
    for row in found["classes"]:
        tp, fp, fn, iou = expected[row["id"]]
        assert (row["tp"], row["fp"], row["fn"]) == (tp, fp, fn)
        if tp + fp + fn == 0:
            assert row["pq"] is row["sq"] is row["rq"] is None
            continue
        shares[row["id"]] = iou / (tp + fp / 2 + fn / 2)
        assert row["pq"] == pytest.approx(shares[row["id"]])
        assert row["sq"] == pytest.approx(iou / max(tp, 1))
    assert sorted(shares) == [3, 7, 21, 100]  # class 5 occurs nowhere, and is in no mean
    assert found["images"] == 6
    assert found["all"]["pq"] == pytest.approx(np.mean([*shares.values()]))
    assert found["things"]["pq"] == pytest.approx((shares[7] + shares[21]) / 2)
    assert found["stuff"]["pq"] == pytest.approx((shares[3] + shares[100]) / 2)
    assert found["all"]["fn"] == sum(counts[2] for counts in expected.values()) > 0
    assert 0.1 < found["all"]["pq"] < 0.9


def test_the_quality_of_files_is_that_of_cityscapesscripts(files: tuple[Path, Path], run: Run) -> None:
    official = pytest.importorskip(
        "cityscapesscripts.evaluation.evalPanopticSemanticLabeling", reason="needs cityscapesscripts"
    )
    ours = json.loads(run(*files, "--json"))
    folders = [path.with_suffix("") for path in files]
    named = (files[0], folders[0], files[1], folders[1], files[1].with_name("official.json"))
    expected = official.evaluatePanoptic(*map(str, named))
    for group, name in (("all", "All"), ("things", "Things"), ("stuff", "Stuff")):
        for share in ("pq", "sq", "rq"):
            assert ours[group][share] == pytest.approx(expected[name][share])


def test_the_table_has_every_class_in_per_cent(tmp_path: Path, run: Run) -> None:
    # 3 of the 4 pixels of a person are found; two cars are taken for one; sky is missed, road invented.
    truth = PanopticLabels([[0] * 4 + [1, 1, 2, 2] + [3] * 4], [0, 1, 1, 2])
    found = PanopticLabels([[0] * 3 + [-1] + [1] * 4 + [2] * 4], [0, 1, 3])
    truth_path = write(tmp_path / "truth.json", [truth], categories=CATEGORIES)
    lines = run(truth_path, write(tmp_path / "found.json", [found])).splitlines()
    assert lines[0] == "1 images"
    assert {line[:24].strip(): line[24:].split() for line in lines[1:]} == {
        "": ["PQ", "SQ", "RQ", "TP", "FP", "FN"],
        "all": ["18.8", "18.8", "25.0", "1", "2", "3"],
        "things": ["37.5", "37.5", "50.0", "1", "1", "2"],
        "stuff": ["0.0", "0.0", "0.0", "0", "1", "1"],
        "person": ["75.0", "75.0", "100.0", "1", "0", "0"],
        "car": ["0.0", "0.0", "0.0", "0", "1", "2"],
        "sky": ["0.0", "0.0", "0.0", "0", "0", "1"],
        "road": ["0.0", "0.0", "0.0", "0", "1", "0"],
        "never": ["nan", "nan", "nan", "0", "0", "0"],
    }


def test_files_may_be_named_in_each_of_the_usual_ways(files: tuple[Path, Path], run: Run) -> None:
    truth, found = files
    expected = run(truth, found)
    assert run(truth, truth.with_suffix(""), found, found.with_suffix("")) == expected
    assert run(truth.with_suffix(""), found.with_suffix("")) == expected  # JSON beside its folder
    assert run(truth.parent, found.parent) == expected  # JSON and folder inside
    found.rename(found.with_suffix("") / "found.json")
    assert run(truth, found.with_suffix("")) == expected  # JSON among the PNG files


def test_predictions_of_other_images_do_not_count(
    files: tuple[Path, Path], labelings: tuple[list[PanopticLabels], list[PanopticLabels]], run: Run
) -> None:
    change(files[0], lambda entries: entries.__delitem__(slice(2, None)))
    counts = json.loads(run(*files, "--json"))
    assert counts["images"] == 2
    true_segments = sum((~labels.is_crowd).sum() for labels in labelings[0][:2])
    assert counts["all"]["tp"] + counts["all"]["fn"] == true_segments


def change(path: Path, edit: Callable[[list[dict[str, Any]]], None]) -> None:
    document = json.loads(path.read_text())
    edit(document["annotations"])
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda entries: entries.pop(),
            "panoptic.json: must have an annotation for each of 6 images, but has",
        ),
        (lambda entries: entries.clear(), "panoptic.json: holds no annotation"),
        (lambda entries: entries[1].update(image_id=0), "must annotate an image once, got 2 for image 0"),
        (lambda entries: entries[1].update(file_name="none.png"), "none.png: no such file"),
        (lambda entries: entries[1].update(file_name="../a.png"), "must be a relative path that stays below"),
        (lambda entries: entries[1].pop("segments_info"), "an entry lacks 'segments_info'"),
        (lambda entries: entries[1]["segments_info"].pop(), "which segments_info does not name"),
        (lambda entries: entries[1]["segments_info"][0].update(id=99), "segments_info does not name"),
        (
            lambda entries: entries[1]["segments_info"][0].update(category_id=8),
            "has the category 8, which is",
        ),
    ],
)
def test_what_is_wrong_with_the_predictions_is_named(
    files: tuple[Path, Path], run: Run, edit: Any, message: str
) -> None:
    change(files[1], edit)
    with pytest.raises(SystemExit) as caught:
        run(*files)
    assert message in str(caught.value)
    assert "out" in str(caught.value)


def test_pictures_of_two_sizes_are_refused_by_name(files: tuple[Path, Path], run: Run) -> None:
    small = encode_ids(np.ones((4, 5), int))
    Image.fromarray(small).save(files[1].with_suffix("") / "3.png")
    change(files[1], lambda entries: entries[3].update(segments_info=[{"id": 1, "category_id": 7}]))
    with pytest.raises(SystemExit, match=r"out/panoptic/3\.png: must have 20 x 16 pixels, .* got 5 x 4"):
        run(*files)


def test_paths_that_lead_nowhere_are_named(files: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    truth, found = files
    with pytest.raises(SystemExit, match=r"two paths are needed, or four with the folders, got 3"):
        run(truth, found, found)
    with pytest.raises(SystemExit, match=r"none\.json: no such file"):
        run(truth, tmp_path / "none.json")
    with pytest.raises(SystemExit, match=r"data/none: no such folder; the PNG files of .*panoptic_val\.json"):
        run(truth, truth.parent / "none", found, found.with_suffix(""))
    with pytest.raises(SystemExit, match=r"must have the file \S+\.json beside it, or hold a JSON file with"):
        run(truth, tmp_path)
    write(truth.parent / "panoptic_train.json", [], categories=CATEGORIES)
    with pytest.raises(
        SystemExit, match=r"data: holds panoptic_train\.json, panoptic_val\.json; name the file"
    ):
        run(truth.parent, found)
    truth.write_text('{"annotations": []}')
    with pytest.raises(SystemExit, match=r"panoptic_val\.json: not a COCO-panoptic .* lacks 'categories'"):
        run(truth, found)
