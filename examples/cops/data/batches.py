"""Batches of crops: an image of an iteration is a function of (seed, stage, iteration, place in the batch).

So a run that was killed and resumed goes on as it would have, and it plays no role how many processes read or
train, or into how many parts the batch is split.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from difflayers.panoptic import PanopticLabels, resize
from examples.cops.config import Config
from examples.cops.data.samples import Sample, ShortSides, augment, shrink, to_tensor
from examples.cops.targets import BatchTargets, stack_targets, stage_one_targets

STRIDE = 4  # the network's output stride: costs live at a quarter of the resolution


class Batch(NamedTuple):
    """What a training step sees: a part of the images of an iteration.

    Attributes:
        images: (B, 3, H, W) float32, normalized.
        labels: per image, at a quarter of the resolution.
        targets: of stage 1; None in a phase that trains through the solver.
        seeds: per image, for what is random in the step.
        scale_seed: of the interpolation ranges λ, the same for all images of an iteration.
        files: per image, the file that it comes from, or its name if it was drawn.
    """

    images: Tensor
    labels: list[PanopticLabels]
    targets: BatchTargets | None
    seeds: list[int]
    scale_seed: int
    files: list[str]

    def to(self, device: torch.device) -> "Batch":
        """The batch with its tensors on a device; the labels stay on the CPU, where the solver is."""
        if device.type == "cpu":
            return self
        images = self.images.to(device, non_blocking=True)
        if self.targets is None:
            return self._replace(images=images)
        targets = BatchTargets(*(tensor.to(device, non_blocking=True) for tensor in self.targets))
        return self._replace(images=images, targets=targets)


class Crops(Dataset[Batch]):
    """The batches of one phase of training, by (iteration, part).

    Args:
        data: a data set of `Sample` with `is_thing`.
        config: sizes, scales, distances and seed.
        stage: 1 has the targets of stage 1.
        size: images per part; part p holds the places p · size, …, (p + 1) · size − 1 of the batch.
    """

    def __init__(self, data: Any, config: Config, stage: int, size: int) -> None:
        self.data, self.config, self.stage, self.size = data, config, stage, size
        sides = config.data.short_sides
        if stage == 2 and config.stage2.short_sides:
            sides = config.stage2.short_sides
        self.scale = ShortSides(sides, config.data.longest_side) if sides else config.data.scale

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        iteration, part = key
        seeds = (self.config.training.seed, self.stage, iteration)
        first = 1 + part * self.size  # 0 is for λ
        drawn = [self._draw((*seeds, first + place)) for place in range(self.size)]
        samples = [sample for sample, _, _ in drawn]
        labels = quarter_labels(samples)
        return Batch(
            torch.stack([to_tensor(sample.image) for sample in samples]),
            labels,
            self._targets(labels) if self.stage == 1 else None,
            [seed for _, seed, _ in drawn],
            int(np.random.default_rng((*seeds, 0)).integers(2**31)),
            [file for _, _, file in drawn],
        )

    def _draw(self, seeds: tuple[int, ...]) -> tuple[Sample, int, str]:
        """A crop of an image drawn at random, a seed for what is random later, and the image's file."""
        generator, data = np.random.default_rng(seeds), self.config.data
        index = int(generator.integers(len(self.data)))
        sample = self.data[index]
        crop = augment(shrink(sample, data.max_side), data.size, generator, self.scale)
        paths = getattr(self.data, "image_paths", None)  # drawn scenes have no files
        return crop, int(generator.integers(2**62)), sample.name if paths is None else str(paths[index])

    def _targets(self, labels: Sequence[PanopticLabels]) -> BatchTargets:
        distances, small_area = self.config.network.distances, self.config.stage1.small_area
        return stack_targets(
            [
                stage_one_targets(label, self.data.is_thing, distances, STRIDE**2, small_area)
                for label in labels
            ]
        )


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
