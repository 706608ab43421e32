"""Panoptic quality, exactly as the COCO panoptic evaluation counts it (Kirillov et al. 2019, Eq. 1)."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from difflayers.panoptic.labels import PanopticLabels


@dataclass(frozen=True, eq=False)
class PanopticQualityResult:
    """Panoptic quality PQ = SQ · RQ, segmentation quality and recognition quality, as fractions.

    Attributes:
        pq, sq, rq: means over the classes that occur (TP + FP + FN > 0); NaN if none occurs.
        pq_things, sq_things, rq_things: the same over the classes that have instances.
        pq_stuff, sq_stuff, rq_stuff: the same over the other classes.
        per_class_pq, per_class_sq, per_class_rq: (K,) float64, of each class; NaN if it does not occur.
        per_class_tp, per_class_fp, per_class_fn: (K,) int64, numbers of matched pairs, of predictions and of
            true segments that are left over.

    Examples:
        >>> from difflayers import panoptic
        >>> truth = panoptic.PanopticLabels([[0, 0, 1, 1]], classes=[0, 0])
        >>> found = panoptic.PanopticLabels([[0, 0, 0, 1]], classes=[0, 0])  # IoUs 2/3 and 1/2
        >>> result = panoptic.panoptic_quality([found], [truth], is_thing=[True])
        >>> result.per_class_tp.tolist(), result.per_class_fp.tolist(), result.per_class_fn.tolist()
        ([1], [1], [1])
        >>> round(result.sq, 4), result.rq, round(result.pq, 4)
        (0.6667, 0.5, 0.3333)
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
    per_class_tp: NDArray[np.int64]
    per_class_fp: NDArray[np.int64]
    per_class_fn: NDArray[np.int64]


class PanopticQuality:
    """Panoptic quality of a data set, accumulated image by image, volume by volume or cloud by cloud.

    Args:
        num_classes: K.
        is_thing: (K,) bool, True for the classes that have instances.

    Raises:
        ValueError: if `is_thing` has another shape or dtype.

    Examples:
        >>> from difflayers import panoptic
        >>> quality = panoptic.PanopticQuality(2, is_thing=[False, True])
        >>> labels = panoptic.PanopticLabels([[0, 0, 1]], classes=[0, 1])
        >>> quality.update(prediction=labels, target=labels)
        >>> quality.compute().pq
        1.0
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
            target: the ground truth, of the same shape.

        Raises:
            ValueError: if the shapes differ or a class is not below K.
        """
        self._counts += _count(prediction, target, len(self.is_thing))

    def merge(self, other: "PanopticQuality") -> "PanopticQuality":
        """Add what another accumulator counted, for example in another process; `a += b` does the same.

        Raises:
            ValueError: if the two do not have the same classes.
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
            per_class_tp=tp.astype(np.int64),
            per_class_fp=fp.astype(np.int64),
            per_class_fn=fn.astype(np.int64),
        )


def panoptic_quality(
    predictions: Iterable[PanopticLabels], targets: Iterable[PanopticLabels], is_thing: ArrayLike
) -> PanopticQualityResult:
    """Return the panoptic quality of a data set.

    Args:
        predictions: one labeling per image.
        targets: the ground truth of the same images, in the same order.
        is_thing: (K,) bool, True for the classes that have instances.

    Raises:
        ValueError: as `PanopticQuality`, and if the numbers of images differ.

    Examples:
        >>> from difflayers import panoptic
        >>> truth = panoptic.from_maps([1, 1, 1, 0], [1, 1, 2, 0], is_thing=[False, True])  # four points
        >>> found = panoptic.from_maps([1, 1, 1, 0], [1, 1, 1, 0], is_thing=[False, True])
        >>> panoptic.panoptic_quality([found], [truth], is_thing=[False, True]).per_class_pq.round(3).tolist()
        [1.0, 0.444]
    """
    quality = PanopticQuality(len(np.asarray(is_thing)), is_thing)
    for prediction, target in zip(predictions, targets, strict=True):
        quality.update(prediction, target)
    return quality.compute()


def _count(prediction: PanopticLabels, target: PanopticLabels, num_classes: int) -> NDArray[np.float64]:
    """Return TP, FP, FN and the sum of the matched IoUs of one image, (4, K)."""
    if prediction.shape != target.shape:
        raise ValueError(f"prediction must have shape {target.shape}, as target has, got {prediction.shape}")
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
    """Return which target and predicted segments (-1 for void) share pixels, and how many pixels."""
    width = len(prediction.classes) + 1
    codes = (target.segments.ravel().astype(np.int64) + 1) * width + (prediction.segments.ravel() + 1)
    if width * (len(target.classes) + 1) <= 4 * codes.size:
        counts = np.bincount(codes)  # ten times as fast as sorting, unless the table is the larger part
        pairs = np.flatnonzero(counts)
        counts = counts[pairs]
    else:
        pairs, counts = np.unique(codes, return_counts=True)
    return pairs // width - 1, pairs % width - 1, counts
