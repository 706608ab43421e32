"""Panoptic quality made differentiable in the masks of the predicted segments (COPS, Eq. 6)."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from difflayers._arguments import as_array, one_of
from difflayers.engine.passes import without_autocast
from difflayers.panoptic.labels import PanopticLabels
from difflayers.panoptic.matching import match

Form = Literal["authors", "printed", "expected"]
"""How Eq. 6 counts a matched pair that fits badly, see `soft_panoptic_quality`."""

_SMOOTHING = 0.1  # of the authors' code, in numerator and denominator of each class


class SegmentMasks(NamedTuple):
    """The segments predicted for one image.

    Attributes:
        masks: (J, h, w) floating in [0, 1]; may require a gradient. An empty row is no prediction.
        classes: (J,) integer, the class of each row.

    Examples:
        >>> import torch
        >>> from difflayers import panoptic
        >>> prediction = panoptic.SegmentMasks(torch.ones(1, 4, 4), torch.tensor([0]))
        >>> prediction.masks.shape[0] == len(prediction.classes)
        True
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
    form: Form = "authors",
) -> Tensor:
    """Return the surrogate of panoptic quality of a batch (COPS, Eq. 6).

    Predicted and true segments of a class are matched so that the sum of their IoUs u is largest. With

        h(u) = u⁴ / (u⁴ + (1 − u)⁴),   σ(p) = sigmoid(0.1 (pixel_area · Σ p − t)),

    the quality of a class is Σ h σ u over the matched pairs, divided by a denominator that depends on `form`:

    - `"authors"`, as in the authors' code: Σ h σ + ½ Σ (1 − h) over the matched pairs, + ½ Σ σ over unmatched
      predictions, + ½ per unmatched true segment; with 0.1 added to numerator and denominator.
    - `"expected"`: as if a pair were a match with probability h σ. Σ ½ (1 + σ) over the matched pairs, + ½ Σ
      σ over unmatched predictions, + ½ per unmatched true segment. It equals the exact quality if each h and
      each σ is 0 or 1.
    - `"printed"`, as Eq. 6 is printed: Σ h σ over the matched pairs, + ½ Σ σ over unmatched predictions, + ½
      per unmatched true segment. A pair that fits badly vanishes, so that it pays to make bad matches worse.

    Where σ = 1 and the pairs hold all exact matches, the quality of a class lies at most 0.42 above and 0.17
    below the exact quality with `"authors"`, and at most 0.25 from it with `"expected"`. A worse IoU never
    raises the quality with `"expected"`; with `"authors"` it does so below an IoU of one half only, and by
    less than 0.002.

    The sums run over the whole batch, as those of PQ run over a data set. The result is the mean over the
    classes, each weighted by how surely it occurs: 1 if the ground truth has it, else 1 − Π (1 − σ) over its
    unmatched predictions. If no class occurs, the result is 1. Pixels that the target leaves void or marks as
    crowd count nowhere. Half-precision masks are computed in float32, under autocast too.

    Args:
        predictions: one `SegmentMasks` per image, all on one device.
        targets: one labeling per image, of the masks' height and width.
        is_thing: (K,) bool, True for the classes that have instances.
        thing_area: t of a thing class, in pixels of the full resolution.
        stuff_area: t of a stuff class, in pixels of the full resolution.
        pixel_area: pixels of the full resolution in one pixel of the masks.
        form: the denominator, see above.

    Returns:
        A scalar in [0, 1], differentiable in every mask.

    Raises:
        ValueError: if the batch is empty, if shapes, dtypes or classes do not fit, if masks hold NaN, or if a
            setting is not as described.

    Examples:
        >>> import torch
        >>> from difflayers import panoptic
        >>> target = panoptic.PanopticLabels([[0, 0, 0, 0]], classes=[0])
        >>> half = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])  # IoU 1/2, so h = 1/2
        >>> prediction = panoptic.SegmentMasks(half, [0])
        >>> settings = {"is_thing": [True], "thing_area": 0, "pixel_area": 100}  # σ = 1
        >>> for form in ("authors", "expected", "printed"):
        ...     quality = panoptic.soft_panoptic_quality([prediction], [target], **settings, form=form)
        ...     print(form, round(quality.item(), 3))  # 0.35 / 0.85, 0.25 / 1 and 0.25 / 0.5
        authors 0.412
        expected 0.25
        printed 0.5
    """
    is_thing = _checked_settings(is_thing, thing_area, stuff_area, pixel_area, form)
    if len(predictions) != len(targets) or len(targets) == 0:
        raise ValueError(
            "predictions and targets must hold one entry per image, "
            f"got {len(predictions)} and {len(targets)}"
        )
    thresholds = np.where(is_thing, thing_area, stuff_area)
    terms = [
        _image_terms(prediction, target, thresholds, pixel_area, f"predictions[{index}]")
        for index, (prediction, target) in enumerate(zip(predictions, targets, strict=True))
    ]
    return _mean_quality(_Terms(*map(torch.cat, zip(*terms, strict=True))), len(is_thing), form)


class SoftPanopticQualityLoss(nn.Module):
    """One minus the surrogate of panoptic quality, see `soft_panoptic_quality`.

    Args:
        is_thing: (K,) bool, True for the classes that have instances.
        thing_area: area below which a prediction of a thing class counts less, in pixels of the full
            resolution.
        stuff_area: the same for a stuff class.
        pixel_area: pixels of the full resolution in one pixel of the masks.
        form: `"authors"`, `"expected"` or `"printed"`.

    Raises:
        ValueError: if a setting is not as described.

    Examples:
        >>> import torch
        >>> from difflayers import panoptic
        >>> loss = panoptic.SoftPanopticQualityLoss([True], thing_area=0, pixel_area=100)
        >>> target = panoptic.PanopticLabels([[0, 0, 0, 0]], classes=[0])
        >>> masks = torch.tensor([[[1.0, 1.0, 0.5, 0.5]]], requires_grad=True)
        >>> loss([panoptic.SegmentMasks(masks, [0])], [target]).backward()
        >>> bool((masks.grad < 0).all())  # larger masks lower the loss
        True
    """

    def __init__(
        self,
        is_thing: ArrayLike,
        thing_area: float = 200.0,
        stuff_area: float = 2048.0,
        pixel_area: float = 16.0,
        form: Form = "authors",
    ) -> None:
        super().__init__()
        self.is_thing: NDArray[np.bool_] = _checked_settings(
            is_thing, thing_area, stuff_area, pixel_area, form
        )
        self.thing_area: float = thing_area
        self.stuff_area: float = stuff_area
        self.pixel_area: float = pixel_area
        self.form: Form = form

    def forward(self, predictions: Sequence[SegmentMasks], targets: Sequence[PanopticLabels]) -> Tensor:
        """Return the loss of a batch, a scalar in [0, 1]; arguments and errors as `soft_panoptic_quality`."""
        return 1.0 - soft_panoptic_quality(
            predictions,
            targets,
            is_thing=self.is_thing,
            thing_area=self.thing_area,
            stuff_area=self.stuff_area,
            pixel_area=self.pixel_area,
            form=self.form,
        )

    def extra_repr(self) -> str:
        """Return what `print` shows of the settings."""
        areas = f"thing_area={self.thing_area}, stuff_area={self.stuff_area}, pixel_area={self.pixel_area}"
        return f"{areas}, form={self.form!r}"


def _checked_settings(
    is_thing: ArrayLike, thing_area: float, stuff_area: float, pixel_area: float, form: Form
) -> NDArray[np.bool_]:
    for name, area in (("thing_area", thing_area), ("stuff_area", stuff_area), ("pixel_area", pixel_area)):
        if not isinstance(area, int | float) or not math.isfinite(area):
            raise ValueError(f"{name} must be a finite number, got {area!r}")
    one_of("form", form, Form)
    array = as_array("is_thing", is_thing)
    if array.ndim != 1 or array.dtype != bool:
        raise ValueError(f"is_thing must be a (K,) bool array, got shape {array.shape}, {array.dtype}")
    return array


class _Overlaps(torch.autograd.Function):
    """Areas (J, G) of masks (J, n) in segments (n, G): a product that autocast rounds in neither pass."""

    @staticmethod
    def forward(ctx: Any, masks: Tensor, indicators: Tensor) -> Tensor:
        ctx.save_for_backward(indicators)
        with without_autocast(masks.device):
            return masks @ indicators

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (indicators,) = ctx.saved_tensors
        with without_autocast(gradient.device):
            return gradient @ indicators.T, None


def _image_terms(
    prediction: SegmentMasks,
    target: PanopticLabels,
    thresholds: NDArray[np.float64],
    pixel_area: float,
    name: str,
) -> _Terms:
    masks, classes = prediction.masks, prediction.classes
    classes = classes.numpy(force=True) if isinstance(classes, Tensor) else np.asarray(classes)
    if masks.ndim < 2 or tuple(masks.shape[1:]) != target.shape or not masks.is_floating_point():
        raise ValueError(
            f"{name}.masks must be floating (J, *shape) of the target's shape {target.shape}, "
            f"got shape {tuple(masks.shape)}, {masks.dtype}"
        )
    if classes.shape != masks.shape[:1]:
        raise ValueError(f"{name}.classes must have shape ({masks.shape[0]},), got {classes.shape}")
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
    intersections = _Overlaps.apply(masks.flatten(1).to(dtype), indicators)
    # Every pixel that is neither void nor crowd lies in exactly one ground-truth segment.
    areas = intersections.sum(dim=1)
    iou = intersections / (
        areas[:, None] + torch.as_tensor(target_areas, dtype=dtype, device=device) - intersections
    )
    presence = 0.1 * (pixel_area * areas - torch.as_tensor(thresholds[classes], dtype=dtype, device=device))

    hard_areas = areas.detach().cpu().numpy()
    if np.isnan(hard_areas).any():
        raise ValueError(f"{name}.masks must hold no NaN, got one")
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


def _mean_quality(terms: _Terms, num_classes: int, form: Form) -> Tensor:
    """Put the terms of a batch together; in logarithms, because σ of a small stuff segment underflows."""
    iou = terms.matched_iou
    log_h = 4 * iou.log() - (iou**4 + (1 - iou) ** 4).log()
    log_matched = log_h + logsigmoid(terms.matched_presence)
    log_terms, classes = (
        torch.cat(part) for part in zip(*_denominator(terms, log_h, num_classes, form), strict=True)
    )
    largest = iou.new_full((num_classes,), -math.inf).scatter_reduce(0, classes, log_terms.detach(), "amax")
    denominator = _sum_by_class((log_terms - largest[classes]).exp(), classes, num_classes)
    numerator = _sum_by_class(
        (log_matched - largest[terms.matched_classes]).exp() * iou, terms.matched_classes, num_classes
    )
    if form == "authors":
        numerator = numerator + (math.log(_SMOOTHING) - largest).exp()
    quality = numerator / (denominator + (denominator == 0))

    log_absent = _sum_by_class(logsigmoid(-terms.unmatched_presence), terms.unmatched_classes, num_classes)
    in_target = torch.zeros(num_classes, dtype=torch.bool, device=iou.device)
    in_target[terms.target_classes] = True
    occurs = torch.where(in_target, 1.0, -torch.expm1(log_absent))
    no_class_occurs = (1 - occurs).prod()
    return ((occurs * quality).sum() + no_class_occurs) / (occurs.sum() + no_class_occurs)


def _denominator(terms: _Terms, log_h: Tensor, num_classes: int, form: Form) -> list[tuple[Tensor, Tensor]]:
    """Return what the denominators add up: logarithms, and the class of each."""
    half = math.log(0.5)
    log_presence = logsigmoid(terms.matched_presence)
    found = [
        (logsigmoid(terms.unmatched_presence) + half, terms.unmatched_classes),
        (log_h.new_full((len(terms.missed_classes),), half), terms.missed_classes),
    ]
    if form == "expected":
        # h σ + ½ (1 − h σ) + ½ σ (1 − h) is ½ (1 + σ).
        return [
            *found,
            (torch.full_like(log_h, half), terms.matched_classes),
            (log_presence + half, terms.matched_classes),
        ]
    found.append((log_h + log_presence, terms.matched_classes))
    if form == "authors":
        iou = terms.matched_iou
        # Far below any term that counts, so that a perfect match has a logarithm, too.
        misfit = ((1 - iou) ** 4 / (iou**4 + (1 - iou) ** 4)).clamp_min(1e-30)
        every_class = torch.arange(num_classes, device=iou.device)
        found += [
            (misfit.log() + half, terms.matched_classes),
            (iou.new_full((num_classes,), math.log(_SMOOTHING)), every_class),
        ]
    return found


def _sum_by_class(values: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    return values.new_zeros(num_classes).index_add(0, classes, values)
