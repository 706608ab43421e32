"""Files in COCO-panoptic format: a JSON with categories and annotations, and a folder of PNG files."""

import colorsys
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from difflayers.panoptic.coco import from_coco
from difflayers.panoptic.images import read_image
from difflayers.panoptic.labels import PanopticLabels
from difflayers.panoptic.paths import below

# The errors that a value of a wrong type or size can lead to.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


class Category(NamedTuple):
    """One class: its id in COCO files, its name, whether it has instances, its colour (R, G, B)."""

    id: int
    name: str
    is_thing: bool
    color: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class CocoFiles:
    """A checked JSON file, and where its PNG files lie.

    Attributes:
        json_path: the JSON.
        categories: the classes, in the order of their class indices.
        annotations: one entry per image, with `image_id`, `file_name` and `segments_info`.
        png_paths: the PNG file of each annotation.
        images: the name of each image by its id; None if the JSON lists no images.
    """

    json_path: Path
    categories: tuple[Category, ...]
    annotations: list[dict[str, Any]]
    png_paths: list[Path]
    images: dict[Any, str] | None

    def labels(self, index: int) -> PanopticLabels:
        """Read the labeling of an annotation.

        Raises:
            FileNotFoundError: naming the PNG file that is missing.
            ValueError: naming the PNG file that cannot be read, or does not fit to its annotation.
        """
        path = self.png_paths[index]
        rgb = read_image(path)
        try:
            segments = self.annotations[index]["segments_info"]
            return from_coco(rgb, segments, [category.id for category in self.categories])
        except _MALFORMED as error:
            raise ValueError(f"{path} with {self.json_path}: {error}") from error


def read_files(json_path: Path, folder: Path, categories: Sequence[Category] | None = None) -> CocoFiles:
    """Read and check a JSON file in COCO-panoptic format; the PNG files are not opened.

    Args:
        json_path: the file.
        folder: with the PNG files.
        categories: of the classes; None reads those of the file. Files of predictions often list none.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file and the entry that does not follow the format.
    """
    content = _json(json_path)
    if not isinstance(content, dict):
        raise ValueError(
            f"{json_path}: expected an object with images, annotations and categories, got a list or value"
        )
    try:
        if categories is None:
            categories = [_category(entry, index) for index, entry in enumerate(content["categories"])]
        images = None
        if "images" in content:
            images = {entry["id"]: str(entry["file_name"]) for entry in content["images"]}
        annotations: list[dict[str, Any]] = content["annotations"]
        used = {_whole(info, "category_id") for entry in annotations for info in entry["segments_info"]}
        missing = {entry["image_id"] for entry in annotations} - (images or {}).keys()
        if images is not None and missing:
            raise ValueError(f"image {missing.pop()!r} is annotated but not listed")
        png_paths = [below(folder, str(entry["file_name"])) for entry in annotations]
    except _MALFORMED as error:
        raise ValueError(f"{json_path}: not a COCO-panoptic file ({_reason(error)})") from error
    files = CocoFiles(json_path, tuple(categories), annotations, png_paths, images)
    _check(files, used)
    return files


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


def _check(files: CocoFiles, used: set[int]) -> None:
    if not files.annotations:
        raise ValueError(f"{files.json_path}: holds no annotation")
    path, count = Counter(files.png_paths).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{files.json_path}: two annotations have the file_name {path.name!r}")
    ids = [category.id for category in files.categories]
    if len(set(ids)) != len(ids):
        raise ValueError(f"{files.json_path}: two categories have the same id")
    if unknown := used - set(ids):
        raise ValueError(f"{files.json_path}: a segment has the category {min(unknown)}, which is not listed")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON file ({error})") from error


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
