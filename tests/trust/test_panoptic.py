"""What panoptic labels, quality and layer make of malformed arguments: sound results or a clear error."""

import numpy as np
import torch
from hypothesis import given

from difflayers import panoptic
from tests.trust.malformed import budget, spoiled, survives

SEGMENTS = np.repeat([0, 0, 1, 2, 2, -1], 4).reshape(6, 4).astype(np.int32)
CLASSES = np.array([0, 1, 1])
LABELS = {"segments": SEGMENTS, "classes": CLASSES, "is_crowd": np.array([False, True, False])}
TARGET = panoptic.PanopticLabels(SEGMENTS, CLASSES)
IS_THING = np.array([False, True])
RNG = np.random.default_rng(0)
COSTS = {
    "node_costs": RNG.normal(size=(1, 2, 6, 4)),
    "vertical": RNG.normal(size=(1, 5, 4)),
    "horizontal": RNG.normal(size=(1, 6, 3)),
}


@budget(40)
@given(spoiled(LABELS))
def test_labels(arguments):
    for make in (panoptic.PanopticLabels, panoptic.compact):
        labels = survives(make, arguments)
        if labels is not None:
            assert labels.areas().sum() == (labels.segments >= 0).sum()
            result = (
                panoptic.panoptic_quality([labels], [labels], np.ones(2**8, bool))
                if labels.areas().size
                else None
            )
            assert result is None or np.isnan(result.pq) or 0 <= result.pq <= 1


@budget(30)
@given(spoiled({"rgb": panoptic.encode_ids(SEGMENTS + 1), "category_ids": np.array([3, 7])}))
def test_coco(arguments):
    infos = [{"id": i + 1, "category_id": 3 if i == 0 else 7} for i in range(3)]
    survives(
        lambda rgb, category_ids: panoptic.from_coco(rgb, infos, category_ids), arguments, ("segments_info",)
    )


@budget(30)
@given(spoiled({"ids": SEGMENTS + 1}))
def test_ids(arguments):
    rgb = survives(panoptic.encode_ids, arguments)
    if rgb is not None:
        assert (panoptic.decode_ids(rgb) == arguments["ids"]).all()


@budget(30)
@given(spoiled({"is_thing": IS_THING, "thing_area": 1.0, "stuff_area": 1.0}))
def test_quality(arguments):
    masks = torch.stack([torch.from_numpy(s == SEGMENTS) for s in range(3)]).double()
    prediction = panoptic.SegmentMasks(masks, torch.from_numpy(CLASSES))
    value = survives(
        lambda **arguments: panoptic.soft_panoptic_quality([prediction], [TARGET], **arguments),
        arguments,
        ("classes",),
    )
    assert value is None or 0 <= value <= 1


@budget(40)
@given(spoiled(COSTS))
def test_layer(arguments):
    layer = panoptic.PanopticLayer(IS_THING, distances=(1,), scales=10.0)

    def call(node_costs, vertical, horizontal):
        tensors = [
            torch.from_numpy(np.array(part))
            if isinstance(part, np.ndarray) and part.dtype.char in "efdbBhilqQ?FD" and part.dtype.isnative
            else part
            for part in (node_costs, vertical, horizontal)
        ]
        tensors = [
            t.requires_grad_() if isinstance(t, torch.Tensor) and t.is_floating_point() else t
            for t in tensors
        ]
        output = layer(tensors[0], [(tensors[1], tensors[2])], [TARGET])
        value = panoptic.SoftPanopticQualityLoss(IS_THING, 1.0, 1.0)(output.masks, [TARGET])
        return value, torch.autograd.grad(value, [t for t in tensors if t.requires_grad], allow_unused=True)

    result = survives(call, arguments, ("edge_costs", "target", "gradient"))
    if result is not None:
        value, gradients = result
        assert value.isfinite()
        assert not any(gradient is not None and gradient.isnan().any() for gradient in gradients)
