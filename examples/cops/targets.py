"""What stage 1 learns: the class of each pixel, and which pairs a boundary parts (paper, Section 4.2)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from difflayers.panoptic import VOID, PanopticLabels

THING_EDGE_WEIGHT = 4.0  # edges with at least one end on a thing
SMALL_WEIGHT = 3.0  # pixels and edges on an instance below the small area


class Targets(NamedTuple):
    """Targets of one image at the resolution of the costs.

    Attributes:
        semantic: (h, w) int64, the class, VOID (-1) where there is none.
        semantic_weight: (h, w) float32, 0 on void.
        edges: for each distance d the pairs of pixels d apart, vertical (h - d, w) and horizontal (h, w - d);
            float32, 1 where the two lie in different segments, 0 where they lie in the same.
        edge_weights: float32 of the same structure; 0 if an end is void or in a crowd, because the
            boundaries inside a crowd are unknown.
    """

    semantic: Tensor
    semantic_weight: Tensor
    edges: list[tuple[Tensor, Tensor]]
    edge_weights: list[tuple[Tensor, Tensor]]


class BatchTargets(NamedTuple):
    """Targets of a batch, a single tensor of each kind.

    A process that reads hands each tensor over through a file handle of its own, of which there are few.

    Attributes:
        semantic: (B, h, w) int64.
        semantic_weight: (B, h, w) float32.
        edges: (B, E) float32, for each distance the vertical pairs row by row, then the horizontal ones.
        edge_weights: (B, E) float32.
    """

    semantic: Tensor
    semantic_weight: Tensor
    edges: Tensor
    edge_weights: Tensor


def stack_targets(targets: Sequence[Targets]) -> BatchTargets:
    """Put the targets of images of one size together."""
    return BatchTargets(
        torch.stack([target.semantic for target in targets]),
        torch.stack([target.semantic_weight for target in targets]),
        torch.stack([flat_sides(target.edges) for target in targets]),
        torch.stack([flat_sides(target.edge_weights) for target in targets]),
    )


def flat_sides(sides: Sequence[tuple[Tensor, Tensor]], start: int = 0) -> Tensor:
    """Vertical and horizontal pairs of all distances in a row; dimensions before `start` stay."""
    return torch.cat([side.flatten(start) for pair in sides for side in pair], start)


class _Pixels(NamedTuple):
    """Per pixel (h, w), what the target of a pair depends on: the segment's number, and bool flags."""

    segment: Tensor
    known: Tensor
    thing: Tensor
    small: Tensor


def stage_one_targets(
    labels: PanopticLabels,
    is_thing: np.ndarray,
    distances: Sequence[int],
    pixel_area: float = 16.0,
    small_area: float = 4096.0,
) -> Targets:
    """Compute the targets and weights of stage 1.

    Args:
        labels: the labeling at the resolution of the costs (h, w).
        is_thing: (K,) bool, which classes have instances.
        distances: of the pairs, in pixels of `labels`; one that exceeds the image gives empty tensors.
        pixel_area: pixels of the image that one pixel of `labels` stands for.
        small_area: instances below this area, in pixels of the image, weigh 3 times.

    Returns:
        The targets; a stuff class is one segment, connected or not.
    """
    # One entry per segment, and a last one that VOID = -1 looks up.
    classes = np.append(labels.classes, VOID)
    thing = np.append(is_thing[labels.classes], False)
    crowd = np.append(labels.is_crowd, True)
    small = thing & ~crowd & (np.append(labels.areas(), 0) * pixel_area < small_area)
    # All stuff segments of a class share the class's number; things come after.
    number = np.where(thing, len(is_thing) + np.arange(len(classes)), classes)

    pixels = _Pixels(
        *(torch.from_numpy(values[labels.segments]) for values in (number, ~crowd, thing, small))
    )
    weight = torch.where(pixels.small, SMALL_WEIGHT, 1.0) * torch.from_numpy(labels.segments != VOID)
    vertical = [_edges(pixels, distance, 0) for distance in distances]
    horizontal = [_edges(pixels, distance, 1) for distance in distances]
    return Targets(
        torch.from_numpy(classes[labels.segments]),
        weight,
        [(v[0], h[0]) for v, h in zip(vertical, horizontal, strict=True)],
        [(v[1], h[1]) for v, h in zip(vertical, horizontal, strict=True)],
    )


def _edges(pixels: _Pixels, distance: int, axis: int) -> tuple[Tensor, Tensor]:
    """Boundary and weight of the pairs that are `distance` apart along an axis."""
    length = pixels.segment.shape[axis]
    count, start = max(0, length - distance), min(distance, length)
    first = _Pixels(*(values.narrow(axis, 0, count) for values in pixels))
    second = _Pixels(*(values.narrow(axis, start, count) for values in pixels))
    weight = torch.where(first.thing | second.thing, THING_EDGE_WEIGHT, 1.0)
    weight = weight * torch.where(first.small | second.small, SMALL_WEIGHT, 1.0)
    return (first.segment != second.segment).float(), weight * (first.known & second.known)
