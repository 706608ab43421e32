"""``python -m examples.cops``: train, evaluate, predict, demo."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from difflayers.panoptic import to_coco
from examples.cops import runs
from examples.cops.data import open_dataset
from examples.cops.inference import Predictor, evaluate
from examples.cops.pictures import overlay

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.cops", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("train", "train both stages and evaluate after each; resumes what it finds in --out"),
        ("demo", "the same, on drawn street scenes unless --data is given"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "--data", type=Path, required=name == "train", help="folder in COCO-panoptic format"
        )
        command.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder for what is written")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--iterations-one", type=int, help="iterations of stage 1")
        command.add_argument("--iterations-two", type=int, help="iterations of stage 2")
    command = commands.add_parser("evaluate", help="exact PQ of a checkpoint on a held-out split")
    command.add_argument("--checkpoint", type=Path, required=True)
    command.add_argument("--data", type=Path, help="folder in COCO-panoptic format; drawn scenes without it")
    command.add_argument("--split", default="val")
    command = commands.add_parser("predict", help="label images: overlay, panoptic PNG and JSON")
    command.add_argument("--checkpoint", type=Path, required=True)
    command.add_argument("--out", type=Path, default=Path("runs/predictions"))
    command.add_argument("images", type=Path, nargs="+", help="image files or folders of them")
    return parser


def train(options: argparse.Namespace) -> None:
    config = runs.choose_config(options.data, options.seed)
    given = {
        name: value
        for name in ("iterations_one", "iterations_two")
        if (value := getattr(options, name)) is not None
    }
    figures = runs.run(options.data, options.out, replace(config, **given))
    print(f"\nheld-out images   {'PQ':>6} {'PQ_th':>6} {'PQ_st':>6}")
    for stage, values in figures.items():
        print(f"after {stage:<11} " + " ".join(f"{100 * value:6.1f}" for value in values.values()))
    print(f"pictures: {options.out / 'predictions.png'}, {options.out / 'training.png'}")


def evaluate_checkpoint(options: argparse.Namespace) -> None:
    network, config, categories = runs.load_network(options.checkpoint)
    data = open_dataset(options.data, options.split, config.seed)
    if [category.name for category in data.categories] != [category.name for category in categories]:
        raise SystemExit(
            f"the checkpoint knows the classes {[c.name for c in categories]}, "
            f"the data has {[c.name for c in data.categories]}"
        )
    predictor = Predictor(network, data.is_thing, config)
    quality, _ = evaluate(predictor, data)
    print(f"{len(data)} images: {runs.table_row(quality)}  ({predictor.timing})")
    for category, pq in zip(data.categories, quality.per_class_pq, strict=True):
        print(f"  {category.name:<20} {100 * pq:5.1f}")


def predict(options: argparse.Namespace) -> None:
    network, config, categories = runs.load_network(options.checkpoint)
    is_thing = np.array([category.is_thing for category in categories])
    predictor = Predictor(network, is_thing, config)
    options.out.mkdir(parents=True, exist_ok=True)
    annotations = []
    for path in image_files(options.images):
        image = np.asarray(Image.open(path).convert("RGB"))
        labels = predictor(image)
        rgb, segments = to_coco(labels, [category.id for category in categories])
        Image.fromarray(rgb).save(options.out / f"{path.stem}.png")
        Image.fromarray(overlay(image, labels, categories)).save(options.out / f"{path.stem}_overlay.png")
        annotations.append(
            {"image_id": path.stem, "file_name": f"{path.stem}.png", "segments_info": segments}
        )
        print(f"{path}: {len(segments)} segments")
    (options.out / "panoptic.json").write_text(json.dumps({"annotations": annotations}))


def image_files(paths: list[Path]) -> list[Path]:
    files = []
    for path in paths:
        inside = (
            sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if path.is_dir()
            else [path]
        )
        if not inside:
            raise SystemExit(f"{path} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
        files += inside
    return files


def main() -> None:
    options = arguments().parse_args()
    commands = {"train": train, "demo": train, "evaluate": evaluate_checkpoint, "predict": predict}
    commands[options.command](options)


if __name__ == "__main__":
    main()
