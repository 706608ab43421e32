"""One labelled image, and how it is made ready for the network: shrunk, augmented, normalised."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from difflayers.panoptic.labels import VOID, PanopticLabels, compact, resize

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Category(NamedTuple):
    """One class: its id in COCO files, its name, whether it has instances, its colour (R, G, B)."""

    id: int
    name: str
    is_thing: bool
    color: tuple[int, int, int]


class Sample(NamedTuple):
    """An image (H, W, 3) uint8, its panoptic labels at the same size, and a name for messages and files."""

    image: np.ndarray
    labels: PanopticLabels
    name: str


def augment(
    sample: Sample,
    size: tuple[int, int],
    generator: np.random.Generator,
    scale: tuple[float, float] = (0.75, 1.5),
) -> Sample:
    """Scale, crop and mirror a sample at random, image and labels alike.

    Args:
        sample: the sample; it is not changed.
        size: (height, width) of the result in pixels.
        generator: source of the randomness.
        scale: the factor on the sample's own size is drawn uniformly between these two.

    Returns:
        A sample of the given size. Where the scaled image is smaller than that, the rest is void and has the
        image's mean colour.
    """
    factor = generator.uniform(*scale)
    height, width = (max(1, round(factor * side)) for side in sample.image.shape[:2])
    scaled = _resized(sample, (height, width))
    # The same draw serves both cases: where to cut out of a large image, where to put a small one.
    top, left = (
        int(generator.integers(min(0, have - want), max(0, have - want) + 1))
        for have, want in zip((height, width), size, strict=True)
    )
    result = _window(scaled, top, left, size)
    if generator.random() < 0.5:
        labels = result.labels
        mirrored = PanopticLabels(labels.segments[:, ::-1], labels.classes, labels.is_crowd)
        return Sample(result.image[:, ::-1], mirrored, sample.name)
    return result


def shrink(sample: Sample, max_side: int | None) -> Sample:
    """Scale a sample down to a longest side of `max_side` pixels; None keeps its resolution."""
    image = shrink_image(sample.image, max_side)
    return Sample(image, resize(sample.labels, (image.shape[0], image.shape[1])), sample.name)


def shrink_image(image: np.ndarray, max_side: int | None) -> np.ndarray:
    """Scale an image (H, W, 3) uint8 down as `shrink` does."""
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    factor = max_side / max(height, width)
    shape = max(1, round(factor * width)), max(1, round(factor * height))
    return np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR))


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Turn (H, W, 3) uint8 into (3, H, W) float32, normalised by ImageNet's mean and deviation."""
    values = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(triple).view(3, 1, 1) for triple in (IMAGENET_MEAN, IMAGENET_STD))
    return ((values - mean) / std).contiguous()


def _resized(sample: Sample, shape: tuple[int, int]) -> Sample:
    if shape == sample.image.shape[:2]:
        return sample
    image = Image.fromarray(sample.image).resize(shape[::-1], Image.Resampling.BILINEAR)
    return Sample(np.asarray(image), resize(sample.labels, shape), sample.name)


def _window(sample: Sample, top: int, left: int, size: tuple[int, int]) -> Sample:
    """Cut out the window whose corner is (top, left), which may lie outside: there is padding."""
    height, width = sample.image.shape[:2]
    if (top, left, *size) == (0, 0, height, width):
        return sample
    image = np.empty((*size, 3), dtype=np.uint8)
    image[:] = sample.image.mean(axis=(0, 1)).round().astype(np.uint8)
    segments = np.full(size, VOID, dtype=np.int32)
    rows = slice(max(0, top), min(height, top + size[0]))
    columns = slice(max(0, left), min(width, left + size[1]))
    inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    image[inside] = sample.image[rows, columns]
    segments[inside] = sample.labels.segments[rows, columns]
    return Sample(image, compact(segments, sample.labels.classes, sample.labels.is_crowd), sample.name)
