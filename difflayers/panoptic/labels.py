"""Panoptic labelings: every pixel belongs to one segment or to none, every segment has one class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

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


def encode_ids(ids: ArrayLike) -> NDArray[np.uint8]:
    """Write segment ids as colours, id = R + 256 G + 65536 B.

    Args:
        ids: (h, w) integer in [0, 2²⁴).

    Returns:
        (h, w, 3) uint8.

    Raises:
        ValueError: on another shape or dtype, or an id that three bytes cannot hold.
    """
    ids = as_array("ids", ids)
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise ValueError(f"ids must be an (h, w) integer array, got {_describe(ids)}")
    if ids.size and (ids.min() < 0 or ids.max() >= 1 << 24):
        raise ValueError(f"ids must lie in [0, 2**24), got [{ids.min()}, {ids.max()}]")
    ids = ids.astype(np.uint32)
    return np.stack([ids & 255, (ids >> 8) & 255, ids >> 16], axis=-1).astype(np.uint8)


def decode_ids(rgb: ArrayLike) -> NDArray[np.int32]:
    """Read segment ids from colours, id = R + 256 G + 65536 B.

    Args:
        rgb: (h, w, 3) uint8.

    Returns:
        (h, w) int32.

    Raises:
        ValueError: on another shape or dtype.
    """
    rgb = as_array("rgb", rgb)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"rgb must be an (h, w, 3) uint8 array, got {_describe(rgb)}")
    channels = rgb.astype(np.int32)
    return channels[..., 0] + (channels[..., 1] << 8) + (channels[..., 2] << 16)


def from_coco(
    rgb: ArrayLike, segments_info: Sequence[Mapping[str, Any]], category_ids: Sequence[int]
) -> PanopticLabels:
    """Read one image of a COCO-panoptic data set.

    The three inconsistencies below are errors, as the official evaluator has them for predictions; areas are
    counted in the image, the `area` of `segments_info` is not read.

    Args:
        rgb: (h, w, 3) uint8, the panoptic PNG; id 0 is void.
        segments_info: the annotation's list of dicts, of which `id`, `category_id` and `iscrowd` (0 where
            absent) are read.
        category_ids: (K,), the COCO category id of each class index.

    Returns:
        The labeling; segments in the order of `segments_info`.

    Raises:
        ValueError: on an unknown category, an id in the image that `segments_info` does not name, an id in
            `segments_info` that has no pixel, and an id named twice.
    """
    listed = as_array("category_ids", category_ids)
    if listed.ndim != 1 or listed.dtype.kind not in "iu":
        raise ValueError(f"category_ids must be a list of integers, got {_describe(listed)}")
    class_of = {int(category): index for index, category in enumerate(listed)}
    if len(class_of) != len(listed):
        raise ValueError("category_ids must be distinct")
    pixel_ids = decode_ids(rgb)
    ids = np.array([0, *(int(info["id"]) for info in segments_info)], dtype=np.int64)
    for info in segments_info:
        if int(info["category_id"]) not in class_of:
            raise ValueError(
                f"segments_info gives segment {info['id']} the category {info['category_id']}, "
                "which category_ids does not list"
            )
    order = np.argsort(ids)
    repeated = np.flatnonzero(np.diff(ids[order]) == 0)
    if len(repeated):
        duplicate = ids[order][repeated[0]]
        raise ValueError(
            "segments_info uses id 0, which is void"
            if duplicate == 0
            else f"segments_info names segment {duplicate} twice"
        )
    position = np.minimum(np.searchsorted(ids[order], pixel_ids), len(ids) - 1)
    unknown = ids[order][position] != pixel_ids
    if unknown.any():
        raise ValueError(f"rgb holds segment id {pixel_ids[unknown][0]}, which segments_info does not name")
    segments = (order - 1).astype(np.int32)[position]
    occurs = np.bincount(segments.ravel() + 1, minlength=len(ids)) > 0
    if not occurs[1:].all():
        raise ValueError(f"segments_info names segment {ids[1:][~occurs[1:]][0]}, which has no pixel in rgb")
    return PanopticLabels(
        segments,
        np.array([class_of[int(info["category_id"])] for info in segments_info], dtype=np.int64),
        np.array([bool(info.get("iscrowd", 0)) for info in segments_info], dtype=bool),
    )


def to_coco(
    labels: PanopticLabels, category_ids: Sequence[int]
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """Write a labeling as COCO-panoptic image and annotation.

    Args:
        labels: the labeling; its segment s gets the id s + 1, void the id 0.
        category_ids: (K,), the COCO category id of each class index.

    Returns:
        (h, w, 3) uint8, and `segments_info`: for each segment a dict of plain Python values with `id`,
        `category_id`, `area` in pixels, `bbox` [x, y, width, height] and `iscrowd`.

    Raises:
        ValueError: where a segment's class has no category id.
    """
    if len(labels.classes) and labels.classes.max() >= len(category_ids):
        raise ValueError(
            f"category_ids has {len(category_ids)} entries, but labels holds class {labels.classes.max()}"
        )
    ids = labels.segments + 1
    areas = labels.areas()
    boxes = ndimage.find_objects(ids, max_label=len(labels.classes)) if len(labels.classes) else []
    segments_info = [
        {
            "id": segment + 1,
            "category_id": int(category_ids[labels.classes[segment]]),
            "area": int(areas[segment]),
            "bbox": [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start],
            "iscrowd": int(labels.is_crowd[segment]),
        }
        for segment, (rows, columns) in enumerate(boxes)
    ]
    return encode_ids(ids), segments_info


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
    labels, segments = np.asarray(labels), np.asarray(segments)
    h, w = shape
    if labels.shape != (h * w,) or segments.shape != (h * w,):
        raise ValueError(
            f"labels has shape {labels.shape} and segments {segments.shape}, "
            f"but shape {(h, w)} has {h * w} pixels"
        )
    classes = np.zeros(segments.max() + 1 if segments.size else 0, dtype=np.int64)
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
        raise ValueError(f"is_thing must be a (K,) bool array, got {_describe(is_thing)}")
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
        raise ValueError(f"segments must be an (h, w) integer array, got {_describe(segments)}")
    if classes.ndim != 1 or classes.dtype.kind not in "iu":
        raise ValueError(f"classes must be an (S,) integer array, got {_describe(classes)}")
    if segments.size and (segments.min() < VOID or segments.max() >= len(classes)):
        raise ValueError(
            f"segments must lie in [-1, {len(classes) - 1}] for {len(classes)} classes, "
            f"got [{segments.min()}, {segments.max()}]"
        )
    if classes.size and classes.min() < 0:
        raise ValueError(f"classes must be non-negative, got {classes.min()}")
    return segments.astype(np.int32, copy=False), classes.astype(np.int64, copy=False)


def _checked_crowd(is_crowd: ArrayLike | None, count: int) -> NDArray[np.bool_]:
    crowd = np.zeros(count, dtype=bool) if is_crowd is None else as_array("is_crowd", is_crowd)
    if crowd.size == 0:
        crowd = crowd.astype(bool)
    if crowd.dtype != bool or crowd.shape != (count,):
        raise ValueError(f"is_crowd must be bool of the shape of classes, {(count,)}, got {_describe(crowd)}")
    return crowd


def _keep(
    segments: NDArray[Any], classes: NDArray[Any], is_crowd: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> PanopticLabels:
    # The appended entry is what VOID (-1) reads.
    renumbered = np.append(np.where(kept, np.cumsum(kept) - 1, VOID), VOID).astype(np.int32)
    return PanopticLabels(renumbered[segments], classes[kept], is_crowd[kept])


def _describe(array: NDArray[Any]) -> str:
    return f"shape {array.shape}, dtype {array.dtype}"
