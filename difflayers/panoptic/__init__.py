"""Panoptic segmentation: label encoding, exact and differentiable panoptic quality."""

from difflayers.panoptic import draw
from difflayers.panoptic.coco import decode_ids, encode_ids, from_coco, to_coco
from difflayers.panoptic.labels import (
    VOID,
    PanopticLabels,
    compact,
    from_maps,
    from_solution,
    reject_small,
    resize,
)
from difflayers.panoptic.layer import PanopticLayer, PanopticOutput
from difflayers.panoptic.matching import match
from difflayers.panoptic.quality import PanopticQuality, PanopticQualityResult, panoptic_quality
from difflayers.panoptic.surrogate import SegmentMasks, SoftPanopticQualityLoss, soft_panoptic_quality

__all__ = [
    "VOID",
    "PanopticLabels",
    "PanopticLayer",
    "PanopticOutput",
    "PanopticQuality",
    "PanopticQualityResult",
    "SegmentMasks",
    "SoftPanopticQualityLoss",
    "compact",
    "decode_ids",
    "draw",
    "encode_ids",
    "from_coco",
    "from_maps",
    "from_solution",
    "match",
    "panoptic_quality",
    "reject_small",
    "resize",
    "soft_panoptic_quality",
    "to_coco",
]
