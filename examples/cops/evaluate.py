"""Measures of a data set: exact PQ, mean IoU, instance AP."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch.utils.data import DataLoader, Subset

from difflayers.panoptic import PanopticLabels, PanopticQuality, PanopticQualityResult, score
from difflayers.panoptic.files import Category
from difflayers.panoptic.paths import plain_name
from examples.cops.config import Config
from examples.cops.data.batches import as_it_is
from examples.cops.data.samples import Sample
from examples.cops.inference import Prediction
from examples.cops.measure.instances import Instance, average_precision, predicted_instances, true_instances
from examples.cops.measure.submission import write_index, write_instances, write_prediction
from examples.cops.run.processes import gathered, rank, world


class Labeler(Protocol):
    """A `Predictor`, or another object that labels images."""

    config: Config

    def predict(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Label images (H, W, 3) uint8, at their own resolution."""
        ...


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured on a data set, as fractions.

    Attributes:
        quality: PQ, SQ and RQ, over all classes, things, stuff, and for each class.
        mean_iou: of the classes of all pixels before small segments are rejected; NaN where no class occurs.
        instances: "AP" and "AP50" of the things, by COCO's evaluation; empty without pycocotools.
    """

    quality: PanopticQualityResult
    mean_iou: float
    instances: dict[str, float]

    def table(self, categories: Sequence[Category]) -> str:
        """All measures, in per cent, and TP, FP and FN."""
        more = {"mean IoU": self.mean_iou, **self.instances}
        lines = [f"{name:<24} {100 * value:6.1f}" for name, value in more.items()]
        return "\n".join([score.table(self.quality, categories), *lines])


def evaluate(
    predictor: Labeler,
    data: Any,
    batch: int = 1,
    out: Path | None = None,
    instance_files: bool = False,
    images: int | None = None,
) -> Evaluation:
    """Predict and measure the images of a data set at their own resolution.

    Under torchrun, each process takes a part of the images; all processes return the same.

    Args:
        predictor: labels images with the classes of the data.
        data: a data set of `Sample` with `categories`, `is_thing` and `file_ids`.
        batch: how many images are read at a time; images of one size form a batch of the network.
        out: a folder for `panoptic.json` and `panoptic/` in COCO-panoptic format; None writes nothing.
        instance_files: whether `out` also receives `instances/`, in Cityscapes' format.
        images: how many are measured, from the first on; None: all.

    Raises:
        ValueError: if batch is below 1; before the first image, if the id of an image cannot name its
            instance files; naming the images, if their costs are not finite; and as reading a sample does.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    if out is not None and instance_files:
        check_ids(data)
    num_classes = len(data.is_thing)
    quality = PanopticQuality(num_classes, data.is_thing)
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    found: list[Instance] = []
    truth: list[Instance] = []
    annotations: list[dict[str, Any]] = []
    for index, sample, prediction in predict_data(predictor, data, batch, images):
        quality.update(prediction.labels, sample.labels)
        confusion += count_classes(prediction.semantic, sample.labels, num_classes)
        found += predicted_instances(index, prediction.labels, prediction.scores, data.is_thing)
        truth += true_instances(index, sample.labels, data.is_thing)
        if out is not None:
            ids = data.file_ids(index)
            annotations.append(write_prediction(out, prediction.labels, ids, data.categories))
            if instance_files:
                write_instances(out, prediction.labels, prediction.scores, str(ids[0]), data.categories)
    parts = gathered((quality, confusion, found, truth, annotations))
    if out is not None and rank() == 0:
        write_index(out, [entry for part in parts for entry in part[4]])
    total = PanopticQuality(num_classes, data.is_thing)
    for part in parts:
        total += part[0]
    instances = average_precision(
        [entry for part in parts for entry in part[2]], [entry for part in parts for entry in part[3]]
    )
    return Evaluation(total.compute(), mean_iou(np.sum([part[1] for part in parts], axis=0)), instances)


def check_ids(data: Any) -> None:
    """Raise ValueError if the ids of two images lead to one name of instance files, or an id to none."""
    names = Counter(plain_name(data.file_ids(index)[0]) for index in range(len(data)))
    name, count = names.most_common(1)[0]
    if count > 1:
        raise ValueError(
            f"{count} images have the id {name!r}; their instance files would have the same names"
        )


def predict_data(
    predictor: Labeler, data: Any, batch: int, images: int | None = None
) -> Iterator[tuple[int, Sample, Prediction]]:
    """Predict this process's part of a data set: index, sample and prediction of every image."""
    own = range(rank(), min(len(data), images or len(data)), world())
    samples = DataLoader(
        Subset(data, own), batch_size=None, num_workers=predictor.config.run.workers, collate_fn=as_it_is
    )
    waiting: list[tuple[int, Sample]] = []
    for index, sample in zip(own, samples, strict=True):
        waiting.append((index, sample))
        if len(waiting) == batch or index == own[-1]:
            try:
                predictions = predictor.predict([sample.image for _, sample in waiting])
            except ValueError as error:  # costs that are not finite, say
                raise ValueError(f"{', '.join(sample.name for _, sample in waiting)}: {error}") from error
            for (number, known), prediction in zip(waiting, predictions, strict=True):
                yield number, known, prediction
            waiting.clear()


def count_classes(semantic: np.ndarray, target: PanopticLabels, num_classes: int) -> np.ndarray:
    """Count the pixels by true class (rows) and predicted class (columns), (K, K); void does not count."""
    truth = target.semantic()
    known = truth >= 0
    pairs = truth[known] * num_classes + semantic[known]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def mean_iou(confusion: np.ndarray) -> float:
    """Mean over the classes that occur of intersection over union; NaN where none occurs."""
    intersection = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - intersection
    occurs = union > 0
    return float((intersection[occurs] / union[occurs]).mean()) if occurs.any() else float("nan")
