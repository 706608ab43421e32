"""Panoptic labelings: every pixel belongs to one segment or to none, and every segment has one class."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from difflayers._arguments import as_array

VOID = -1
"""The segment, and the class, of a pixel that belongs to nothing."""


@dataclass(frozen=True, eq=False)
class PanopticLabels:
    """A panoptic labeling of an image (h, w), of a volume (d, h, w) or of a cloud of n points (n,).

    Args:
        segments: integers of the shape of the image: the index of each pixel's segment, `VOID` (-1) for a
            pixel without one; stored as int32.
        classes: (S,) integer, the class index of each segment; stored as int64.
        is_crowd: (S,) bool, True for a region of several instances that are not told apart; by default none.

    Raises:
        ValueError: on a wrong shape or dtype, an index out of range, or a segment without pixels.

    Examples:
        >>> from difflayers import panoptic
        >>> labels = panoptic.PanopticLabels([[0, 0, 1], [0, -1, 1]], classes=[2, 0])
        >>> labels.areas().tolist(), labels.semantic().tolist()
        ([3, 2], [[2, 2, 0], [2, -1, 0]])
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
    def shape(self) -> tuple[int, ...]:
        """Shape in pixels: height and width of an image."""
        return self.segments.shape

    def areas(self) -> NDArray[np.int64]:
        """Return the number of pixels of each segment, (S,) int64."""
        counts = np.bincount(self.segments.ravel() + 1, minlength=len(self.classes) + 1)
        return counts[1:].astype(np.int64, copy=False)

    def semantic(self) -> NDArray[np.int64]:
        """Return the class of each pixel, int64 of the labeling's shape; `VOID` without a segment."""
        # Index -1 reads the appended last entry.
        return np.append(self.classes, VOID)[self.segments]


def compact(segments: ArrayLike, classes: ArrayLike, is_crowd: ArrayLike | None = None) -> PanopticLabels:
    """Make a labeling of a segment map that may lack some of its segments, as a cropped map does.

    Args:
        segments: integers in [-1, S), of the shape of the image.
        classes: (S,) integer.
        is_crowd: (S,) bool, by default all False.

    Returns:
        The labeling without the segments that have no pixel. The others are renumbered in their order.

    Raises:
        ValueError: on a wrong shape or dtype, or an index out of range.

    Examples:
        >>> from difflayers import panoptic
        >>> labels = panoptic.compact([[0, 2, 2]], classes=[5, 6, 7])
        >>> labels.segments.tolist(), labels.classes.tolist()
        ([[0, 1, 1]], [5, 7])
    """
    segments, classes = _checked(segments, classes)
    is_crowd = _checked_crowd(is_crowd, len(classes))
    occurs = np.bincount(segments.ravel() + 1, minlength=len(classes) + 1)[1:] > 0
    return _keep(segments, classes, is_crowd, occurs)


def from_maps(classes: ArrayLike, instances: ArrayLike, is_thing: ArrayLike) -> PanopticLabels:
    """Make a labeling from a map of classes and a map of instances.

    Pixels of one thing class with the same instance number are a segment. All pixels of a stuff class are one
    segment; their instance numbers are not read.

    Args:
        classes: integers of any shape, the class of each pixel; `VOID` (-1) for no class.
        instances: integers of the same shape.
        is_thing: (K,) bool, True for the classes that have instances.

    Returns:
        The labeling, with its segments in the order of class and instance number.

    Raises:
        ValueError: on shapes or dtypes that do not fit, or a class outside [-1, K).

    Examples:
        >>> from difflayers import panoptic
        >>> labels = panoptic.from_maps([0, 0, 1, 1, 1, -1], [0, 0, 8, 8, 9, 0], is_thing=[False, True])
        >>> labels.segments.tolist(), labels.classes.tolist()
        ([0, 0, 1, 1, 2, -1], [0, 1, 1])
    """
    classes, instances, things = (
        as_array("classes", classes),
        as_array("instances", instances),
        _things(is_thing),
    )
    for name, array in (("classes", classes), ("instances", instances)):
        if array.ndim == 0 or array.shape != classes.shape or array.dtype.kind not in "iu":
            raise ValueError(f"{name} must be integers of shape {classes.shape}, got {described(array)}")
    if classes.size and (classes.min() < VOID or classes.max() >= len(things)):
        raise ValueError(
            f"classes must lie in [-1, {len(things) - 1}] for {len(things)} classes, "
            f"got [{classes.min()}, {classes.max()}]"
        )
    classes = classes.astype(np.int64)
    known = classes != VOID
    numbers = np.unique(instances, return_inverse=True)[1].reshape(classes.shape)
    pair = classes * (numbers.max(initial=0) + 1) + np.where(things[classes], numbers, 0)
    segments = np.full(classes.shape, VOID, np.int32)
    _, first, inverse = np.unique(pair[known], return_index=True, return_inverse=True)
    segments[known] = inverse.ravel()
    return PanopticLabels(segments, classes[known][first])


def from_solution(labels: ArrayLike, segments: ArrayLike, shape: tuple[int, ...]) -> PanopticLabels:
    """Lay an AMWC or MWC solution out on the image whose pixels, row by row, are the nodes of the graph.

    Args:
        labels: (n,) integer, the class of each node.
        segments: (n,) integer, the segment of each node, contiguous from 0.
        shape: shape of the image in pixels, whose product is n.

    Returns:
        The labeling, with the numbers of the segments unchanged.

    Raises:
        ValueError: if the lengths do not fit, if a number is negative or too large, or if one segment holds
            nodes of two classes.

    Examples:
        >>> from difflayers import panoptic
        >>> labels = panoptic.from_solution([4, 4, 3, 3], [0, 0, 1, 1], shape=(2, 2))
        >>> labels.segments.tolist(), labels.classes.tolist()
        ([[0, 0], [1, 1]], [4, 3])
    """
    labels, segments = as_array("labels", labels), as_array("segments", segments)
    for name, array in (("labels", labels), ("segments", segments)):
        if array.shape != (math.prod(shape),) or array.dtype.kind not in "iu":
            raise ValueError(
                f"{name} must be integers of shape {(math.prod(shape),)}, got {described(array)}"
            )
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
    return PanopticLabels(segments.reshape(shape), classes)


def reject_small(
    labels: PanopticLabels, is_thing: ArrayLike, thing_area: float, stuff_area: float
) -> PanopticLabels:
    """Turn segments below the area threshold of their kind into void (COPS, Section 3.3.2).

    Args:
        labels: the labeling.
        is_thing: (K,) bool, True for the classes that have instances.
        thing_area: the least area of a thing segment, in pixels of this labeling.
        stuff_area: the least area of a stuff segment, in pixels of this labeling.

    Returns:
        The labeling of the remaining segments, renumbered in their order.

    Raises:
        ValueError: if `is_thing` is not bool, or has fewer entries than the labeling has classes.

    Examples:
        >>> from difflayers import panoptic
        >>> labels = panoptic.PanopticLabels([[0, 0, 1, 2]], classes=[0, 0, 1])
        >>> kept = panoptic.reject_small(labels, is_thing=[True, False], thing_area=2, stuff_area=1)
        >>> kept.segments.tolist(), kept.classes.tolist()
        ([[0, 0, -1, 1]], [0, 1])
    """
    things = _things(is_thing)
    if len(labels.classes) and labels.classes.max() >= len(things):
        raise ValueError(f"is_thing has {len(things)} entries, but labels holds class {labels.classes.max()}")
    threshold = np.where(things[labels.classes], thing_area, stuff_area)
    return _keep(labels.segments, labels.classes, labels.is_crowd, labels.areas() >= threshold)


def resize(labels: PanopticLabels, shape: tuple[int, ...]) -> PanopticLabels:
    """Sample a labeling at the pixel centres of another resolution, nearest neighbour.

    Args:
        labels: the labeling, of height H and width W.
        shape: height h and width w of the result. Its row i reads row ⌊(i + ½) H / h⌋, its columns likewise.

    Returns:
        The labeling of that shape. Segments that no sample hits are dropped, and the others renumbered.

    Raises:
        ValueError: if one of the shapes is empty, or if they have different numbers of axes.

    Examples:
        >>> from difflayers import panoptic
        >>> labels = panoptic.PanopticLabels([[0, 0, 1, 1]], classes=[3, 4])
        >>> panoptic.resize(labels, (2, 2)).segments.tolist()
        [[0, 1], [0, 1]]
    """
    if len(shape) != len(labels.shape) or min(*shape, *labels.shape) < 1:
        raise ValueError(
            f"cannot resize {labels.shape} to {shape}: both need as many axes and at least one pixel"
        )
    read = [_nearest(to, side) for to, side in zip(shape, labels.shape, strict=True)]
    return compact(labels.segments[np.ix_(*read)], labels.classes, labels.is_crowd)


def _nearest(to: int, side: int) -> NDArray[np.int64]:
    """Return which rows (to,) of an image of `side` rows per image of `to` rows reads, as in `resize`."""
    return (2 * np.arange(to) + 1) * side // (2 * to)


def _things(is_thing: ArrayLike) -> NDArray[np.bool_]:
    things = as_array("is_thing", is_thing)
    if things.ndim != 1 or things.dtype != bool:
        raise ValueError(f"is_thing must be a (K,) bool array, got {described(things)}")
    return things


def _checked(segments: ArrayLike, classes: ArrayLike) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    segments, classes = as_array("segments", segments), as_array("classes", classes)
    if classes.size == 0:
        classes = classes.astype(np.int64)  # np.asarray([]) is floating
    if segments.ndim == 0 or segments.dtype.kind not in "iu":
        raise ValueError(f"segments must be integers of the shape of the image, got {described(segments)}")
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
