"""Panoptic segmentation: label encoding, exact and differentiable panoptic quality."""

from difflayers.panoptic.labels import (
    VOID,
    PanopticLabels,
    compact,
    decode_ids,
    encode_ids,
    from_coco,
    from_solution,
    reject_small,
    resize,
    to_coco,
)

__all__ = [
    "VOID",
    "PanopticLabels",
    "compact",
    "decode_ids",
    "encode_ids",
    "from_coco",
    "from_solution",
    "reject_small",
    "resize",
    "to_coco",
]
