"""A control: what a constant on the boundary costs gains, without any training through the solver.

Stage 1 weighs pairs and learns from the hardest ones only. Its logits therefore are not log odds, and 0 may
be a poor threshold.
"""

from typing import Any

import numpy as np
import torch

from difflayers.panoptic import PanopticQuality
from examples.cops.config import Config
from examples.cops.inference import Predictor
from examples.cops.network import CopsNetwork

# Candidates for the constant that is added to all edge costs.
OFFSETS = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
IMAGES = 40


def calibrate(network: CopsNetwork, data: Any, config: Config) -> dict[float, float]:
    """Add the one of `OFFSETS` to all edge costs that gives the best exact PQ on `IMAGES` images of the data.

    Args:
        network: trained; its cost offsets are changed in place, and nothing else.
        data: the training images, of which some are taken in even steps.
        config: of the run.

    Returns:
        PQ for each offset.
    """
    before = network.costs.edge_offset.detach().clone()
    chosen = np.unique(np.linspace(0, len(data) - 1, IMAGES).round().astype(int))
    samples = [data[int(index)] for index in chosen]
    found: dict[float, float] = {}
    for offset in OFFSETS:
        _set(network, before + offset)
        predictor = Predictor(network, data.is_thing, config)
        quality = PanopticQuality(len(data.is_thing), data.is_thing)
        for sample in samples:
            quality.update(predictor(sample.image), sample.labels)
        found[offset] = quality.compute().pq
    _set(network, before + max(found, key=lambda offset: found[offset]))
    return found


def _set(network: CopsNetwork, offsets: torch.Tensor) -> None:
    with torch.no_grad():
        network.costs.edge_offset.copy_(offsets)
