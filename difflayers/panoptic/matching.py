"""Matching of predicted and true segments."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from difflayers.panoptic.labels import VOID, PanopticLabels


def match(iou: ArrayLike, prediction_classes: ArrayLike, target_classes: ArrayLike) -> NDArray[np.int64]:
    """Match segments of equal class so that the sum of IoUs is largest (COPS, Section 3.3.2).

    Args:
        iou: (P, G) floating in [0, 1], the overlap of every prediction with every ground-truth segment.
        prediction_classes: (P,) integer.
        target_classes: (G,) integer.

    Returns:
        (M, 2) int64, pairs of a prediction and a ground-truth segment, sorted by prediction. Each segment
        occurs at most once, and every pair overlaps.

    Raises:
        ValueError: on shapes that do not fit, and on NaN.

    Examples:
        >>> from difflayers import panoptic
        >>> iou = [[0.6, 0.5], [0.5, 0.0]]  # 0.5 + 0.5 is more than 0.6 + 0
        >>> panoptic.match(iou, prediction_classes=[3, 3], target_classes=[3, 3]).tolist()
        [[0, 1], [1, 0]]
    """
    iou, rows, columns = np.asarray(iou), np.asarray(prediction_classes), np.asarray(target_classes)
    if rows.ndim != 1 or columns.ndim != 1 or iou.shape != (len(rows), len(columns)):
        raise ValueError(
            "iou, prediction_classes and target_classes must have shapes (P, G), (P,) and (G,), "
            f"got {iou.shape}, {rows.shape} and {columns.shape}"
        )
    if np.isnan(iou).any():
        raise ValueError("iou must hold no NaN, got one")
    # Rows and columns that overlap nothing of their class cannot be matched, and there are many of them.
    overlaps = (iou > 0) & (rows[:, None] == columns)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for label in np.unique(columns[overlaps.any(axis=0)]):
        p = np.flatnonzero((rows == label) & overlaps.any(axis=1))
        g = np.flatnonzero((columns == label) & overlaps.any(axis=0))
        chosen_p, chosen_g = linear_sum_assignment(iou[np.ix_(p, g)], maximize=True)
        pairs.append(np.stack([p[chosen_p], g[chosen_g]], axis=1))
    matched = np.concatenate(pairs)
    matched = matched[overlaps[matched[:, 0], matched[:, 1]]]
    return matched[np.argsort(matched[:, 0])]


def unmatched_classes(prediction: PanopticLabels, target: PanopticLabels | None) -> NDArray[np.int64]:
    """Return the classes of the ground-truth segments that the matching of Eq. 6 leaves over.

    Args:
        prediction: the predicted labeling.
        target: the ground truth; None for no segments.
    """
    if target is None:
        return np.zeros(0, np.int64)
    valid = target.segments != VOID
    size = (len(prediction.classes), len(target.classes))
    pairs = prediction.segments[valid].astype(np.int64) * size[1] + target.segments[valid]
    inter = np.bincount(pairs, minlength=size[0] * size[1]).reshape(size)
    union = inter.sum(1, keepdims=True) + inter.sum(0, keepdims=True) - inter
    matched = match(inter / np.maximum(union, 1), prediction.classes, target.classes)[:, 1]
    free = ~target.is_crowd
    free[matched] = False
    return target.classes[free]
