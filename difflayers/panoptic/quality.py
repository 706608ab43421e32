"""Panoptic quality, exactly as the COCO panoptic evaluation counts it (Kirillov et al. 2019, Eq. 1)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from difflayers.panoptic.labels import PanopticLabels


@dataclass(frozen=True, eq=False)
class PanopticQualityResult:
    """Panoptic quality PQ = SQ · RQ, segmentation quality and recognition quality, as fractions.

    The scalars are means over the classes that occur (TP + FP + FN > 0), over all of them, the things and the
    stuff; NaN where none of them occurs. The arrays (K,) hold each class, NaN where it does not occur.
    """

    pq: float
    sq: float
    rq: float
    pq_things: float
    sq_things: float
    rq_things: float
    pq_stuff: float
    sq_stuff: float
    rq_stuff: float
    per_class_pq: NDArray[np.float64]
    per_class_sq: NDArray[np.float64]
    per_class_rq: NDArray[np.float64]


class PanopticQuality:
    """Panoptic quality of a data set, accumulated image by image.

    Args:
        num_classes: K.
        is_thing: (K,) bool, True for the classes that have instances.

    Raises:
        ValueError: where `is_thing` has another shape or dtype.
    """

    def __init__(self, num_classes: int, is_thing: ArrayLike) -> None:
        is_thing = np.asarray(is_thing)
        if is_thing.shape != (num_classes,) or is_thing.dtype != bool:
            raise ValueError(
                f"is_thing must be bool of shape ({num_classes},), got {is_thing.dtype} {is_thing.shape}"
            )
        self.is_thing = is_thing
        self.reset()

    def reset(self) -> None:
        """Forget every image."""
        self._counts = np.zeros((4, len(self.is_thing)))

    def update(self, prediction: PanopticLabels, target: PanopticLabels) -> None:
        """Count one image.

        Args:
            prediction: the predicted labeling; its `is_crowd` plays no role.
            target: the ground truth, of the same height and width.

        Raises:
            ValueError: where the shapes differ or a class is not below K.
        """
        self._counts += _count(prediction, target, len(self.is_thing))

    def merge(self, other: "PanopticQuality") -> "PanopticQuality":
        """Add what another accumulator counted, for instance in another process; `a += b` does the same.

        Raises:
            ValueError: where the two do not have the same classes.
        """
        if not np.array_equal(self.is_thing, other.is_thing):
            raise ValueError("other counts different classes: its is_thing differs")
        self._counts += other._counts
        return self

    __iadd__ = merge

    def compute(self) -> PanopticQualityResult:
        """Return the quality of the images counted so far."""
        tp, fp, fn, iou = self._counts
        occurs = tp + fp + fn > 0
        with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN of a class that does not occur
            rq = tp / (tp + 0.5 * fp + 0.5 * fn)
        sq = np.where(occurs, iou / np.maximum(tp, 1), np.nan)
        pq = sq * rq

        def mean(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
            chosen = chosen & occurs
            return float(values[chosen].mean()) if chosen.any() else float("nan")

        things, stuff = self.is_thing, ~self.is_thing
        return PanopticQualityResult(
            *(mean(pq, occurs), mean(sq, occurs), mean(rq, occurs)),
            *(mean(pq, things), mean(sq, things), mean(rq, things)),
            *(mean(pq, stuff), mean(sq, stuff), mean(rq, stuff)),
            per_class_pq=pq,
            per_class_sq=sq,
            per_class_rq=rq,
        )


def panoptic_quality(
    predictions: Iterable[PanopticLabels], targets: Iterable[PanopticLabels], is_thing: ArrayLike
) -> PanopticQualityResult:
    """Return the panoptic quality of a data set.

    Args:
        predictions: one labeling an image.
        targets: the ground truth of the same images, in the same order.
        is_thing: (K,) bool, True for the classes that have instances.

    Raises:
        ValueError: as `PanopticQuality`, and where the numbers of images differ.
    """
    quality = PanopticQuality(len(np.asarray(is_thing)), is_thing)
    for prediction, target in zip(predictions, targets, strict=True):
        quality.update(prediction, target)
    return quality.compute()


def _count(prediction: PanopticLabels, target: PanopticLabels, num_classes: int) -> NDArray[np.float64]:
    """Return TP, FP, FN and the sum of the matched IoUs of one image, (4, K)."""
    if prediction.shape != target.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, but target has {target.shape}")
    for name, labels in (("prediction", prediction), ("target", target)):
        if len(labels.classes) and labels.classes.max() >= num_classes:
            raise ValueError(
                f"{name} holds class {labels.classes.max()}, but there are {num_classes} classes"
            )

    t, p, overlap = _overlaps(prediction, target)
    areas, target_areas = prediction.areas(), target.areas()
    ignored = np.zeros(len(areas))  # the part of each prediction that is void or crowd of its class
    on_void = (t < 0) & (p >= 0)
    ignored[p[on_void]] = overlap[on_void]

    both = (t >= 0) & (p >= 0)
    t, p, overlap = t[both], p[both], overlap[both]
    same_class = target.classes[t] == prediction.classes[p]
    iou = overlap / (areas[p] + target_areas[t] - overlap - ignored[p])
    matched = same_class & ~target.is_crowd[t] & (iou > 0.5)

    # The official evaluation keeps one crowd region of a class, the last; fancy assignment does so as well.
    crowd_of_class = np.full(num_classes, -1)
    crowd_of_class[target.classes[target.is_crowd]] = np.flatnonzero(target.is_crowd)
    on_crowd = crowd_of_class[prediction.classes[p]] == t
    ignored[p[on_crowd]] += overlap[on_crowd]

    false_positive = ignored / areas <= 0.5
    false_positive[p[matched]] = False
    false_negative = ~target.is_crowd
    false_negative[t[matched]] = False
    matched_classes = target.classes[t[matched]]
    return np.stack(
        [
            np.bincount(matched_classes, minlength=num_classes),
            np.bincount(prediction.classes[false_positive], minlength=num_classes),
            np.bincount(target.classes[false_negative], minlength=num_classes),
            np.bincount(matched_classes, weights=iou[matched], minlength=num_classes),
        ]
    )


def _overlaps(
    prediction: PanopticLabels, target: PanopticLabels
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of target and predicted segment (or -1, void) that share pixels, and how many."""
    width = len(prediction.classes) + 1
    codes = (target.segments.ravel().astype(np.int64) + 1) * width + (prediction.segments.ravel() + 1)
    if width * (len(target.classes) + 1) <= 4 * codes.size:
        counts = np.bincount(codes)  # ten times as fast as sorting, where the table is not the larger part
        pairs = np.flatnonzero(counts)
        counts = counts[pairs]
    else:
        pairs, counts = np.unique(codes, return_counts=True)
    return pairs // width - 1, pairs % width - 1, counts
