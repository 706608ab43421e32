"""`python -m examples.cops`: train, evaluate, predict, demo.

`torchrun --nproc-per-node N -m examples.cops train …` uses N processes, one per GPU.
So do `evaluate` and `predict`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from examples.cops.data import Category, open_dataset, read_categories
from examples.cops.data.folders import CocoPanoptic
from examples.cops.evaluate import evaluate
from examples.cops.inference import Predictor
from examples.cops.measure.submission import official_quality
from examples.cops.network import CopsNetwork
from examples.cops.predict import predict_files
from examples.cops.run import runs
from examples.cops.run.options import (
    add_config,
    add_iterations,
    add_schedule,
    chosen_config,
    given_iterations,
)
from examples.cops.run.processes import processes, rank


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.cops", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("train", "Train, and evaluate after each stage; resumes what it finds in --out."),
        ("demo", "The same, on drawn street scenes unless --data is given."),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--data",
            type=Path,
            required=name == "train",
            help="folder in COCO-panoptic format, or COCO 2017's or Cityscapes' own tree",
        )
        command.add_argument(
            "--out", type=Path, default=Path("runs/demo"), help="folder for what is written; %(default)s"
        )
        add_config(command)
        add_schedule(command)
        command.add_argument("--imagenet", type=Path, help="file of ImageNet weights of the ResNet-50")
        command.add_argument("--init", type=Path, help="checkpoint to begin with, of `train` or the authors'")
        command.add_argument(
            "--seed", type=int, help="seed of everything random; by default that of the settings, or 0"
        )
        add_iterations(command, "one", "two", "warm", "single")
        command.add_argument("--accumulation", type=int, help="backward passes that a batch is split into")
        command.add_argument("--workers", type=int, help="processes that read and augment")
        command.add_argument(
            "--evaluate-every",
            type=int,
            metavar="N",
            help="evaluate in training, after every N iterations",
        )
    text = "PQ, mean IoU and AP of a checkpoint on a held-out split."
    command = commands.add_parser("evaluate", help=text, description=text)
    command.add_argument(
        "--checkpoint", type=Path, required=True, help="stage1.pt or stage2.pt of `train`, or the authors'"
    )
    add_published(command)
    command.add_argument("--data", type=Path, help="data folder, as for `train`; drawn scenes without it")
    command.add_argument("--split", default="val", help="of the data; %(default)s")
    command.add_argument("--batch", type=int, default=1, help="images that the network sees together")
    command.add_argument("--out", type=Path, help="folder for the predictions and figures.json")
    command.add_argument("--instances", action="store_true", help="write instances as Cityscapes wants them")
    text = "Label images: overlay, panoptic PNG and JSON."
    command = commands.add_parser("predict", help=text, description=text)
    command.add_argument(
        "--checkpoint", type=Path, required=True, help="stage1.pt or stage2.pt of `train`, or the authors'"
    )
    add_published(command)
    command.add_argument(
        "--categories",
        type=Path,
        help="with --published: JSON that lists the classes, as the data set's COCO-panoptic file",
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("runs/predictions"),
        help="folder for what is written; %(default)s",
    )
    command.add_argument(
        "--explain", action="store_true", help="draw also the costs and cuts behind each labeling"
    )
    command.add_argument(
        "--no-pictures", action="store_true", help="write panoptic.json and panoptic/ only, for a submission"
    )
    command.add_argument(
        "--list",
        type=Path,
        metavar="JSON",
        help="label the images that it lists, under its ids, as COCO's image_info_test-dev2017.json",
    )
    command.add_argument("--batch", type=int, default=1, help="images that are read together")
    command.add_argument(
        "images", type=Path, nargs="+", help="image files, or folders, whose subfolders count too"
    )
    return parser


def add_published(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--published",
        action="append",
        metavar="SETTINGS",
        help="the checkpoint is the authors'; cityscapes, coco, or a file as for --config, once per file",
    )


def train(options: argparse.Namespace, device: torch.device) -> None:
    config = chosen_config(options.config, options.data, options.seed)
    given = {name: getattr(options, name) for name in ("accumulation", "workers", "evaluate_every")}
    given = {name: value for name, value in given.items() if value is not None}
    config = config.change(run=given, **given_iterations(options))
    figures = runs.run(
        options.data,
        options.out,
        config,
        schedule=options.schedule,
        device=device,
        imagenet=options.imagenet,
        init=options.init,
    )
    if rank() == 0:
        print(f"\nheld-out images      {'PQ':>6} {'PQ_th':>6} {'PQ_st':>6}")
        for stage, values in figures.items():
            print(f"after {stage:<14} " + " ".join(f"{100 * value:6.1f}" for value in values.values()))
        print(f"pictures: {options.out / 'predictions.png'}, {options.out / 'training.png'}")


def evaluate_checkpoint(options: argparse.Namespace, device: torch.device) -> None:
    network: CopsNetwork
    if options.published is not None:
        data = open_dataset(options.data, options.split)
        network, config = runs.load_published_network(options.checkpoint, options.published, data.categories)
    else:
        network, config, categories = runs.load_network(options.checkpoint)
        data = open_dataset(options.data, options.split, config.training.seed)
        if [category.name for category in data.categories] != [category.name for category in categories]:
            raise SystemExit(
                f"the checkpoint knows the classes {[c.name for c in categories]}, "
                f"the data has {[c.name for c in data.categories]}"
            )
    predictor = Predictor(network.to(device), data.is_thing, config)
    evaluation = evaluate(predictor, data, options.batch, options.out, options.instances)
    if rank() > 0:
        return
    print(f"{len(data)} images  ({predictor.timing})\n{evaluation.table(data.categories)}")
    if options.out is None:
        return
    figures: dict[str, Any] = {
        **runs.summary(evaluation.quality),
        "mean_iou": evaluation.mean_iou,
        **evaluation.instances,
    }
    if isinstance(data, CocoPanoptic):
        official = official_quality(data.json_path, data.labels_folder, options.out)
        if official is not None:
            print("cityscapesscripts: " + "  ".join(f"{n} {100 * v:.1f}" for n, v in official.items()))
            figures["official"] = official
    runs.write_figures(options.out, figures)


def predict(options: argparse.Namespace, device: torch.device) -> None:
    network: CopsNetwork
    categories: Sequence[Category]
    if options.published is not None:
        if options.categories is None:
            raise SystemExit(
                "--published needs --categories: the authors' checkpoints do not name the classes"
            )
        categories = read_categories(options.categories)
        network, config = runs.load_published_network(options.checkpoint, options.published, categories)
    else:
        network, config, categories = runs.load_network(options.checkpoint)
    is_thing = np.array([category.is_thing for category in categories])
    predictor = Predictor(network.to(device), is_thing, config)
    predict_files(
        predictor,
        options.images,
        categories,
        options.out,
        explain=options.explain,
        pictures=not options.no_pictures,
        listed=options.list,
        batch=options.batch,
    )
    if rank() == 0:
        print(predictor.timing)


def main() -> None:
    options = arguments().parse_args()
    commands = {"train": train, "demo": train, "evaluate": evaluate_checkpoint, "predict": predict}
    with processes() as device:
        commands[options.command](options, device)


if __name__ == "__main__":
    main()
