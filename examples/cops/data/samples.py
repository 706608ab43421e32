"""One labeled image, and how it is made ready for the network: shrunk, augmented, normalized."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from difflayers.panoptic import VOID, PanopticLabels, compact, resize

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MEAN_COLOUR = tuple(round(255 * value) for value in IMAGENET_MEAN)  # 0 after `to_tensor`, up to rounding


class ShortSides(NamedTuple):
    """A random scale: the shorter side becomes one of `choices`, but the longer side at most `longest`.

    None as `longest` is no limit.
    """

    choices: tuple[int, ...]
    longest: int | None


Scale = tuple[float, float] | ShortSides


class Sample(NamedTuple):
    """An image (H, W, 3) uint8, its panoptic labels at the same size, and a name for messages and files."""

    image: np.ndarray
    labels: PanopticLabels
    name: str


def augment(
    sample: Sample,
    size: tuple[int, int],
    generator: np.random.Generator,
    scale: Scale = (0.75, 1.5),
) -> Sample:
    """Scale, crop and mirror a sample at random, image and labels alike.

    Args:
        sample: the sample; it is not changed.
        size: (height, width) of the result in pixels.
        generator: source of the randomness.
        scale: the factor on the sample's own size is drawn uniformly between these two, or as `ShortSides`.

    Returns:
        A sample of the given size. If the scaled image is smaller, the rest, at the right and at the bottom
        as in inference, is void and has the mean colour of ImageNet.
    """
    factor = draw_factor(sample.image.shape[:2], scale, generator)
    height, width = (max(1, round(factor * side)) for side in sample.image.shape[:2])
    shape = height, width
    top, left = (
        int(generator.integers(max(0, have - want) + 1))
        for have, want in zip((height, width), size, strict=True)
    )
    image = _window(_resized(sample.image, shape), top, left, size)
    labels = _label_window(sample.labels, shape, top, left, size)
    if generator.random() < 0.5:
        # The image alone: the padding stays at the right.
        shown = min(size[1], width)
        columns = np.r_[shown - 1 : -1 : -1, shown : size[1]]
        image = image[:, columns]
        labels = PanopticLabels(labels.segments[:, columns], labels.classes, labels.is_crowd)
    return sample._replace(image=image, labels=labels)


def draw_factor(shape: Sequence[int], scale: Scale, generator: np.random.Generator) -> float:
    """Draw the factor on an image of this shape."""
    if not isinstance(scale, ShortSides):
        return float(generator.uniform(*scale))
    factor = int(generator.choice(scale.choices)) / min(shape)
    return factor if scale.longest is None else min(factor, scale.longest / max(shape))


def shrink(sample: Sample, max_side: int | None) -> Sample:
    """Scale a sample down to a longest side of `max_side` pixels; None keeps its resolution."""
    image = shrink_image(sample.image, max_side)
    return sample._replace(image=image, labels=resize(sample.labels, (image.shape[0], image.shape[1])))


def shrink_image(image: np.ndarray, max_side: int | None) -> np.ndarray:
    """Scale an image (H, W, 3) uint8 down as `shrink` does."""
    return _resized(image, shrunk_size(image.shape, max_side))


def shrunk_size(shape: Sequence[int], max_side: int | None) -> tuple[int, int]:
    """Height and width that an image of this shape has after `shrink_image`."""
    height, width = shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return height, width
    factor = max_side / max(height, width)
    return max(1, round(factor * height)), max(1, round(factor * width))


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Turn (H, W, 3) uint8 into (3, H, W) float32, normalized by ImageNet's mean and deviation."""
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(triple).view(3, 1, 1) for triple in (IMAGENET_MEAN, IMAGENET_STD))
    return ((values - mean) / std).contiguous()


def _resized(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if shape == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize(shape[::-1], Image.Resampling.BILINEAR))


def _window(image: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    """Cut out the window whose corner is (top, left); pixels outside the image get ImageNet's mean colour."""
    rows, columns, inside = _overlap(image.shape[:2], top, left, size)
    if inside == (slice(0, size[0]), slice(0, size[1])):
        return image[rows, columns]
    padded = np.empty((*size, 3), dtype=np.uint8)
    padded[:] = MEAN_COLOUR
    padded[inside] = image[rows, columns]
    return padded


def _label_window(
    labels: PanopticLabels, shape: tuple[int, int], top: int, left: int, size: tuple[int, int]
) -> PanopticLabels:
    """Cut the same window out of the labels, as `resize` would scale them; outside is void.

    Only the window is scaled, because most of a Cityscapes image is cut away.
    """
    rows, columns, inside = _overlap(shape, top, left, size)
    read = [
        _nearest(to, side)[part] for to, side, part in zip(shape, labels.shape, (rows, columns), strict=True)
    ]
    segments = np.full(size, VOID, dtype=np.int32)
    segments[inside] = labels.segments[read[0][:, None], read[1]]
    return compact(segments, labels.classes, labels.is_crowd)


def _nearest(to: int, side: int) -> np.ndarray:
    """Rows (to,) of an image of `side` rows that one of `to` rows reads, as `resize` does."""
    return (2 * np.arange(to) + 1) * side // (2 * to)


def _overlap(
    shape: Sequence[int], top: int, left: int, size: tuple[int, int]
) -> tuple[slice, slice, tuple[slice, slice]]:
    """Return the rows and columns of an image inside a window, and their place in the window."""
    rows = slice(max(0, top), min(shape[0], top + size[0]))
    columns = slice(max(0, left), min(shape[1], left + size[1]))
    inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    return rows, columns, inside
