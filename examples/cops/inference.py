"""From an image to panoptic labels: network, AMWC, rejection of small segments (paper, Section 4.1)."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from difflayers.panoptic import (
    PanopticLabels,
    PanopticLayer,
    PanopticQuality,
    PanopticQualityResult,
    compact,
    reject_small,
    resize,
)
from examples.cops.config import Config
from examples.cops.network import CopsNetwork
from examples.cops.samples import shrink_image, to_tensor

MULTIPLE = 32  # images are padded to a multiple of this, for the strides of the backbone


@dataclass
class Timing:
    """Seconds spent since the start, over ``images`` images."""

    network: float = 0.0
    solver: float = 0.0
    rest: float = 0.0
    images: int = 0

    def __str__(self) -> str:
        per_image = 1000 / max(self.images, 1)
        return (
            f"{self.network * per_image:.0f} ms network, {self.solver * per_image:.0f} ms solver, "
            f"{self.rest * per_image:.0f} ms rest an image"
        )


class Predictor:
    """Panoptic labels of single images.

    Args:
        network: trained network.
        is_thing: (K,) bool.
        config: sizes, thresholds and distances of the run.
    """

    def __init__(self, network: CopsNetwork, is_thing: np.ndarray, config: Config) -> None:
        self.network = network.eval()
        self.layer = PanopticLayer(is_thing, config.distances)
        self.config = config
        self.timing = Timing()

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> PanopticLabels:
        """Label an image (H, W, 3) uint8 at its own resolution."""
        started = time.perf_counter()
        small = shrink_image(image, self.config.max_side)
        height, width = small.shape[:2]
        padding = (0, -width % MULTIPLE, 0, -height % MULTIPLE)
        images = F.pad(to_tensor(small)[None], padding)
        prepared = time.perf_counter()
        costs = self.network.costs(self.network(images))
        predicted = time.perf_counter()
        # The padding is cut away before the solver sees it.
        rows, columns = -(-height // 4), -(-width // 4)
        edges = [
            (v[:, : max(rows - d, 0), :columns], h[:, :rows, : max(columns - d, 0)])
            for d, (v, h) in zip(self.config.distances, costs.edge, strict=True)
        ]
        labels = self.layer(costs.node[:, :, :rows, :columns], edges).labels[0]
        solved = time.perf_counter()
        padded = resize(labels, (4 * rows, 4 * columns))
        covered = compact(padded.segments[:height, :width], padded.classes)
        whole = resize(covered, image.shape[:2])
        shrunk = (image.shape[0] * image.shape[1]) / (height * width)  # thresholds are for the shrunken image
        result = reject_small(
            whole, self.layer.is_thing, self.config.thing_area * shrunk, self.config.stuff_area * shrunk
        )
        self.timing.network += predicted - prepared
        self.timing.solver += solved - predicted
        self.timing.rest += prepared - started + time.perf_counter() - solved
        self.timing.images += 1
        return result


def evaluate(predictor: Predictor, data: Any) -> tuple[PanopticQualityResult, list[PanopticLabels]]:
    """Exact PQ of every image of ``data`` at its own resolution, and the predictions."""
    quality = PanopticQuality(len(data.is_thing), data.is_thing)
    predictions = []
    for index in range(len(data)):
        sample = data[index]
        prediction = predictor(sample.image)
        quality.update(prediction, sample.labels)
        predictions.append(prediction)
    return quality.compute(), predictions
