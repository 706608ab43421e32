"""Cityscapes' and COCO's own trees, and how the layout of a folder is recognized."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from difflayers.panoptic import VOID, encode_ids
from examples.cops.data import CocoPanoptic, find_files, open_dataset
from examples.cops.data.cityscapes import TRAIN_LABEL_IDS, image_in_city

COCO_SAMPLE = Path(__file__).resolve().parents[5] / "shared" / "data" / "coco_sample"

STUFF = ["road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"]
STUFF += ["vegetation", "terrain", "sky"]
THINGS = ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]
NAMES = STUFF + THINGS

#: Cityscapes' instanceIds of one small image: road 7, a car 26001, a car 26000, a group of persons 24
#: (crowd), and the own bonnet 1, which is not evaluated.
INSTANCE_IDS = np.array([[7] * 8, [7] * 8, [7, 26001, 26001, 26000, 26000, 24, 24, 7], [1] * 8])
SEGMENTS = [(7, 7, 18, 0), (24, 24, 2, 1), (26000, 26, 2, 0), (26001, 26, 2, 0)]
BOXES = [[0, 0, 8, 3], [5, 2, 2, 1], [3, 2, 2, 1], [1, 2, 2, 1]]


def cityscapes_json(stem: str) -> dict[str, list[dict[str, object]]]:
    """What the preparation command writes of one image, but for colours and supercategories."""
    return {
        "images": [
            {"id": stem, "width": 8, "height": 4, "file_name": f"{stem}_gtFine_leftImg8bit.png"},
        ],
        "annotations": [
            {
                "image_id": stem,
                "file_name": f"{stem}_gtFine_panoptic.png",
                "segments_info": [
                    {"id": id, "category_id": category, "area": area, "bbox": box, "iscrowd": crowd}
                    for (id, category, area, crowd), box in zip(SEGMENTS, BOXES, strict=True)
                ],
            }
        ],
        "categories": [
            {"id": id, "name": name, "isthing": int(name in THINGS)}
            for id, name in zip(TRAIN_LABEL_IDS, NAMES, strict=True)
        ],
    }


def panoptic_png() -> np.ndarray:
    return encode_ids(np.where(INSTANCE_IDS == 1, 0, INSTANCE_IDS))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Cityscapes as it is handed out, and prepared: one image of aachen in train, one of frankfurt in val."""
    for split, stem in (("train", "aachen_000000_000019"), ("val", "frankfurt_000001_007973")):
        city = stem.split("_")[0]
        images, fine = tmp_path / "leftImg8bit" / split / city, tmp_path / "gtFine" / split / city
        pngs = tmp_path / "gtFine" / f"cityscapes_panoptic_{split}"
        for folder in (images, fine, pngs):
            folder.mkdir(parents=True)
        image = np.arange(96, dtype=np.uint8).reshape(4, 8, 3)
        Image.fromarray(image).save(images / f"{stem}_leftImg8bit.png")
        Image.fromarray(INSTANCE_IDS.astype(np.uint16)).save(fine / f"{stem}_gtFine_instanceIds.png")
        Image.fromarray(panoptic_png()).save(pngs / f"{stem}_gtFine_panoptic.png")
        pngs.with_suffix(".json").write_text(json.dumps(cityscapes_json(stem)))
    return tmp_path


def edit(path: Path, change: str, value: object) -> None:
    """Replace one top-level entry of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), change: value}))


# ---- Cityscapes


def test_cityscapes_is_read_with_train_ids_as_classes(tree: Path) -> None:
    data = open_dataset(tree, "train")
    assert [category.name for category in data.categories] == NAMES
    assert data.is_thing.tolist() == [False] * 11 + [True] * 8
    sample = data[0]
    assert sample.name == "aachen_000000_000019_leftImg8bit"
    assert (sample.image == np.arange(96).reshape(4, 8, 3)).all()
    road, person, car = 0, 11, 13
    assert sample.labels.semantic()[2].tolist() == [road, car, car, car, car, person, person, road]
    assert (sample.labels.semantic()[3] == VOID).all()
    assert sample.labels.segments[2, 1] != sample.labels.segments[2, 3]
    assert sample.labels.is_crowd.tolist() == [False, True, False, False]
    assert sample.labels.areas().tolist() == [area for _, _, area, _ in SEGMENTS]


def test_each_split_has_its_own_images(tree: Path) -> None:
    assert open_dataset(tree, "val")[0].name == "frankfurt_000001_007973_leftImg8bit"


@pytest.mark.parametrize(
    "name",
    [
        "aachen_000000_000019_gtFine_leftImg8bit.png",
        "aachen_000000_000019_leftImg8bit.png",
        "aachen/aachen_000000_000019_leftImg8bit.png",
    ],
)
def test_every_way_of_naming_an_image_leads_to_its_file(tree: Path, name: str) -> None:
    assert image_in_city(name) == "aachen/aachen_000000_000019_leftImg8bit.png"
    path = tree / "gtFine" / "cityscapes_panoptic_train.json"
    (image,) = json.loads(path.read_text())["images"]
    edit(path, "images", [{**image, "file_name": name}])
    assert open_dataset(tree, "train")[0].name == "aachen_000000_000019_leftImg8bit"


@pytest.mark.parametrize("missing", ["cityscapes_panoptic_val.json", "cityscapes_panoptic_val"])
def test_without_its_panoptic_files_the_preparation_command_is_named(tree: Path, missing: str) -> None:
    path = tree / "gtFine" / missing
    path.unlink() if path.is_file() else shutil.rmtree(path)
    command = (
        "python -m cityscapesscripts.preparation.createPanopticImgs "
        f"--dataset-folder {tree / 'gtFine'} --set-names val"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(f"{path}: no such") + ".*" + re.escape(command)):
        open_dataset(tree, "val")


def test_the_command_can_be_pasted_where_a_path_has_spaces(tmp_path: Path) -> None:
    root = tmp_path / "my data"
    (root / "leftImg8bit").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="make it with") as caught:
        open_dataset(root, "train")
    command = str(caught.value).split("`")[3]
    assert str(root / "gtFine") in shlex.split(command)


def test_cityscapes_as_unzipped_and_not_prepared_names_the_command_too(tree: Path) -> None:
    for path in (tree / "gtFine").glob("cityscapes_panoptic_*"):
        path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(FileNotFoundError, match="createPanopticImgs"):
        open_dataset(tree, "train")


def test_missing_images_are_named(tree: Path) -> None:
    shutil.rmtree(tree / "leftImg8bit" / "val" / "frankfurt")
    with pytest.raises(FileNotFoundError, match=r"val/frankfurt/frankfurt_000001_007973_leftImg8bit\.png"):
        open_dataset(tree, "val")[0]
    shutil.rmtree(tree / "leftImg8bit")
    with pytest.raises(FileNotFoundError, match="leftImg8bit/val: no such folder"):
        open_dataset(tree, "val")


def test_categories_by_train_id_are_refused_with_the_command(tree: Path) -> None:
    path = tree / "gtFine" / "cityscapes_panoptic_train.json"
    content = json.loads(path.read_text())
    train_ids = {entry["id"]: train_id for train_id, entry in enumerate(content["categories"])}
    for entry in content["categories"]:
        entry["id"] = train_ids[entry["id"]]
    for info in content["annotations"][0]["segments_info"]:
        info["category_id"] = train_ids[info["category_id"]]
    path.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"lists the categories \[0, 1.*expected \[7, 8.*without --use-train-id"
    ):
        open_dataset(tree, "train")


def test_the_tree_of_these_tests_is_what_the_preparation_command_makes(tree: Path) -> None:
    prepare = pytest.importorskip(
        "cityscapesscripts.preparation.createPanopticImgs", reason="needs the package cityscapesscripts"
    )
    written = tree / "gtFine" / "cityscapes_panoptic_train.json"
    by_hand = json.loads(written.read_text())
    shutil.rmtree(tree / "gtFine" / "cityscapes_panoptic_train")
    prepare.convert2panoptic(str(tree / "gtFine"), setNames=["train"])
    by_command = json.loads(written.read_text())
    for category in by_command["categories"]:
        del category["color"], category["supercategory"]
    assert by_command == by_hand
    (png,) = (tree / "gtFine" / "cityscapes_panoptic_train").iterdir()
    assert png.name == "aachen_000000_000019_gtFine_panoptic.png"
    assert (np.asarray(Image.open(png)) == panoptic_png()).all()


# ---- COCO


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """COCO 2017 as it is unpacked: one grey image of 8 x 4 pixels in val."""
    annotations = tmp_path / "annotations"
    (annotations / "panoptic_val2017").mkdir(parents=True)
    (tmp_path / "val2017").mkdir()
    Image.new("L", (8, 4), 90).save(tmp_path / "val2017" / "000000000139.jpg")
    ids = np.array([[0, 5, 5, 5, 70000, 70000, 9, 9]] * 4)
    Image.fromarray(encode_ids(ids)).save(annotations / "panoptic_val2017" / "000000000139.png")
    segments = [(5, 200, 12, 0), (70000, 1, 8, 0), (9, 1, 8, 1)]
    content = {
        "images": [{"id": 139, "file_name": "000000000139.jpg", "width": 8, "height": 4}],
        "annotations": [
            {
                "image_id": 139,
                "file_name": "000000000139.png",
                "segments_info": [
                    {"id": id, "category_id": category, "area": area, "iscrowd": crowd}
                    for id, category, area, crowd in segments
                ],
            }
        ],
        "categories": [
            {"id": 1, "name": "person", "isthing": 1},
            {"id": 90, "name": "toothbrush", "isthing": 1},
            {"id": 200, "name": "rug-merged", "isthing": 0},
        ],
    }
    (annotations / "panoptic_val2017.json").write_text(json.dumps(content))
    return tmp_path


def test_coco_is_read_with_contiguous_classes_and_its_crowd(coco: Path) -> None:
    sample = open_dataset(coco, "val")[0]
    assert sample.labels.semantic()[1].tolist() == [VOID, 2, 2, 2, 0, 0, 0, 0]
    assert sample.labels.is_crowd.tolist() == [False, False, True]
    assert (sample.image == 90).all()
    assert sample.image.shape == (4, 8, 3)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("annotations/panoptic_val2017.json", "no such file; it is in panoptic_annotations_trainval2017.zip"),
        (
            "annotations/panoptic_val2017",
            "no such folder; .*panoptic_val2017.zip inside that must be unpacked",
        ),
        ("val2017", "no such folder, but panoptic_val2017.json refers to its images"),
    ],
)
def test_what_is_missing_of_coco_is_named(coco: Path, missing: str, message: str) -> None:
    path = coco / missing
    path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(FileNotFoundError, match=re.escape(f"{path}: ") + message):
        open_dataset(coco, "val")


@pytest.mark.skipif(not COCO_SAMPLE.is_dir(), reason=f"needs the official sample of COCO in {COCO_SAMPLE}")
def test_official_coco_images_in_cocos_tree_have_the_areas_that_their_json_states(tmp_path: Path) -> None:
    annotations = tmp_path / "annotations"
    shutil.copytree(COCO_SAMPLE / "input_images", tmp_path / "val2017")
    shutil.copytree(COCO_SAMPLE / "panoptic_examples", annotations / "panoptic_val2017")
    content = json.loads((COCO_SAMPLE / "panoptic_examples.json").read_text())
    content["categories"] = json.loads((COCO_SAMPLE / "panoptic_coco_categories.json").read_text())
    (annotations / "panoptic_val2017.json").write_text(json.dumps(content))
    data = open_dataset(tmp_path, "val")
    assert (len(data), len(data.categories), int(data.is_thing.sum())) == (2, 133, 80)
    # Things first, as in everybody's contiguous ids of COCO.
    assert data.is_thing.tolist() == [True] * 80 + [False] * 53
    for index, annotation in enumerate(content["annotations"]):
        labels, infos = data[index].labels, annotation["segments_info"]
        assert labels.areas().tolist() == [info["area"] for info in infos]
        assert [data.categories[kind].id for kind in labels.classes] == [i["category_id"] for i in infos]
        assert labels.is_crowd.tolist() == [bool(info["iscrowd"]) for info in infos]


# ---- recognition


def test_the_plain_format_is_recognised_by_the_json_of_any_split(tmp_path: Path) -> None:
    (tmp_path / "panoptic_train.json").touch()
    (tmp_path / "annotations").mkdir()
    assert find_files(tmp_path, "val").json_path == tmp_path / "panoptic_val.json"


def test_a_folder_of_no_known_layout_lists_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_dataset(tmp_path, "val")
    for name in (
        f"{tmp_path}: holds no data set",
        "panoptic_val.json, panoptic_val/, val/",
        "gtFine/cityscapes_panoptic_val.json, gtFine/cityscapes_panoptic_val/, leftImg8bit/val/",
        "annotations/panoptic_val2017.json, annotations/panoptic_val2017/, val2017/",
    ):
        assert name in str(caught.value)


def test_a_folder_that_does_not_exist_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        CocoPanoptic(tmp_path / "nowhere", "val")
