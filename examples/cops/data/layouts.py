"""Where the files of a data set lie, for each way in which data sets are handed out."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def _same(file_name: str) -> str:
    return file_name


@dataclass(frozen=True)
class PanopticFiles:
    """The files of one split; what they hold is in COCO-panoptic format throughout.

    Attributes:
        json_path: images, annotations, categories.
        labels_folder: the PNG files.
        images_folder: the images.
        advice: what to do if the JSON or the PNG files are missing; the end of an error message.
        image_of: turns an image's name in the JSON into its path below `images_folder`.
        category_ids: the ids that the JSON must list, in this order; None for any.
    """

    json_path: Path
    labels_folder: Path
    images_folder: Path
    advice: str
    image_of: Callable[[str], str] = _same
    category_ids: tuple[int, ...] | None = None

    def check(self) -> None:
        """Raise FileNotFoundError naming what is missing, and what to do about it."""
        if not self.json_path.is_file():
            raise FileNotFoundError(f"{self.json_path}: no such file; {self.advice}")
        if not self.labels_folder.is_dir():
            raise FileNotFoundError(f"{self.labels_folder}: no such folder; {self.advice}")
        if not self.images_folder.is_dir():
            raise FileNotFoundError(
                f"{self.images_folder}: no such folder, but {self.json_path.name} refers to its images"
            )


def plain(root: Path, split: str) -> PanopticFiles:
    """`panoptic_<split>.json`, `panoptic_<split>/` and `<split>/` side by side."""
    return PanopticFiles(
        root / f"panoptic_{split}.json",
        root / f"panoptic_{split}",
        root / split,
        advice=f"the format wants panoptic_{split}.json, panoptic_{split}/ and {split}/ side by side",
    )


def coco_2017(root: Path, split: str) -> PanopticFiles:
    """COCO as it is unpacked: `annotations/panoptic_<split>2017.json` with its folder, `<split>2017/`."""
    name = f"panoptic_{split}2017"
    return PanopticFiles(
        root / "annotations" / f"{name}.json",
        root / "annotations" / name,
        root / f"{split}2017",
        # The archive of the annotations holds an archive of the PNG files, which is easily overlooked.
        advice=(
            "it is in panoptic_annotations_trainval2017.zip of cocodataset.org; "
            f"annotations/{name}.zip inside that must be unpacked too, in annotations/"
        ),
    )
