"""Where samples come from: COCO-panoptic folders, COCO's and Cityscapes' own trees, drawn scenes."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from difflayers.panoptic.files import read_files
from difflayers.panoptic.images import read_image
from difflayers.panoptic.paths import below
from examples.cops.data.cityscapes import cityscapes
from examples.cops.data.layouts import PanopticFiles, coco_2017, plain
from examples.cops.data.samples import Sample
from examples.cops.data.scenes import DrawnScenes

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
        self.files = read_files(self.json_path, self.labels_folder)
        self.categories, self.annotations = self.files.categories, self.files.annotations
        self.category_ids = [category.id for category in self.categories]
        self._check_categories(files)
        self.image_paths = self._image_paths(files)

    def _check_categories(self, files: PanopticFiles) -> None:
        if files.category_ids is not None and tuple(self.category_ids) != files.category_ids:
            raise ValueError(
                f"{self.json_path}: lists the categories {self.category_ids}, "
                f"expected {list(files.category_ids)}; {files.advice}"
            )

    def _image_paths(self, files: PanopticFiles) -> list[Path]:
        names = self.files.images
        if names is None:
            raise ValueError(f"{self.json_path}: not a COCO-panoptic file (an entry lacks 'images')")
        try:
            return [
                below(self.images_folder, files.image_of(names[entry["image_id"]]))
                for entry in self.annotations
            ]
        except ValueError as error:
            raise ValueError(f"{self.json_path}: not a COCO-panoptic file ({error})") from error

    @cached_property
    def is_thing(self) -> np.ndarray:
        """(K,) bool, which classes have instances."""
        return np.array([category.is_thing for category in self.categories])

    def __len__(self) -> int:
        return len(self.annotations)

    def file_ids(self, index: int) -> tuple[Any, str]:
        """The image's id in the JSON, and the name of its PNG file."""
        entry = self.annotations[index]
        return entry["image_id"], str(entry["file_name"])

    def __getitem__(self, index: int) -> Sample:
        image_path, png_path = self.image_paths[index], self.files.png_paths[index]
        image, labels = read_image(image_path), self.files.labels(index)
        if image.shape[:2] != labels.shape:
            sizes = [f"{width} x {height}" for height, width in (image.shape[:2], labels.shape)]
            raise ValueError(f"{png_path}: is {sizes[1]} pixels, but its image {image_path} is {sizes[0]}")
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
