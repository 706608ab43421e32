"""Cityscapes in its own tree: leftImg8bit and gtFine, with the panoptic files that its scripts make.

The preparation command, of the package cityscapesscripts, writes `gtFine/cityscapes_panoptic_<split>.json`
and `gtFine/cityscapes_panoptic_<split>/*_gtFine_panoptic.png` from the annotations that are handed out.
"""

import shlex
from pathlib import Path

from examples.cops.data.layouts import PanopticFiles

#: Label ids of the 19 classes that are evaluated, 8 of them things (24 and above). The place in this
#: tuple is Cityscapes' train id, and the class index here.
TRAIN_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

IMAGE_SUFFIX = "_leftImg8bit.png"


def cityscapes(root: Path, split: str) -> PanopticFiles:
    """Say where the files of a Cityscapes split lie; the JSON must list the 19 classes by their label ids."""
    annotations = root / "gtFine"
    name = f"cityscapes_panoptic_{split}"
    return PanopticFiles(
        annotations / f"{name}.json",
        annotations / name,
        root / "leftImg8bit" / split,
        advice=(
            "make it with `pip install cityscapesscripts` and "
            "`python -m cityscapesscripts.preparation.createPanopticImgs "
            f"--dataset-folder {shlex.quote(str(annotations))} --set-names {split}` (without --use-train-id)"
        ),
        image_of=image_in_city,
        category_ids=TRAIN_LABEL_IDS,
    )


def image_in_city(file_name: str) -> str:
    """Turn the JSON's name of an image into its path below `leftImg8bit/<split>`.

    The preparation command writes `aachen_000000_000019_gtFine_leftImg8bit.png`, a name that no file has; the
    image is `aachen/aachen_000000_000019_leftImg8bit.png`. Names of the second kind stay.
    """
    name = Path(file_name).name
    if name.endswith(f"_gtFine{IMAGE_SUFFIX}"):
        name = name.removesuffix(f"_gtFine{IMAGE_SUFFIX}") + IMAGE_SUFFIX
    city = name.split("_")[0]
    return f"{city}/{name}"
