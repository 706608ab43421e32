"""Where samples come from: COCO-panoptic folders, COCO's and Cityscapes' own trees, drawn scenes."""

import colorsys
import json
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from difflayers.panoptic import from_coco
from examples.cops.data.cityscapes import cityscapes
from examples.cops.data.images import read_image
from examples.cops.data.layouts import PanopticFiles, coco_2017, plain
from examples.cops.data.paths import below
from examples.cops.data.samples import Category, Sample
from examples.cops.data.scenes import DrawnScenes

# The errors that a value of a wrong type or size can lead to.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)

DRAWN_LENGTH = {"train": 2000, "val": 100}


class CocoPanoptic(Dataset[Sample]):
    """A data set in COCO-panoptic format.

    That is a JSON file (images, annotations, categories), images, and PNG files (segment id
    = R + 256 G + 256² B, 0 = void). As for the official evaluators, an image without an annotation does not
    belong to the data set.

    Args:
        root: a folder in one of the three layouts of `find_files`.
        split: "train", "val", or another name for which the folder has files.

    Raises:
        FileNotFoundError: naming the file or folder that is missing.
        ValueError: naming the file and the entry that does not follow the format. Reading a sample raises
            the same for its image and its PNG.
    """

    def __init__(self, root: Path, split: str) -> None:
        files = find_files(root, split)
        files.check()
        self.images_folder, self.labels_folder = files.images_folder, files.labels_folder
        self.json_path = files.json_path
        content = _read_json(self.json_path)
        try:
            self.categories = tuple(
                _category(entry, index) for index, entry in enumerate(content["categories"])
            )
            images = {entry["id"]: entry["file_name"] for entry in content["images"]}
            self.annotations: list[dict[str, Any]] = content["annotations"]
            used = {
                _whole(info, "category_id") for entry in self.annotations for info in entry["segments_info"]
            }
            if orphans := {entry["image_id"] for entry in self.annotations} - images.keys():
                raise ValueError(f"image {orphans.pop()!r} is annotated but not listed")
            self.png_names = [str(entry["file_name"]) for entry in self.annotations]
            self.png_paths = [below(self.labels_folder, name) for name in self.png_names]
            self.image_paths = [
                below(self.images_folder, files.image_of(str(images[entry["image_id"]])))
                for entry in self.annotations
            ]
        except _MALFORMED as error:
            raise ValueError(f"{self.json_path}: not a COCO-panoptic file ({_reason(error)})") from error
        self._check_annotations()
        self._check_categories(files, used)

    def _check_annotations(self) -> None:
        if not self.annotations:
            raise ValueError(f"{self.json_path}: holds no annotation")
        listed = Counter(self.png_paths)
        if len(listed) < len(self.annotations):
            twice = listed.most_common(1)[0][0]
            raise ValueError(f"{self.json_path}: two annotations have the file_name {twice.name!r}")

    def _check_categories(self, files: PanopticFiles, used: set[int]) -> None:
        self.category_ids = [category.id for category in self.categories]
        if len(set(self.category_ids)) != len(self.category_ids):
            raise ValueError(f"{self.json_path}: two categories have the same id")
        if files.category_ids is not None and tuple(self.category_ids) != files.category_ids:
            raise ValueError(
                f"{self.json_path}: lists the categories {self.category_ids}, "
                f"expected {list(files.category_ids)}; {files.advice}"
            )
        if unknown := used - set(self.category_ids):
            raise ValueError(
                f"{self.json_path}: a segment has the category {min(unknown)}, which is not listed"
            )

    @cached_property
    def is_thing(self) -> np.ndarray:
        """(K,) bool, which classes have instances."""
        return np.array([category.is_thing for category in self.categories])

    def __len__(self) -> int:
        return len(self.annotations)

    def file_ids(self, index: int) -> tuple[Any, str]:
        """The image's id in the JSON, and the name of its PNG file."""
        return self.annotations[index]["image_id"], self.png_names[index]

    def __getitem__(self, index: int) -> Sample:
        annotation = self.annotations[index]
        image_path, png_path = self.image_paths[index], self.png_paths[index]
        image, rgb = read_image(image_path), read_image(png_path)
        if image.shape != rgb.shape:
            sizes = [f"{array.shape[1]} x {array.shape[0]}" for array in (image, rgb)]
            raise ValueError(f"{png_path}: is {sizes[1]} pixels, but its image {image_path} is {sizes[0]}")
        try:
            labels = from_coco(rgb, annotation["segments_info"], self.category_ids)
        except _MALFORMED as error:
            raise ValueError(f"{png_path} with {self.json_path}: {error}") from error
        return Sample(image, labels, image_path.stem)


def open_dataset(data: Path | None, split: str, seed: int = 0) -> CocoPanoptic | DrawnScenes:
    """Open a data set.

    Args:
        data: a folder in one of the layouts of `find_files`, or None for scenes drawn from the seed.
        split: "train" or "val".
        seed: of the drawn scenes; not read for a folder.

    Returns:
        The data set; its `categories` and `is_thing` describe the classes.

    Raises:
        FileNotFoundError, ValueError: as the data set that is opened.
    """
    if data is not None:
        return CocoPanoptic(Path(data), split)
    return DrawnScenes(split, seed, DRAWN_LENGTH.get(split, 1))


def find_files(root: Path, split: str) -> PanopticFiles:
    """Recognize the layout of a folder by what it holds.

    - `panoptic_*.json`: `panoptic_<split>.json`, `panoptic_<split>/` and `<split>/` side by side;
    - `gtFine` or `leftImg8bit`: Cityscapes' tree;
    - `annotations` or `<split>2017`: COCO's tree.

    Args:
        root: the folder.
        split: "train" or "val".

    Returns:
        Where the files should be; they are not looked for yet.

    Raises:
        FileNotFoundError: if there is no such folder, or it holds none of this; lists what was looked for.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    if any(root.glob("panoptic_*.json")):
        return plain(root, split)
    if (root / "gtFine").is_dir() or (root / "leftImg8bit").is_dir():
        return cityscapes(root, split)
    if (root / "annotations").is_dir() or (root / f"{split}2017").is_dir():
        return coco_2017(root, split)
    looked_for = "; ".join(
        f"{name}: {files.json_path.relative_to(root)}, {files.labels_folder.relative_to(root)}/, "
        f"{files.images_folder.relative_to(root)}/"
        for name, files in (
            ("COCO-panoptic format", plain(root, split)),
            ("Cityscapes", cityscapes(root, split)),
            ("COCO 2017", coco_2017(root, split)),
        )
    )
    raise FileNotFoundError(f"{root}: holds no data set of a known layout; looked for {looked_for}")


def read_categories(path: Path) -> tuple[Category, ...]:
    """Read the classes that a JSON file lists: a COCO-panoptic file, or only its list of categories.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, if it is no JSON, or what in it is not as the format wants it.
    """
    content = _json(path)
    try:
        entries = content["categories"] if isinstance(content, dict) else content
        categories = tuple(_category(entry, index) for index, entry in enumerate(entries))
    except _MALFORMED as error:
        raise ValueError(f"{path}: lists no categories as COCO-panoptic ({_reason(error)})") from error
    if not categories:
        raise ValueError(f"{path}: lists no category")
    return categories


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error


def _read_json(path: Path) -> dict[str, Any]:
    content = _json(path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected an object with images, annotations and categories, got a list or value"
        )
    return content


def _category(entry: dict[str, Any], index: int) -> Category:
    is_thing = _whole(entry, "isthing", 0, 1) == 1
    color = entry.get("color")
    if color is None:
        # Steps of the golden ratio keep neighbouring classes apart; things are the brighter ones.
        hue = (0.58 + 0.61803398875 * index) % 1.0
        shade = (0.85, 0.95) if is_thing else (0.45, 0.65)
        color = [int(255 * part) for part in colorsys.hsv_to_rgb(hue, *shade)]
    r, g, b = (_whole({"color": part}, "color", 0, 255) for part in color)
    return Category(_whole(entry, "id"), str(entry["name"]), is_thing, (r, g, b))


def _whole(entry: dict[str, Any], key: str, low: int | None = None, high: int | None = None) -> int:
    """The whole number that an entry has under a key, in [low, high] if these are given."""
    value = entry[key]
    wanted = "a whole number" if low is None else f"a whole number from {low} to {high}"
    fits = isinstance(value, int) and (low is None or high is None or low <= value <= high)
    if not fits:
        raise ValueError(f"{key} must be {wanted}, got {value!r}")
    return int(value)


def _reason(error: Exception) -> str:
    """What a malformed file lacks or has, in words."""
    if isinstance(error, KeyError):
        return f"an entry lacks {error}"
    return str(error)
