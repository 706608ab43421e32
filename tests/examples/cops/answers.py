"""A small data set on disk, and a labeler that answers from its ground truth."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from difflayers.panoptic import PanopticLabels, to_coco
from examples.cops.config import DRAWN
from examples.cops.data import DrawnScenes
from examples.cops.inference import Prediction

CONFIG = DRAWN.change(
    data={"size": (32, 48)},
    network={"distances": (1, 2, 4)},
    rejection={"thing_area": 4.0, "stuff_area": 8.0},
)


def write_scenes(root: Path) -> Path:
    """Four drawn scenes of 32 x 48 a split, in COCO-panoptic format."""
    for split in ("train", "val"):
        scenes = DrawnScenes(split, 0, 4, size=(32, 48))
        ids = [category.id for category in scenes.categories]
        annotations, images = [], []
        for folder in (root / split, root / f"panoptic_{split}"):
            folder.mkdir(parents=True)
        for index in range(4):
            sample = scenes[index]
            rgb, segments = to_coco(sample.labels, ids)
            Image.fromarray(sample.image).save(root / split / f"{index}.png")
            Image.fromarray(rgb).save(root / f"panoptic_{split}" / f"{index}.png")
            images.append({"id": index, "file_name": f"{index}.png"})
            annotations.append({"image_id": index, "file_name": f"{index}.png", "segments_info": segments})
        categories = [
            {"id": c.id, "name": c.name, "isthing": int(c.is_thing), "color": c.color}
            for c in scenes.categories
        ]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / f"panoptic_{split}.json").write_text(json.dumps(content))
    return root


class Answers:
    """A predictor that answers each image of a data set with a labeling made of its ground truth."""

    config = CONFIG

    def __init__(self, data, change) -> None:  # type: ignore[no-untyped-def]
        self.answers = {}
        for index in range(len(data)):
            sample = data[index]
            labels = change(sample.labels, np.random.default_rng(index))
            scores = np.linspace(1, 0.5, len(labels.classes))
            semantic = np.maximum(labels.semantic(), 0)  # before the rejection, every pixel has a class
            self.answers[sample.image.tobytes()] = Prediction(labels, scores, semantic, None)  # type: ignore[arg-type]

    def predict(self, images: list[np.ndarray]) -> list[Prediction]:
        return [self.answers[image.tobytes()] for image in images]


def perfect(labels: PanopticLabels, generator: np.random.Generator) -> PanopticLabels:
    return PanopticLabels(labels.segments, labels.classes)


def blurred(labels: PanopticLabels, generator: np.random.Generator) -> PanopticLabels:
    """Some pixels of every segment go to another, some segments change class."""
    segments = labels.segments.copy()
    moved = generator.random(segments.shape) < 0.2
    segments[moved] = np.roll(segments, 3, axis=1)[moved]
    kinds = np.where(generator.random(len(labels.classes)) < 0.2, 0, labels.classes)
    present, segments = np.unique(segments, return_inverse=True)
    numbers = np.arange(len(present)) - int(present[0] < 0)
    return PanopticLabels(numbers[segments].reshape(labels.shape), kinds[present[present >= 0]])
