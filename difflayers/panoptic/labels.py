"""Panoptic labelings: every pixel belongs to one segment or to none, every segment has one class."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from difflayers._arguments import as_array

VOID = -1
"""The segment, and the class, of a pixel that belongs to nothing."""


@dataclass(frozen=True, eq=False)
class PanopticLabels:
    """A panoptic labeling of one image.

    Args:
        segments: (h, w) integer, the index of the pixel's segment, `VOID` (-1) where there is none; stored as
            int32.
        classes: (S,) integer, the class index of each segment; stored as int64.
        is_crowd: (S,) bool, True for a region of several instances not told apart; by default none.

    Raises:
        ValueError: on a wrong shape or dtype, an index out of range, or a segment without pixels.
    """

    segments: NDArray[np.int32]
    classes: NDArray[np.int64]
    is_crowd: NDArray[np.bool_] = None  # type: ignore[assignment]  # the default needs the length of classes

    def __post_init__(self) -> None:
        segments, classes = _checked(self.segments, self.classes)
        is_crowd = _checked_crowd(self.is_crowd, len(classes))
        for name, value in (("segments", segments), ("classes", classes), ("is_crowd", is_crowd)):
            object.__setattr__(self, name, value)
        empty = np.flatnonzero(self.areas() == 0)
        if len(empty):
            raise ValueError(f"every segment must have a pixel, but segment {empty[0]} has none")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.segments.shape[0], self.segments.shape[1]

    def areas(self) -> NDArray[np.int64]:
        """Return the number of pixels of each segment, (S,) int64."""
        counts = np.bincount(self.segments.ravel() + 1, minlength=len(self.classes) + 1)
        return counts[1:].astype(np.int64, copy=False)

    def semantic(self) -> NDArray[np.int64]:
        """Return the class of each pixel, (h, w) int64, `VOID` where there is no segment."""
        # Index -1 reads the appended last entry.
        return np.append(self.classes, VOID)[self.segments]


def compact(segments: ArrayLike, classes: ArrayLike, is_crowd: ArrayLike | None = None) -> PanopticLabels:
    """Make a labeling of a segment map that may lack some of its segments, as a cropped one does.

    Args:
        segments: (h, w) integer, values in [-1, S).
        classes: (S,) integer.
        is_crowd: (S,) bool, by default all False.

    Returns:
        The labeling without the segments that have no pixel; the others are renumbered in their order.

    Raises:
        ValueError: on a wrong shape or dtype, or an index out of range.
    """
    segments, classes = _checked(segments, classes)
    is_crowd = _checked_crowd(is_crowd, len(classes))
    occurs = np.bincount(segments.ravel() + 1, minlength=len(classes) + 1)[1:] > 0
    return _keep(segments, classes, is_crowd, occurs)


def from_solution(labels: ArrayLike, segments: ArrayLike, shape: tuple[int, int]) -> PanopticLabels:
    """Lay an AMWC or MWC solution out on the image whose pixels, row by row, are the graph's nodes.

    Args:
        labels: (n,) integer, the class of each node.
        segments: (n,) integer, the segment of each node, contiguous from 0.
        shape: height and width in pixels, with h·w = n.

    Returns:
        The labeling, with the segments' numbers unchanged.

    Raises:
        ValueError: where the lengths do not fit, or one segment holds nodes of two classes.
    """
    labels, segments = as_array("labels", labels), as_array("segments", segments)
    h, w = shape
    for name, array in (("labels", labels), ("segments", segments)):
        if array.shape != (h * w,) or array.dtype.kind not in "iu":
            raise ValueError(f"{name} must be integers of shape {(h * w,)}, got {described(array)}")
        if array.size and (array.min() < 0 or array.max() >= 1 << 31):
            raise ValueError(f"{name} must lie in [0, 2**31), got [{array.min()}, {array.max()}]")
    count = int(segments.max(initial=-1)) + 1
    if count > segments.size:
        raise ValueError(f"segments must be contiguous from 0, got {count - 1} for {segments.size} nodes")
    classes = np.zeros(count, dtype=np.int64)
    classes[segments] = labels
    mixed = classes[segments] != labels
    if mixed.any():
        raise ValueError(f"segment {segments[mixed][0]} holds nodes of more than one class")
    return PanopticLabels(segments.reshape(h, w), classes)


def reject_small(
    labels: PanopticLabels, is_thing: ArrayLike, thing_area: float, stuff_area: float
) -> PanopticLabels:
    """Turn segments below the area threshold of their kind into void (paper, Section 3.3.2).

    Args:
        labels: the labeling.
        is_thing: (K,) bool, True for the classes that have instances.
        thing_area: the least area of a thing segment, in pixels of this labeling.
        stuff_area: the least area of a stuff segment, in pixels of this labeling.

    Returns:
        The labeling of the remaining segments, renumbered in their order.

    Raises:
        ValueError: where `is_thing` is not bool or shorter than the labeling's classes need.
    """
    is_thing = np.asarray(is_thing)
    if is_thing.ndim != 1 or is_thing.dtype != bool:
        raise ValueError(f"is_thing must be a (K,) bool array, got {described(is_thing)}")
    if len(labels.classes) and labels.classes.max() >= len(is_thing):
        raise ValueError(
            f"is_thing has {len(is_thing)} entries, but labels holds class {labels.classes.max()}"
        )
    threshold = np.where(is_thing[labels.classes], thing_area, stuff_area)
    return _keep(labels.segments, labels.classes, labels.is_crowd, labels.areas() >= threshold)


def resize(labels: PanopticLabels, shape: tuple[int, int]) -> PanopticLabels:
    """Sample a labeling at the pixel centres of another resolution, nearest neighbour.

    Args:
        labels: the labeling, of height H and width W.
        shape: height h and width w of the result; its row i reads row ⌊(i + ½) H / h⌋, columns alike.

    Returns:
        The labeling of that shape; segments that no sample hits are dropped and the others renumbered.

    Raises:
        ValueError: where either shape is empty.
    """
    if min(*shape, *labels.shape) < 1:
        raise ValueError(f"cannot resize {labels.shape} to {shape}: both need at least one pixel")
    rows, columns = (nearest(to, side) for to, side in zip(shape, labels.shape, strict=True))
    return compact(labels.segments[rows[:, None], columns], labels.classes, labels.is_crowd)


def nearest(to: int, side: int) -> NDArray[np.int64]:
    """Rows (to,) of an image of ``side`` rows that one of ``to`` rows reads, as in :func:`resize`."""
    return (2 * np.arange(to) + 1) * side // (2 * to)


def _checked(segments: ArrayLike, classes: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    segments, classes = as_array("segments", segments), as_array("classes", classes)
    if classes.size == 0:
        classes = classes.astype(np.int64)  # np.asarray([]) is floating
    if segments.ndim != 2 or segments.dtype.kind not in "iu":
        raise ValueError(f"segments must be an (h, w) integer array, got {described(segments)}")
    if classes.ndim != 1 or classes.dtype.kind not in "iu":
        raise ValueError(f"classes must be an (S,) integer array, got {described(classes)}")
    if segments.size and (segments.min() < VOID or segments.max() >= len(classes)):
        raise ValueError(
            f"segments must lie in [-1, {len(classes) - 1}] for {len(classes)} classes, "
            f"got [{segments.min()}, {segments.max()}]"
        )
    if classes.size and (classes.min() < 0 or classes.max() >= 1 << 31):
        wrong = classes[(classes < 0) | (classes >= 1 << 31)][0]
        raise ValueError(f"classes must lie in [0, 2**31), got {wrong}")
    return segments.astype(np.int32, copy=False), classes.astype(np.int64, copy=False)


def _checked_crowd(is_crowd: ArrayLike | None, count: int) -> NDArray[np.bool_]:
    crowd = np.zeros(count, dtype=bool) if is_crowd is None else as_array("is_crowd", is_crowd)
    if crowd.size == 0:
        crowd = crowd.astype(bool)
    if crowd.dtype != bool or crowd.shape != (count,):
        raise ValueError(f"is_crowd must be bool of the shape of classes, {(count,)}, got {described(crowd)}")
    return crowd


def _keep(
    segments: NDArray[Any], classes: NDArray[Any], is_crowd: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> PanopticLabels:
    # The appended entry is what VOID (-1) reads.
    renumbered = np.append(np.where(kept, np.cumsum(kept) - 1, VOID), VOID).astype(np.int32)
    return PanopticLabels(renumbered[segments], classes[kept], is_crowd[kept])


def described(array: NDArray[Any]) -> str:
    return f"shape {array.shape}, dtype {array.dtype}"
