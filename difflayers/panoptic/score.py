"""Panoptic quality of COCO-panoptic files: `python -m difflayers.panoptic.score TRUTH PREDICTION`.

TRUTH and PREDICTION are each a JSON file, whose PNG files lie in the folder of the same name without
`.json`; or that folder; or a folder that holds one such pair, as COPS writes it, or a JSON file among
PNG files. If the PNG files lie elsewhere, say TRUTH.json TRUTH_FOLDER PREDICTION.json PREDICTION_FOLDER.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from difflayers.panoptic.files import Category, CocoFiles, read_files
from difflayers.panoptic.quality import PanopticQuality, PanopticQualityResult

_GROUPS = ("all", "things", "stuff")


def score(truth: CocoFiles, prediction: CocoFiles) -> PanopticQualityResult:
    """The exact panoptic quality of predicted files, as panopticapi's `pq_compute` counts it.

    Every image with a true annotation counts. Predictions of other images are left out.

    Args:
        truth: the true annotations.
        prediction: the predicted ones, read with the categories of the truth.

    Raises:
        FileNotFoundError: naming the PNG file that is missing.
        ValueError: naming the files, if an image has no prediction or two annotations, if a PNG file cannot
            be read or does not fit to its annotation, or if the two PNG files of an image differ in size.
    """
    predicted = _by_image(prediction)
    missing = [image for image in _by_image(truth) if image not in predicted]
    if missing:
        raise ValueError(
            f"{prediction.json_path}: must have an annotation for each of {len(truth.annotations)} images, "
            f"but has none for image {missing[0]!r}" + _and_more(len(missing) - 1)
        )
    things = np.array([category.is_thing for category in truth.categories])
    quality = PanopticQuality(len(things), things)
    for index, entry in enumerate(truth.annotations):
        other = predicted[entry["image_id"]]
        wanted, found = truth.labels(index), prediction.labels(other)
        if wanted.shape != found.shape:
            sizes = [f"{width} x {height}" for height, width in (wanted.shape, found.shape)]
            raise ValueError(
                f"{prediction.png_paths[other]}: must have {sizes[0]} pixels, as {truth.png_paths[index]}, "
                f"got {sizes[1]}"
            )
        quality.update(found, wanted)
    return quality.compute()


def table(result: PanopticQualityResult, categories: Sequence[Category]) -> str:
    """PQ, SQ and RQ in per cent, and TP, FP and FN: of all classes, things, stuff, and each class."""
    named = [*zip(_GROUPS, _groups(result, categories), strict=True)]
    named += [(f"  {c.name}", row) for c, row in zip(categories, _classes(result), strict=True)]
    lines = [f"{'':<24} " + " ".join(f"{title:>6}" for title in ("PQ", "SQ", "RQ", "TP", "FP", "FN"))]
    for name, row in named:
        shares = " ".join(f"{100 * share:6.1f}" for share in row[:3])
        lines.append(f"{name:<24} {shares} {row.tp:6} {row.fp:6} {row.fn:6}")
    return "\n".join(lines)


def as_json(result: PanopticQualityResult, categories: Sequence[Category]) -> dict[str, Any]:
    """The same as plain values: fractions, and None where no segment occurs."""
    groups = zip(_GROUPS, _groups(result, categories), strict=True)
    classes = zip(categories, _classes(result), strict=True)
    return {
        **{name: _plain(row) for name, row in groups},
        "classes": [
            {"id": c.id, "name": c.name, "isthing": int(c.is_thing), **_plain(row)} for c, row in classes
        ],
    }


class _Row(NamedTuple):
    pq: float
    sq: float
    rq: float
    tp: int
    fp: int
    fn: int


def _groups(result: PanopticQualityResult, categories: Sequence[Category]) -> list[_Row]:
    """Of all classes, things and stuff: means of the shares, sums of the counts."""
    things = np.array([category.is_thing for category in categories])
    counts = np.stack([result.per_class_tp, result.per_class_fp, result.per_class_fn])
    return [
        _Row(result.pq, result.sq, result.rq, *counts.sum(1).tolist()),
        _Row(result.pq_things, result.sq_things, result.rq_things, *counts[:, things].sum(1).tolist()),
        _Row(result.pq_stuff, result.sq_stuff, result.rq_stuff, *counts[:, ~things].sum(1).tolist()),
    ]


def _classes(result: PanopticQualityResult) -> list[_Row]:
    columns = (
        *(result.per_class_pq, result.per_class_sq, result.per_class_rq),
        *(result.per_class_tp, result.per_class_fp, result.per_class_fn),
    )
    return [_Row(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def _plain(row: _Row) -> dict[str, float | int | None]:
    return {name: None if math.isnan(value) else value for name, value in row._asdict().items()}


def _by_image(files: CocoFiles) -> dict[Any, int]:
    """The index of the annotation of each image."""
    image, count = Counter(entry["image_id"] for entry in files.annotations).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{files.json_path}: must annotate an image once, got {count} for image {image!r}")
    return {entry["image_id"]: index for index, entry in enumerate(files.annotations)}


def _and_more(count: int) -> str:
    return f" and {count} more" if count else ""


def pairs(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """JSON and folder of the truth and of the prediction, from two or four paths of the command line.

    Raises:
        FileNotFoundError: naming the path that does not exist, or the folder in which no pair lies.
        ValueError: if there are not two or four paths, or a folder holds several pairs.
    """
    if len(paths) == 4:
        found = [(paths[0], paths[1]), (paths[2], paths[3])]
    elif len(paths) == 2:
        found = [_pair(path) for path in paths]
    else:
        raise ValueError(f"two paths are needed, or four with the folders, got {len(paths)}; see --help")
    for json_path, folder in found:
        if not json_path.is_file():
            raise FileNotFoundError(f"{json_path}: no such file")
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such folder; the PNG files of {json_path} should lie there"
            )
    return found


def _pair(path: Path) -> tuple[Path, Path]:
    if not path.is_dir():
        return path, path.with_suffix("")
    beside = path.resolve().parent / f"{path.resolve().name}.json"
    if beside.is_file():
        return beside, path
    files = sorted(path.glob("*.json"))
    inside = [(file, file.with_suffix("")) for file in files if file.with_suffix("").is_dir()]
    if not inside and any(path.glob("*.png")):
        inside = [(file, path) for file in files]
    if len(inside) > 1:
        names = ", ".join(file.name for file, _ in inside)
        raise ValueError(f"{path}: holds {names}; name the file")
    if not inside:
        raise FileNotFoundError(
            f"{path}: must have the file {beside.name} beside it, or hold a JSON file with a folder of the "
            "same name or with PNG files; otherwise name all four, see --help"
        )
    return inside[0]


def main() -> None:
    """Score the files that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m difflayers.panoptic.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="TRUTH and PREDICTION, see above")
    parser.add_argument("--json", action="store_true", help="print JSON, with fractions instead of per cent")
    options = parser.parse_args()
    try:
        of_truth, of_prediction = pairs(options.paths)
        truth = read_files(*of_truth)
        result = score(truth, read_files(*of_prediction, truth.categories))
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None
    if options.json:
        print(json.dumps({"images": len(truth.annotations), **as_json(result, truth.categories)}, indent=2))
    else:
        print(f"{len(truth.annotations)} images")
        print(table(result, truth.categories))


if __name__ == "__main__":
    main()
