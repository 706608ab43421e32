"""Panoptic quality made differentiable in the masks of the predicted segments (paper, Eq. 6)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from difflayers._arguments import as_array
from difflayers.panoptic.labels import PanopticLabels
from difflayers.panoptic.matching import match


class SegmentMasks(NamedTuple):
    """The segments predicted for one image.

    Attributes:
        masks: (J, h, w) floating in [0, 1]; may require a gradient. An empty row is no prediction.
        classes: (J,) integer, the class of each row.
    """

    masks: Tensor
    classes: Tensor | NDArray[np.integer]


class _Terms(NamedTuple):
    """What Eq. 6 adds up, each with the class it belongs to."""

    matched_classes: Tensor
    matched_iou: Tensor
    matched_presence: Tensor  # the logit of σ
    unmatched_classes: Tensor
    unmatched_presence: Tensor
    missed_classes: Tensor
    target_classes: Tensor


def soft_panoptic_quality(
    predictions: Sequence[SegmentMasks],
    targets: Sequence[PanopticLabels],
    *,
    is_thing: ArrayLike,
    thing_area: float = 200.0,
    stuff_area: float = 2048.0,
    pixel_area: float = 16.0,
) -> Tensor:
    """Return the surrogate of panoptic quality of a batch (paper, Eq. 6).

        PQ_l = Σ_TP h σ IoU / (Σ_TP h σ + ½ (Σ_FP σ + |FN|)),   h(u) = u⁴ / (u⁴ + (1 − u)⁴),
        σ(p) = sigmoid(0.1 (pixel_area · Σ p − t))

    TP are the pairs of the maximum-weight matching on IoU within each class, FP and FN what it leaves over.
    The sums run over the whole batch, as those of PQ run over a data set. The result is the mean over the
    classes, each weighed by how surely it occurs: 1 where the ground truth has it, else 1 − Π_FP (1 − σ);
    where no class occurs, the result is 1. Pixels that the target leaves void or marks as crowd count
    nowhere. Half-precision masks are computed in float32.

    Args:
        predictions: one `SegmentMasks` an image, all on one device.
        targets: one labeling an image, of the masks' height and width.
        is_thing: (K,) bool, True for the classes that have instances.
        thing_area: t of a thing class, in pixels of the full resolution.
        stuff_area: t of a stuff class, in pixels of the full resolution.
        pixel_area: pixels of the full resolution in one of the masks.

    Returns:
        A scalar in [0, 1], differentiable in every mask.

    Raises:
        ValueError: on an empty batch, on shapes, dtypes or classes that do not fit, and on masks with NaN.
    """
    is_thing = as_array("is_thing", is_thing)
    for name, area in (("thing_area", thing_area), ("stuff_area", stuff_area), ("pixel_area", pixel_area)):
        if not isinstance(area, int | float) or not math.isfinite(area):
            raise ValueError(f"{name} must be a finite number, but is {area!r}")
    if is_thing.ndim != 1 or is_thing.dtype != bool:
        raise ValueError(f"is_thing must be a (K,) bool array, got shape {is_thing.shape}, {is_thing.dtype}")
    if len(predictions) != len(targets) or len(targets) == 0:
        raise ValueError(
            "predictions and targets must hold an entry for each image, "
            f"got {len(predictions)} and {len(targets)}"
        )
    thresholds = np.where(is_thing, thing_area, stuff_area)
    terms = [
        _image_terms(prediction, target, thresholds, pixel_area, f"predictions[{index}]")
        for index, (prediction, target) in enumerate(zip(predictions, targets, strict=True))
    ]
    return _mean_quality(_Terms(*map(torch.cat, zip(*terms, strict=True))), len(is_thing))


class SoftPanopticQualityLoss(nn.Module):
    """One minus the surrogate of panoptic quality; see `soft_panoptic_quality` for the arguments."""

    def __init__(
        self,
        is_thing: ArrayLike,
        thing_area: float = 200.0,
        stuff_area: float = 2048.0,
        pixel_area: float = 16.0,
    ) -> None:
        super().__init__()
        self.is_thing: NDArray[np.bool_] = np.asarray(is_thing)
        self.thing_area: float = thing_area
        self.stuff_area: float = stuff_area
        self.pixel_area: float = pixel_area

    def forward(self, predictions: Sequence[SegmentMasks], targets: Sequence[PanopticLabels]) -> Tensor:
        """Return the loss of a batch, a scalar in [0, 1]."""
        return 1.0 - soft_panoptic_quality(
            predictions,
            targets,
            is_thing=self.is_thing,
            thing_area=self.thing_area,
            stuff_area=self.stuff_area,
            pixel_area=self.pixel_area,
        )


def _image_terms(
    prediction: SegmentMasks,
    target: PanopticLabels,
    thresholds: NDArray[np.float64],
    pixel_area: float,
    name: str,
) -> _Terms:
    masks, classes = prediction.masks, torch.as_tensor(prediction.classes).cpu().numpy()
    if masks.ndim != 3 or tuple(masks.shape[1:]) != target.shape or not masks.is_floating_point():
        raise ValueError(
            f"{name}.masks must be floating (J, h, w) of the target's height and width {target.shape}, "
            f"got shape {tuple(masks.shape)}, {masks.dtype}"
        )
    if classes.shape != masks.shape[:1]:
        raise ValueError(f"{name}.classes has shape {classes.shape}, but masks has {masks.shape[0]} rows")
    for side, values in ((f"{name}.classes", classes), ("the target's classes", target.classes)):
        if values.size and (values.min() < 0 or values.max() >= len(thresholds)):
            raise ValueError(
                f"{side} must lie in [0, {len(thresholds)}), got [{values.min()}, {values.max()}]"
            )

    device = masks.device
    dtype = torch.promote_types(masks.dtype, torch.float32)
    counted = np.flatnonzero(~target.is_crowd)
    target_classes, target_areas = target.classes[counted], target.areas()[counted]
    segments = torch.as_tensor(target.segments.ravel(), device=device)
    indicators = (segments[:, None] == torch.as_tensor(counted, device=device)).to(dtype)
    # Under autocast the product would be rounded to half precision, and areas beyond 2048 with it.
    with torch.autocast(device.type, enabled=False):
        intersections = masks.flatten(1).to(dtype) @ indicators
    # Every pixel that is neither void nor crowd lies in exactly one ground-truth segment.
    areas = intersections.sum(dim=1)
    iou = intersections / (
        areas[:, None] + torch.as_tensor(target_areas, dtype=dtype, device=device) - intersections
    )
    presence = 0.1 * (pixel_area * areas - torch.as_tensor(thresholds[classes], dtype=dtype, device=device))

    hard_areas = areas.detach().cpu().numpy()
    if np.isnan(hard_areas).any():
        raise ValueError(f"{name}.masks holds NaN")
    rows, columns = match(iou.detach().cpu().numpy(), classes, target_classes).T
    unmatched = np.setdiff1d(np.flatnonzero(hard_areas > 0), rows)
    missed = np.setdiff1d(np.arange(len(counted)), columns)
    return _Terms(
        torch.as_tensor(classes[rows], device=device),
        iou[rows, columns],
        presence[rows],
        torch.as_tensor(classes[unmatched], device=device),
        presence[unmatched],
        torch.as_tensor(target_classes[missed], device=device),
        torch.as_tensor(target_classes, device=device),
    )


def _mean_quality(terms: _Terms, num_classes: int) -> Tensor:
    """Put the terms of a batch together; in logarithms, because σ of a small stuff segment underflows."""
    iou = terms.matched_iou
    log_h = 4 * iou.log() - (iou**4 + (1 - iou) ** 4).log()
    log_matched = log_h + logsigmoid(terms.matched_presence)
    log_terms = torch.cat(
        [
            log_matched,
            logsigmoid(terms.unmatched_presence) + math.log(0.5),
            iou.new_full((len(terms.missed_classes),), math.log(0.5)),
        ]
    )
    classes = torch.cat([terms.matched_classes, terms.unmatched_classes, terms.missed_classes])
    largest = iou.new_full((num_classes,), -math.inf).scatter_reduce(0, classes, log_terms.detach(), "amax")
    denominator = _sum_by_class((log_terms - largest[classes]).exp(), classes, num_classes)
    numerator = _sum_by_class(
        (log_matched - largest[terms.matched_classes]).exp() * iou, terms.matched_classes, num_classes
    )
    quality = numerator / (denominator + (denominator == 0))

    log_absent = _sum_by_class(logsigmoid(-terms.unmatched_presence), terms.unmatched_classes, num_classes)
    in_target = torch.zeros(num_classes, dtype=torch.bool, device=iou.device)
    in_target[terms.target_classes] = True
    occurs = torch.where(in_target, 1.0, -torch.expm1(log_absent))
    no_class_occurs = (1 - occurs).prod()
    return ((occurs * quality).sum() + no_class_occurs) / (occurs.sum() + no_class_occurs)


def _sum_by_class(values: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    return values.new_zeros(num_classes).index_add(0, classes, values)
