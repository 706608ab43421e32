"""Centres of things: targets of the votes, their loss, and the segments that follow from votes.

After Panoptic-DeepLab (Cheng et al., CVPR 2020). Numbers without another reason are from that paper.
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from difflayers.panoptic import PanopticLabels
from examples.cops.data.batches import STRIDE

HEATMAP_WEIGHT, OFFSET_WEIGHT = 200.0, 0.01  # of the mean squared and the L1 loss, the latter in image pixels
SPREAD = 8.0 / sqrt(200.0)  # σ of a centre: 8 pixels where the smallest thing has 200 (Cityscapes)
NEIGHBOURHOOD = 3  # a centre is the highest in so many pixels of the map; the paper has 7 pixels of the image
THRESHOLD, MOST = 0.1, 200  # a centre is higher than this; the highest ones count


class Votes(NamedTuple):
    """The heatmap of centres (B, h, w), and offsets (B, 2, h, w) down and right in pixels of the map."""

    heatmap: Tensor
    offsets: Tensor


class CentreTargets(NamedTuple):
    """What the head should say of one image.

    Attributes:
        heatmap: (h, w), 1 at the centre of mass of a thing, falling off as a Gaussian.
        offsets: (2, h, w), from each pixel of a thing down and right to its centre; 0 elsewhere.
        known: (h, w) bool, False on void and crowds, where the heatmap does not count.
        things: (h, w) bool, the pixels whose offsets count.
    """

    heatmap: Tensor
    offsets: Tensor
    known: Tensor
    things: Tensor


def centre_targets(labels: PanopticLabels, is_thing: np.ndarray, sigma: float) -> CentreTargets:
    """Targets at the resolution of the labels; sigma of the Gaussian is in their pixels."""
    known = ~np.append(labels.is_crowd, True)[labels.segments]  # the appended entry is what VOID (-1) reads
    rows, columns = np.indices(labels.shape)
    heatmap, offsets = np.zeros(labels.shape), np.zeros((2, *labels.shape))
    things = np.zeros(labels.shape, dtype=bool)
    for segment in np.flatnonzero(is_thing[labels.classes] & ~labels.is_crowd):
        inside = labels.segments == segment
        centre = rows[inside].mean(), columns[inside].mean()
        offsets[:, inside] = np.stack([centre[0] - rows[inside], centre[1] - columns[inside]])
        # Around the nearest pixel, so that one is higher than its neighbours.
        distance = (rows - np.rint(centre[0])) ** 2 + (columns - np.rint(centre[1])) ** 2
        heatmap = np.maximum(heatmap, np.exp(-distance / (2 * sigma**2)))
        things |= inside
    arrays = (heatmap.astype(np.float32), offsets.astype(np.float32), known, things)
    return CentreTargets(*(torch.from_numpy(array) for array in arrays))


def voting_loss(votes: Votes, targets: Sequence[CentreTargets]) -> tuple[Tensor, dict[str, float]]:
    """The loss on a batch and its two parts, unweighted, for the log."""
    device = votes.heatmap.device
    truth = CentreTargets(*(torch.stack(values).to(device) for values in zip(*targets, strict=True)))
    squared = (votes.heatmap - truth.heatmap).square()[truth.known]
    absolute = (votes.offsets - truth.offsets).abs().sum(1)[truth.things]
    heatmap = squared.sum() / max(1, squared.numel())
    offsets = STRIDE * absolute.sum() / max(1, absolute.numel())
    total = HEATMAP_WEIGHT * heatmap + OFFSET_WEIGHT * offsets
    return total, {"heatmap": heatmap.item(), "offsets": offsets.item()}


def centres(heatmap: Tensor) -> Tensor:
    """Rows and columns (C, 2) of the local maxima of a heatmap (h, w).

    If no maximum is above the threshold, the highest point is the only centre: every thing pixel needs one.
    """
    highest = F.max_pool2d(heatmap[None], NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2)[0]
    peaks = torch.where((heatmap == highest) & (heatmap > THRESHOLD), heatmap, -torch.inf).flatten()
    found = peaks.topk(min(MOST, peaks.numel()))
    chosen = found.indices[found.values > -torch.inf].sort().values
    if not len(chosen):
        chosen = heatmap.argmax()[None]
    return torch.stack([chosen // heatmap.shape[1], chosen % heatmap.shape[1]], 1)


def group(
    classes: Tensor, heatmap: Tensor, offsets: Tensor, is_thing: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and segments of the pixels, row by row, as an AMWC solution has them.

    Args:
        classes: (h, w) int64, the likeliest class of each pixel.
        heatmap: (h, w).
        offsets: (2, h, w).
        is_thing: (K,) bool.

    Returns:
        Labels and segments, (h·w,) each: a stuff class is one segment, and so are the thing pixels that vote
        for one centre; these get the class that most of them have.
    """
    count = len(is_thing)
    things = torch.from_numpy(is_thing)[classes]
    votes = things.nonzero() + offsets[:, things].T
    nearest = torch.cdist(votes, centres(heatmap).to(votes.dtype)).argmin(1).numpy()
    labels, inside = classes.flatten().numpy().copy(), things.flatten().numpy()
    classes_at_centre = np.bincount(
        nearest * count + labels[inside], minlength=count * (nearest.max(initial=0) + 1)
    )
    labels[inside] = classes_at_centre.reshape(-1, count).argmax(1)[nearest]
    number = labels.copy()
    number[inside] = count + nearest
    return labels, np.unique(number, return_inverse=True)[1]
