"""Average precision of the things, measured by pycocotools where it is installed."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from difflayers.panoptic import PanopticLabels

try:
    from pycocotools import mask as coco_mask  # type: ignore[import-untyped, import-not-found, unused-ignore]
    from pycocotools.coco import COCO  # type: ignore[import-untyped, import-not-found, unused-ignore]
    from pycocotools.cocoeval import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        COCOeval,
    )
except ImportError:  # evaluation works without AP
    coco_mask = None


class Instance(NamedTuple):
    """One thing segment: image index, class, mask as pycocotools packs it, crowd flag, score in [0, 1]."""

    image: int
    kind: int
    mask: dict[str, Any]
    is_crowd: bool
    score: float


def predicted_instances(
    image: int, labels: PanopticLabels, scores: np.ndarray, is_thing: np.ndarray
) -> list[Instance]:
    """The thing segments of a prediction; none without pycocotools."""
    if coco_mask is None:
        return []
    return [
        Instance(image, int(kind), _mask(labels.segments == segment), bool(crowd), float(score))
        for segment, (kind, crowd, score) in enumerate(
            zip(labels.classes, labels.is_crowd, scores, strict=True)
        )
        if is_thing[kind]
    ]


def true_instances(image: int, labels: PanopticLabels, is_thing: np.ndarray) -> list[Instance]:
    """The thing segments of a panoptic ground truth; hidden parts of instances are not in their masks."""
    return predicted_instances(image, labels, np.ones(len(labels.classes)), is_thing)


def average_precision(found: Sequence[Instance], truth: Sequence[Instance]) -> dict[str, float]:
    """AP (mean over IoU 0.5 to 0.95) and AP50, as fractions; empty without pycocotools or instances."""
    if coco_mask is None or all(entry.is_crowd for entry in truth):
        return {}
    if not found:
        return {"AP": 0.0, "AP50": 0.0}
    sizes = {entry.image: entry.mask["size"] for entry in (*truth, *found)}
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports every step
        target = COCO()
        target.dataset = {
            "info": {},
            "images": [
                {"id": image, "height": height, "width": width} for image, (height, width) in sizes.items()
            ],
            "categories": [{"id": kind} for kind in sorted({entry.kind for entry in truth})],
            "annotations": [
                {
                    "id": number + 1,  # 0 would count as no match
                    "image_id": entry.image,
                    "category_id": entry.kind,
                    "segmentation": entry.mask,
                    "iscrowd": int(entry.is_crowd),
                    "area": float(coco_mask.area(entry.mask)),
                }
                for number, entry in enumerate(truth)
            ],
        }
        target.createIndex()
        results = target.loadRes(
            [
                {
                    "image_id": entry.image,
                    "category_id": entry.kind,
                    "segmentation": entry.mask,
                    "score": entry.score,
                }
                for entry in found
            ]
        )
        evaluation = COCOeval(target, results, "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {"AP": float(evaluation.stats[0]), "AP50": float(evaluation.stats[1])}


def _mask(pixels: np.ndarray) -> dict[str, Any]:
    return coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
