"""Names that come from files: whatever they say, nothing is read or written outside its root."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from difflayers.panoptic.paths import below, file_to_write, plain_name
from examples.cops.data import open_dataset
from examples.cops.data.cityscapes import TRAIN_LABEL_IDS
from examples.cops.evaluate import evaluate
from tests.examples.cops.answers import Answers, perfect, write_scenes

LEADING_OUT = [
    "../x.png",
    "../../ds/panoptic_val/a.png",
    "sub/../../x.png",
    "sub/../x.png",
    "/tmp/x.png",
    "//host/x.png",
    "..",
    ".",
    "",
    "a\0.png",
    "a\n.png",
    "..\\x.png",
    "\\x.png",
    "\ud800.png",
]


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Change the JSON of the held-out split."""
    path = folder / "panoptic_val.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def everything(root: Path) -> dict[str, bytes]:
    """The content of every file below a folder."""
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_scenes(tmp_path / "data")


@pytest.mark.parametrize("name", LEADING_OUT)
def test_a_name_that_leads_out_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="must be a relative path that stays below") as caught:
        below(tmp_path, name)
    assert repr(name) in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "name", ["a.png", "bonn/a.png", "a..b.png", "...png", "ü 1:2 日本.png", "a b/c d.png"]
)
def test_names_below_the_root_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    assert below(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", LEADING_OUT)
@pytest.mark.parametrize("entry", ["images", "annotations"])
def test_a_data_set_that_names_files_outside_is_refused_when_it_is_opened(
    folder: Path, entry: str, name: str
) -> None:
    path = changed(folder, lambda content: content[entry][1].update(file_name=name))
    with pytest.raises(ValueError, match="stays below") as caught:
        open_dataset(folder, "val")
    assert str(path) in str(caught.value)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    "name", [".._leftImg8bit.png", "_leftImg8bit.png", "..", "bonn/.._0_leftImg8bit.png"]
)
def test_a_city_taken_from_an_images_name_stays_below_its_folder_too(tmp_path: Path, name: str) -> None:
    for part in ("leftImg8bit/val", "gtFine/cityscapes_panoptic_val"):
        (tmp_path / part).mkdir(parents=True)
    content = {
        "images": [{"id": "a", "file_name": name}],
        "annotations": [{"image_id": "a", "file_name": "a.png", "segments_info": []}],
        "categories": [{"id": id, "name": str(id), "isthing": 0} for id in TRAIN_LABEL_IDS],
    }
    (tmp_path / "gtFine" / "cityscapes_panoptic_val.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"cityscapes_panoptic_val\.json: .*stays below"):
        open_dataset(tmp_path, "val")


def test_predictions_of_two_annotations_cannot_overwrite_each_other(folder: Path) -> None:
    name = json.loads((folder / "panoptic_val.json").read_text())["annotations"][0]["file_name"]
    changed(folder, lambda content: content["annotations"][1].update(file_name=f"./{name}"))
    with pytest.raises(ValueError, match="two annotations have the file_name"):
        open_dataset(folder, "val")


@pytest.mark.parametrize(
    "image_id", ["../../../x", "/x", "a/b", "..", ".", "", "a\\b", "a\nb.png 1 1.0", "\ud800"]
)
def test_an_images_id_cannot_lead_its_instance_files_elsewhere(
    folder: Path, tmp_path: Path, image_id: str
) -> None:
    def rename(content: dict[str, Any]) -> None:
        content["images"][2]["id"] = content["annotations"][2]["image_id"] = image_id

    changed(folder, rename)
    data = open_dataset(folder, "val")
    before = everything(tmp_path)
    with pytest.raises(ValueError, match=r"the id .* must be usable as a file's name") as caught:
        evaluate(Answers(data, perfect), data, out=tmp_path / "out", instance_files=True)  # type: ignore[arg-type]
    assert repr(image_id) in str(caught.value)
    assert everything(tmp_path) == before  # refused before the first image was written
    evaluate(Answers(data, perfect), data, out=tmp_path / "out")  # type: ignore[arg-type]


def test_ids_whose_instance_files_would_have_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    def rename(content: dict[str, Any]) -> None:
        for index, image_id in enumerate((1, "1")):
            content["images"][index]["id"] = content["annotations"][index]["image_id"] = image_id

    def without_third(content: dict[str, Any]) -> None:
        del content["annotations"][2:], content["images"][2:]

    changed(folder, without_third)
    changed(folder, rename)
    data = open_dataset(folder, "val")
    with pytest.raises(ValueError, match="2 images have the id '1'"):
        evaluate(Answers(data, perfect), data, out=tmp_path / "out", instance_files=True)  # type: ignore[arg-type]


def test_a_link_below_the_output_is_not_followed_out_of_it(folder: Path, tmp_path: Path) -> None:
    data = open_dataset(folder, "val")
    (tmp_path / "out" / "panoptic").mkdir(parents=True)
    name = data.file_ids(0)[1]
    (tmp_path / "out" / "panoptic" / name).symlink_to(folder / "panoptic_val" / name)
    before = everything(folder)
    with pytest.raises(ValueError, match="a symbolic link leads out of"):
        evaluate(Answers(data, perfect), data, out=tmp_path / "out")  # type: ignore[arg-type]
    assert everything(folder) == before


def test_an_output_folder_that_is_itself_a_link_is_used(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    assert file_to_write(tmp_path / "out", "sub/a.png").parent.is_dir()
    assert (tmp_path / "disk" / "sub").is_dir()


def test_predictions_are_png_whatever_their_names_end_in(folder: Path, tmp_path: Path) -> None:
    def rename(content: dict[str, Any]) -> None:
        for entry in content["annotations"]:
            path = folder / "panoptic_val" / entry["file_name"]
            entry["file_name"] = path.with_suffix(".jpg").name
            path.rename(path.with_suffix(".jpg"))

    changed(folder, rename)
    data = open_dataset(folder, "val")
    evaluate(Answers(data, perfect), data, out=tmp_path / "out")  # type: ignore[arg-type]
    written = sorted((tmp_path / "out" / "panoptic").iterdir())
    assert len(written) == len(data)
    assert {Image.open(path).format for path in written} == {"PNG"}


def test_plain_names_are_kept() -> None:
    assert [plain_name(value) for value in (139, "frankfurt_000001_007973", "..a")] == [
        "139",
        "frankfurt_000001_007973",
        "..a",
    ]
