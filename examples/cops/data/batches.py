"""Batches of crops: what an iteration sees is a function of (seed, stage, iteration, part) and nothing else.

So a run that was killed and resumed goes on as it would have, and it plays no role how many processes read.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from difflayers.panoptic import PanopticLabels, resize
from examples.cops.config import Config
from examples.cops.data.samples import Sample, augment, shrink, to_tensor
from examples.cops.targets import Targets, stage_one_targets

STRIDE = 4  # the network's output stride: costs live at a quarter of the resolution


class Batch(NamedTuple):
    """What a training step sees.

    Attributes:
        images: (B, 3, H, W) float32, normalised.
        labels: for each image, at a quarter of the resolution.
        targets: of stage 1, for each image; empty in a phase that trains through the solver.
        torch_seed: of torch's random numbers in the step.
        scale_seed: of the interpolation ranges λ.
    """

    images: Tensor
    labels: list[PanopticLabels]
    targets: list[Targets]
    torch_seed: int
    scale_seed: int

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on a device; the labels stay, the solver wants them on the CPU."""
        if device.type == "cpu":
            return self
        targets = [Targets(*(_moved(value, device) for value in target)) for target in self.targets]
        return self._replace(images=_moved(self.images, device), targets=targets)


class Crops(Dataset[Batch]):
    """The batches of one phase of training, by (iteration, part).

    Args:
        data: a data set of `Sample` with `is_thing`.
        config: sizes, scales, distances and seed.
        stage: 1 has the targets of stage 1; others have a seed for λ.
        size: images of a part.
        parts: that make up the batch of an iteration, over all processes.
    """

    def __init__(self, data: Any, config: Config, stage: int, size: int, parts: int = 1) -> None:
        self.data, self.config, self.stage, self.size, self.parts = data, config, stage, size, parts

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        iteration, part = key
        config = self.config
        seeds = (config.training.seed, self.stage, iteration)
        generator = np.random.default_rng(seeds if self.parts == 1 else (*seeds, part))
        torch_seed = int(generator.integers(2**62))
        scale_seed = int(generator.integers(2**31)) if self.stage > 1 else 0
        samples = [
            augment(
                shrink(self.data[i], config.data.max_side), config.data.size, generator, config.data.scale
            )
            for i in generator.integers(len(self.data), size=self.size)
        ]
        labels = quarter_labels(samples)
        targets = [
            stage_one_targets(
                label, self.data.is_thing, config.network.distances, STRIDE**2, config.stage1.small_area
            )
            for label in labels
            if self.stage == 1
        ]
        images = torch.stack([to_tensor(sample.image) for sample in samples])
        return Batch(images, labels, targets, torch_seed, scale_seed)


def load_batches(crops: Crops, keys: Sequence[tuple[int, int]], device: torch.device) -> Iterator[Batch]:
    """Read batches in the order of `keys`, in as many processes as the settings say, pinned for a GPU."""
    loader = DataLoader(
        crops,
        batch_size=None,
        sampler=keys,
        num_workers=crops.config.run.workers,
        collate_fn=as_it_is,
        pin_memory=device.type == "cuda",
    )
    return (batch.to(device) for batch in loader)


def as_it_is(value: Any) -> Any:
    """A collate function that keeps arrays arrays; torch's own would make tensors of them."""
    return value


def quarter_labels(samples: Sequence[Sample]) -> list[PanopticLabels]:
    return [
        resize(s.labels, (s.labels.segments.shape[0] // STRIDE, s.labels.segments.shape[1] // STRIDE))
        for s in samples
    ]


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    return [tuple(side.to(device, non_blocking=True) for side in pair) for pair in value]
