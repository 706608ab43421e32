"""Where samples come from: data sets in COCO-panoptic format, or drawn scenes."""

import colorsys
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from difflayers.panoptic.labels import from_coco
from examples.cops.samples import Category, Sample
from examples.cops.scenes import DrawnScenes

DRAWN_LENGTH = {"train": 2000, "val": 100}


class CocoPanoptic(Dataset[Sample]):
    """A data set in COCO-panoptic format.

    The folder holds `<split>/` with the images, `panoptic_<split>/` with the PNG files (segment id
    = R + 256 G + 256² B, 0 = void) and `panoptic_<split>.json` (images, annotations, categories).

    Args:
        root: the folder.
        split: "train" or "val"; any other name works that the folder has files for.

    Raises:
        FileNotFoundError: naming the file or folder that is missing.
        ValueError: naming the file, and what in it is not as the format wants it. Reading a sample raises the
            same for its image and its PNG.
    """

    def __init__(self, root: Path, split: str) -> None:
        self.images_folder, self.labels_folder = root / split, root / f"panoptic_{split}"
        self.json_path = root / f"panoptic_{split}.json"
        content = _read_json(self.json_path)
        for folder in (self.images_folder, self.labels_folder):
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder}: no such folder, but {self.json_path.name} refers to it")
        try:
            self.categories = tuple(
                _category(entry, index) for index, entry in enumerate(content["categories"])
            )
            images = {entry["id"]: entry for entry in content["images"]}
            self.annotations: list[dict[str, Any]] = content["annotations"]
            if orphans := {entry["image_id"] for entry in self.annotations} - images.keys():
                raise ValueError(f"{self.json_path}: image {orphans.pop()!r} is annotated but not listed")
            self.image_names = [images[entry["image_id"]]["file_name"] for entry in self.annotations]
            used = {info["category_id"] for entry in self.annotations for info in entry["segments_info"]}
        except (KeyError, TypeError) as error:
            raise ValueError(f"{self.json_path}: not a COCO-panoptic file ({error!r})") from error
        if not self.annotations:
            raise ValueError(f"{self.json_path}: holds no annotation")
        self.category_ids = [category.id for category in self.categories]
        if len(set(self.category_ids)) != len(self.category_ids):
            raise ValueError(f"{self.json_path}: two categories have the same id")
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

    def __getitem__(self, index: int) -> Sample:
        annotation = self.annotations[index]
        image_path = self.images_folder / self.image_names[index]
        png_path = self.labels_folder / annotation["file_name"]
        image, rgb = _read_image(image_path), _read_image(png_path)
        if image.shape != rgb.shape:
            sizes = [f"{array.shape[1]} x {array.shape[0]}" for array in (image, rgb)]
            raise ValueError(f"{png_path}: is {sizes[1]} pixels, but its image {image_path} is {sizes[0]}")
        try:
            labels = from_coco(rgb, annotation["segments_info"], self.category_ids)
        except ValueError as error:
            raise ValueError(f"{png_path} with {self.json_path}: {error}") from error
        return Sample(image, labels, image_path.stem)


def open_dataset(data: Path | None, split: str, seed: int = 0) -> CocoPanoptic | DrawnScenes:
    """Open a data set.

    Args:
        data: a folder in COCO-panoptic format, or None for scenes drawn from the seed.
        split: "train" or "val".
        seed: of the drawn scenes; a folder does not need it.

    Returns:
        The data set; its `categories` and `is_thing` describe the classes.

    Raises:
        FileNotFoundError, ValueError: as the data set that is opened.
    """
    if data is not None:
        return CocoPanoptic(Path(data), split)
    return DrawnScenes(split, seed, DRAWN_LENGTH.get(split, 1))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file; the format wants it beside panoptic_<split>/ and <split>/"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path}: expected an object with images, annotations and categories, got a list or value"
        )
    return content


def _read_image(path: Path) -> np.ndarray:
    """Read any image as (H, W, 3) uint8; some of COCO's are grey."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read as an image ({error})") from error


def _category(entry: dict[str, Any], index: int) -> Category:
    is_thing = bool(entry["isthing"])
    color = entry.get("color")
    if color is None:
        # Steps of the golden ratio keep any number of hues apart; things are the brighter ones.
        hue = (0.58 + 0.61803398875 * index) % 1.0
        color = [
            255 * part for part in colorsys.hsv_to_rgb(hue, *((0.85, 0.95) if is_thing else (0.45, 0.65)))
        ]
    r, g, b = (int(part) for part in color)
    return Category(int(entry["id"]), str(entry["name"]), is_thing, (r, g, b))
