"""Predictions as files that the official evaluators read: COCO-panoptic PNG and JSON."""

import contextlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from difflayers.panoptic import PanopticLabels, to_coco
from difflayers.panoptic.files import Category
from difflayers.panoptic.paths import file_to_write, plain_name


def write_prediction(
    out: Path, labels: PanopticLabels, file_ids: tuple[Any, str], categories: Sequence[Category]
) -> dict[str, Any]:
    """Write one image's PNG into `out/panoptic`, and return its annotation.

    Args:
        out: the folder; made if it is missing.
        labels: the prediction.
        file_ids: the image's id, and the name of its PNG file.
        categories: of the classes.

    Raises:
        ValueError: if the name of the PNG file would lead out of `out/panoptic`.
    """
    image_id, file_name = file_ids
    rgb, segments = to_coco(labels, [category.id for category in categories])
    # The format is named: a file_name that ends in .jpg must not change the ids.
    Image.fromarray(rgb).save(file_to_write(out / "panoptic", file_name), format="PNG")
    return {"image_id": image_id, "file_name": file_name, "segments_info": segments}


def write_instances(
    out: Path, labels: PanopticLabels, scores: np.ndarray, name: str, categories: Sequence[Category]
) -> None:
    """Write one image's things in Cityscapes' format, for `csEvalInstanceLevelSemanticLabeling`.

    Args:
        out: the folder; `out/instances` receives `<name>.txt`, with a line of mask, category id and score for
            each instance, and the masks.
        labels: the prediction.
        scores: (S,) of its segments.
        name: of the image, as its ground truth begins: city, sequence and frame.
        categories: of the classes.

    Raises:
        ValueError: if the name holds a separator, so that the files could lie elsewhere.
    """
    folder, name = out / "instances", plain_name(name)
    lines = []
    for segment, (kind, score) in enumerate(zip(labels.classes, scores, strict=True)):
        if categories[kind].is_thing:
            mask = f"{name}_{segment}.png"
            pixels = np.uint8(255) * (labels.segments == segment)
            Image.fromarray(pixels).save(file_to_write(folder, mask))
            lines.append(f"{mask} {categories[kind].id} {score:.6f}\n")
    file_to_write(folder, f"{name}.txt").write_text("".join(lines))


def write_index(out: Path, annotations: Iterable[dict[str, Any]]) -> Path:
    """Write `out/panoptic.json` of all annotations, and return its path."""
    path = file_to_write(out, "panoptic.json")
    ordered = sorted(annotations, key=lambda entry: entry["file_name"])
    path.write_text(json.dumps({"annotations": ordered}))
    return path


def official_quality(json_path: Path, labels_folder: Path, out: Path) -> dict[str, float] | None:
    """PQ as cityscapesscripts' evaluator, which is COCO's but for its printing, finds it from the files.

    Args:
        json_path: of the ground truth, in COCO-panoptic format.
        labels_folder: with its PNG files.
        out: the folder that the predictions were written to; receives `official.json`.

    Returns:
        "PQ", "PQ_th" and "PQ_st" as fractions; None without cityscapesscripts, and if no thing or no stuff
        occurs, because the evaluator divides by their numbers.
    """
    try:
        from cityscapesscripts.evaluation import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
            evalPanopticSemanticLabeling as official,
        )
    except ImportError:
        return None
    paths = (json_path, labels_folder, out / "panoptic.json", out / "panoptic", out / "official.json")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            results = official.evaluatePanoptic(*map(str, paths))
    except ZeroDivisionError:
        print("cityscapesscripts: no PQ, since no thing or no stuff occurs")
        return None
    names = {"PQ": "All", "PQ_th": "Things", "PQ_st": "Stuff"}
    return {name: float(results[group]["pq"]) for name, group in names.items()}
