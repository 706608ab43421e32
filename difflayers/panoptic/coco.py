"""Panoptic labels as images and annotations of the COCO panoptic format (Kirillov et al. 2019)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from difflayers._arguments import as_array
from difflayers.panoptic.labels import PanopticLabels, described

_IDS = 1 << 24  # the number of ids that three bytes can hold


def encode_ids(ids: ArrayLike) -> NDArray[np.uint8]:
    """Write segment ids as colours, id = R + 256 G + 65536 B.

    Args:
        ids: (h, w) integer in [0, 2²⁴).

    Returns:
        (h, w, 3) uint8.

    Raises:
        ValueError: if `ids` has another shape or dtype, or holds an id that does not fit into three bytes.

    Examples:
        >>> from difflayers import panoptic
        >>> panoptic.encode_ids([[0, 1, 258]]).tolist()
        [[[0, 0, 0], [1, 0, 0], [2, 1, 0]]]
    """
    ids = as_array("ids", ids)
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise ValueError(f"ids must be an (h, w) integer array, got {described(ids)}")
    if ids.size and (ids.min() < 0 or ids.max() >= _IDS):
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
        ValueError: if `rgb` has another shape or dtype.

    Examples:
        >>> import numpy as np
        >>> from difflayers import panoptic
        >>> panoptic.decode_ids(np.array([[[2, 1, 0]]], dtype=np.uint8)).tolist()
        [[258]]
    """
    rgb = as_array("rgb", rgb)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"rgb must be an (h, w, 3) uint8 array, got {described(rgb)}")
    channels = rgb.astype(np.int32)
    return channels[..., 0] + (channels[..., 1] << 8) + (channels[..., 2] << 16)


def from_coco(
    rgb: ArrayLike, segments_info: Sequence[Mapping[str, Any]], category_ids: Sequence[int]
) -> PanopticLabels:
    """Read one image of a COCO-panoptic data set.

    An annotation that contradicts its image is an error, as in the official evaluation of predictions. Areas
    are counted in the image; the `area` of `segments_info` is not read.

    Args:
        rgb: (h, w, 3) uint8, the panoptic PNG; id 0 is void.
        segments_info: the annotation's list of dicts. `id`, `category_id` and `iscrowd` are read; a missing
            `iscrowd` is 0.
        category_ids: (K,) distinct integers, the COCO category id of each class index.

    Returns:
        The labeling, with its segments in the order of `segments_info`.

    Raises:
        ValueError: if an entry lacks an id or a category, or one of the three is no integer; if a category is
            not in `category_ids`; if an id is 0, occurs twice or has no pixel; if `rgb` holds an id that
            `segments_info` does not name.

    Examples:
        >>> from difflayers import panoptic
        >>> rgb = panoptic.encode_ids([[7, 7, 300]])
        >>> info = [{"id": 300, "category_id": 21}, {"id": 7, "category_id": 1, "iscrowd": 0}]
        >>> labels = panoptic.from_coco(rgb, info, category_ids=[1, 21])
        >>> labels.segments.tolist(), labels.classes.tolist()
        ([[1, 1, 0]], [1, 0])
    """
    class_of = {category: index for index, category in enumerate(_checked_categories(category_ids))}
    pixel_ids = decode_ids(rgb)
    for index, info in enumerate(segments_info):
        if not isinstance(info, Mapping):
            raise ValueError(f"segments_info[{index}] must be a dict, got {info!r}")
    ids = np.array([0, *(_read(info, "id", i, _IDS) for i, info in enumerate(segments_info))], dtype=np.int64)
    categories = [_read(info, "category_id", index) for index, info in enumerate(segments_info)]
    is_crowd = [_read(info, "iscrowd", i, 2, default=0) == 1 for i, info in enumerate(segments_info)]
    for segment, category in zip(ids[1:], categories, strict=True):
        if category not in class_of:
            raise ValueError(
                f"segments_info gives segment {segment} the category {category}, "
                "which category_ids does not list"
            )
    order = np.argsort(ids, kind="stable")
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
    classes = np.array([class_of[category] for category in categories], dtype=np.int64)
    return PanopticLabels(segments, classes, np.array(is_crowd, dtype=bool))


def to_coco(
    labels: PanopticLabels, category_ids: Sequence[int]
) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """Write a labeling as COCO-panoptic image and annotation.

    Args:
        labels: the labeling of an image. Its segment s gets the id s + 1, and void gets the id 0.
        category_ids: (K,) distinct integers, the COCO category id of each class index.

    Returns:
        (h, w, 3) uint8, and `segments_info`: for each segment a dict of plain Python values with `id`,
        `category_id`, `area` in pixels, `bbox` [x, y, width, height] and `iscrowd`.

    Raises:
        ValueError: if the labeling is not that of an image, or the class of a segment has no category id.

    Examples:
        >>> from difflayers import panoptic
        >>> labels = panoptic.PanopticLabels([[0, 0, 1]], classes=[1, 0])
        >>> rgb, info = panoptic.to_coco(labels, category_ids=[1, 21])
        >>> info[0]
        {'id': 1, 'category_id': 21, 'area': 2, 'bbox': [0, 0, 2, 1], 'iscrowd': 0}
    """
    categories = _checked_categories(category_ids)
    if len(labels.classes) and labels.classes.max() >= len(categories):
        raise ValueError(
            f"category_ids has {len(categories)} entries, but labels holds class {labels.classes.max()}"
        )
    if len(labels.shape) != 2:
        raise ValueError(f"labels must be of an image (h, w), got shape {labels.shape}")
    ids = labels.segments + 1
    areas = labels.areas()
    boxes = ndimage.find_objects(ids, max_label=len(labels.classes)) if len(labels.classes) else []
    segments_info = [
        {
            "id": segment + 1,
            "category_id": categories[labels.classes[segment]],
            "area": int(areas[segment]),
            "bbox": [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start],
            "iscrowd": int(labels.is_crowd[segment]),
        }
        for segment, (rows, columns) in enumerate(boxes)
    ]
    return encode_ids(ids), segments_info


def _checked_categories(category_ids: Sequence[int]) -> list[int]:
    listed = as_array("category_ids", category_ids)
    if listed.size == 0:
        listed = listed.astype(np.int64)
    if listed.ndim != 1 or listed.dtype.kind not in "iu":
        raise ValueError(f"category_ids must be a list of integers, got {described(listed)}")
    categories: list[int] = listed.tolist()
    if len(set(categories)) != len(categories):
        raise ValueError("category_ids must be distinct")
    return categories


def _read(
    info: Mapping[str, Any], key: str, index: int, below: int | None = None, default: int | None = None
) -> int:
    """Read an integer of an annotation; other values are refused by name."""
    value = info.get(key, default)
    name = f"segments_info[{index}][{key!r}]"
    is_flag = below == 2 and isinstance(value, bool | np.bool_)
    if not is_flag and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
        raise ValueError(f"{name} must be an integer, got {value!r}")
    if below is not None and not 0 <= value < below:
        raise ValueError(f"{name} must lie in [0, {below}), got {value!r}")
    return int(value)
