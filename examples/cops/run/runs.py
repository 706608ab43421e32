"""One run from start to end: build the network, train it, measure it after each stage, draw predictions."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from difflayers.panoptic import PanopticLabels, PanopticQualityResult
from examples.cops.config import Config
from examples.cops.data import Category, open_dataset
from examples.cops.evaluate import evaluate
from examples.cops.inference import Predictor
from examples.cops.measure.pictures import overlay, panel, training_curve
from examples.cops.network import BACKBONES, CopsNetwork, DeepLabCops, ResNet50, make_network
from examples.cops.network.published import load_published
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.run.initial import initialize
from examples.cops.run.options import Schedule, chosen_config
from examples.cops.run.processes import make_deterministic, rank
from examples.cops.run.progress import without_nan
from examples.cops.run.resume import check_settings
from examples.cops.run.settings import described, names, read_about
from examples.cops.train import CLOCKS, Log, train_stage_one, train_stage_two, train_through_solver

SHOWN = 4  # held-out images in the picture
LOOKED_AT = 100  # held-out images that these are chosen from
#: The stages of each schedule.
STAGES: dict[Schedule, dict[str, Callable[..., Log]]] = {
    "two": {"stage 1": train_stage_one, "stage 2": train_stage_two},
    "single": {"warm-up": train_stage_one, "single stage": train_through_solver},
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build_network(config: Config, num_classes: int, imagenet: Path | None = None) -> CopsNetwork:
    """The network of a run; its random weights depend on the seed alone.

    Args:
        config: chooses backbone and heads.
        num_classes: K.
        imagenet: ImageNet weights of a ResNet-50; the small backbone brings its own.

    Raises:
        ValueError: if there are weights, but the backbone is another; and as `ResNet50.load_imagenet`.
    """
    torch.manual_seed(config.training.seed)
    backbone = BACKBONES[config.network.backbone]()
    if imagenet is not None:
        if not isinstance(backbone, ResNet50):
            raise ValueError(
                f"{imagenet}: weights of a ResNet-50, but the backbone is {config.network.backbone}"
            )
        print(f"{imagenet}: {backbone.load_imagenet(imagenet)}")
    return _with_heads(backbone, config, num_classes)


def load_network(path: Path) -> tuple[CopsNetwork, Config, list[Category]]:
    """Rebuild a network from a checkpoint of `run`, on a GPU if there is one.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if it is damaged, or not of `run`.
    """
    state = Checkpoint(path).load()
    if state is None:
        raise FileNotFoundError(
            f"checkpoint {path} does not exist; `train` writes stage2.pt into its --out folder"
        )
    config, categories = read_about(path, state)
    kind = BACKBONES[config.network.backbone]
    backbone = kind() if kind is ResNet50 else kind(pretrained=False)
    network = _with_heads(backbone, config, len(categories))
    try:
        network.load_state_dict(state["network"])
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: its weights do not fit its settings ({error})") from error
    return network.to(DEVICE), config, categories


def load_published_network(
    path: Path, given: list[str], categories: Sequence[Category]
) -> tuple[DeepLabCops, Config]:
    """The authors' network with a checkpoint of theirs.

    Args:
        path: the checkpoint.
        given: "cityscapes" or "coco", computed in float32 as they trained; or files of settings.
        categories: the classes, in the order of the checkpoint.

    Raises:
        ValueError: if the settings are of another network; and as `load_published`.
    """
    config = chosen_config(given, None)
    if given[0] in names():
        config = config.change(training={"precision": "float32"})
    network = build_network(config, len(categories))
    if not isinstance(network, DeepLabCops):
        raise ValueError("--published must name cityscapes, coco or settings with deeplab heads")
    print(load_published(network, path))
    return network.to(DEVICE), config


def run(
    data: Path | None,
    out: Path,
    config: Config,
    progress: bool = True,
    schedule: Schedule = "two",
    device: torch.device = DEVICE,
    imagenet: Path | None = None,
    init: Path | None = None,
) -> dict[str, dict[str, float]]:
    """Train, evaluate after each stage on the held-out split, write pictures and figures to `out`.

    Finished and half-finished stages in `out` are continued.

    Args:
        data: a data folder; drawn scenes without it.
        out: the folder for what is written.
        config: the settings.
        progress: whether to show bars.
        schedule: "two": stage 1, then stage 2. "single": stage 1 as a short warm-up, then all layers through
            the solver.
        device: of the network; by default a GPU if there is one.
        imagenet: as for `build_network`.
        init: a checkpoint of `train` or of the authors to begin with, as for `initialize`.

    Returns:
        For each stage PQ, PQ_th and PQ_st on the held-out images.

    Raises:
        ValueError: if a stage in `out` is of other classes or settings; and as what is called.
    """
    if config.training.deterministic:
        make_deterministic()
    train, held_out = (open_dataset(data, split, config.training.seed) for split in ("train", "val"))
    check_classes(train, held_out)
    network = build_network(config, len(train.categories), imagenet)
    if init is not None:
        print(f"{init}: {initialize(network, init, config, train.categories)}")
    network = network.to(device)
    if schedule == "single":
        config = config.change(stage1={"iterations": config.single.warm_iterations})
    about = described(config, train.categories)
    log: Log = []
    figures: dict[str, dict[str, float]] = {}
    clocks: dict[str, dict[str, float]] = {name: {} for name in CLOCKS}
    shown: dict[str, list[PanopticLabels]] = {}
    busiest = busiest_images(held_out)

    def in_training() -> dict[str, float]:
        predictor = Predictor(network, held_out.is_thing, config)
        return summary(evaluate(predictor, held_out, images=config.run.evaluate_images).quality)

    for name, train_stage in STAGES[schedule].items():
        file = name.replace(" ", "")
        checkpoint = Checkpoint(out / f"{file}.pt", about=about, events=out / "events" / file)
        check_settings(checkpoint, config, name)
        log += train_stage(network, train, config, checkpoint, progress and rank() == 0, evaluate=in_training)
        for clock, taken in clocks.items():
            taken[name] = (checkpoint.load() or {}).get(clock, 0.0)  # killed runs included
        predictor = Predictor(network, held_out.is_thing, config)
        quality = evaluate(predictor, held_out, out=out / "predictions" / file).quality
        figures[name] = summary(quality)
        if rank() == 0:
            print(f"{name}: {table_row(quality)}  ({predictor.timing})", flush=True)
            shown[name] = [predictor(held_out[index].image) for index in busiest]
    if rank() == 0:
        draw(held_out, busiest, shown, out / "predictions.png")
        training_curve(log, out / "training.png")
        content = {"config": asdict(config), "results": figures, **clocks, "log": log}
        write_figures(out, content)
    return figures


def write_figures(out: Path, content: dict[str, Any]) -> None:
    """Write `figures.json`; a quality that is not defined (NaN) is null there, because JSON has no NaN."""
    (out / "figures.json").write_text(json.dumps(without_nan(content), allow_nan=False))


def check_classes(train: Any, other: Any) -> None:
    """Raise ValueError if two splits differ in their classes."""
    names, held_out = ([(c.id, c.name) for c in data.categories] for data in (train, other))
    if names != held_out:
        raise ValueError(
            f"{other.json_path} lists other categories than {train.json_path}: {held_out} instead of {names}"
        )


def summary(quality: PanopticQualityResult) -> dict[str, float]:
    return {"PQ": quality.pq, "PQ_th": quality.pq_things, "PQ_st": quality.pq_stuff}


def table_row(quality: PanopticQualityResult) -> str:
    return "  ".join(f"{name} {100 * value:5.1f}" for name, value in summary(quality).items())


def busiest_images(data: Any) -> list[int]:
    """Return the images with the most segments among the first ones of a data set."""
    counts = [-len(data[index].labels.classes) for index in range(min(LOOKED_AT, len(data)))]
    return [int(index) for index in np.argsort(counts, kind="stable")[:SHOWN]]


def draw(data: Any, images: list[int], predictions: dict[str, list[PanopticLabels]], path: Path) -> None:
    """Image, ground truth and each stage's prediction for some held-out images."""
    rows = []
    for row, index in enumerate(images):
        sample = data[index]
        labels = [sample.labels, *(found[row] for found in predictions.values())]
        rows.append([sample.image, *(overlay(sample.image, each, data.categories) for each in labels)])
    panel(rows, ["image", "ground truth", *predictions], path)


def _with_heads(backbone: torch.nn.Module, config: Config, num_classes: int) -> CopsNetwork:
    return make_network(
        backbone,
        config.network.heads,
        num_classes,
        config.network.distances,
        config.network.widths,
        config.data.size,
    )
