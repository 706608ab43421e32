"""One run, start to end: build the network, train both stages, measure each, draw what came out."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from difflayers.panoptic import PanopticLabels, PanopticQualityResult
from examples.cops.backbone import EfficientNetLite0
from examples.cops.config import DRAWN, REAL, Config
from examples.cops.data import open_dataset
from examples.cops.inference import Predictor, evaluate
from examples.cops.network import CopsNetwork, Widths
from examples.cops.pictures import overlay, panel, training_curve
from examples.cops.samples import Category
from examples.cops.train import Checkpoint, train_stage_one, train_stage_two

SHOWN = 4  # held-out images in the picture


def choose_config(data: Path | None, seed: int) -> Config:
    return replace(DRAWN if data is None else REAL, seed=seed)


def build_network(config: Config, num_classes: int) -> CopsNetwork:
    """The network of a run; its random weights depend on the seed alone."""
    torch.manual_seed(config.seed)
    return CopsNetwork(EfficientNetLite0(), num_classes, config.distances, config.widths)


def load_network(path: Path) -> tuple[CopsNetwork, Config, list[Category]]:
    """Rebuild a network from a checkpoint of :func:`run`.

    Raises:
        FileNotFoundError: where there is no checkpoint.
    """
    state = Checkpoint(path).load()
    if state is None:
        raise FileNotFoundError(
            f"checkpoint {path} does not exist; `train` writes stage2.pt into its --out folder"
        )
    about = state["about"]
    fields = about["config"]
    config = Config(**{**fields, "widths": Widths(**fields["widths"])})
    categories = [Category(*row) for row in about["categories"]]
    network = CopsNetwork(
        EfficientNetLite0(pretrained=False), len(categories), config.distances, config.widths
    )
    network.load_state_dict(state["network"])
    return network, config, categories


def run(data: Path | None, out: Path, config: Config, progress: bool = True) -> dict[str, dict[str, float]]:
    """Train both stages, evaluate after each on the held-out split, write pictures and figures to ``out``.

    Finished or half-finished stages found in ``out`` are taken up where they stopped.
    """
    train = open_dataset(data, "train", config.seed)
    held_out = open_dataset(data, "val", config.seed)
    network = build_network(config, len(train.categories))
    about = {"config": asdict(config), "categories": [list(category) for category in train.categories]}
    log: list[dict[str, float]] = []
    figures: dict[str, dict[str, float]] = {}
    predictions: dict[str, list[PanopticLabels]] = {}
    for stage, train_stage in ((1, train_stage_one), (2, train_stage_two)):
        checkpoint = Checkpoint(out / f"stage{stage}.pt", about=about)
        log += train_stage(network, train, config, checkpoint, progress)
        predictor = Predictor(network, held_out.is_thing, config)
        quality, predictions[f"stage {stage}"] = evaluate(predictor, held_out)
        figures[f"stage {stage}"] = summary(quality)
        print(f"stage {stage}: {table_row(quality)}  ({predictor.timing})", flush=True)
    draw(held_out, predictions, out / "predictions.png")
    training_curve(log, out / "training.png")
    (out / "figures.json").write_text(json.dumps({"config": asdict(config), "results": figures, "log": log}))
    return figures


def summary(quality: PanopticQualityResult) -> dict[str, float]:
    return {"PQ": quality.pq, "PQ_th": quality.pq_things, "PQ_st": quality.pq_stuff}


def table_row(quality: PanopticQualityResult) -> str:
    return "  ".join(f"{name} {100 * value:5.1f}" for name, value in summary(quality).items())


def draw(data: Any, predictions: dict[str, list[PanopticLabels]], path: Path) -> None:
    """Image, ground truth and each stage's prediction for the held-out images with the most segments."""
    samples = [data[index] for index in range(len(data))]
    busiest = np.argsort([-len(sample.labels.classes) for sample in samples], kind="stable")[:SHOWN]
    rows = [
        [
            samples[i].image,
            overlay(samples[i].image, samples[i].labels, data.categories),
            *(overlay(samples[i].image, found[i], data.categories) for found in predictions.values()),
        ]
        for i in busiest
    ]
    panel(rows, ["image", "ground truth", *predictions], path)
