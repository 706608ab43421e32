"""``python -m examples.cops.study``: what each choice of stage 2 and of inference is worth.

Every row starts from the same stage 1, or the same stage 2, of a seed, and changes one thing. `--rows` picks
some; without it all run. What was finished before is read from --out.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from difflayers import amwc
from difflayers.mutex import semantic_mutex_watershed
from examples.cops import runs
from examples.cops.calibrate import calibrate
from examples.cops.checkpoint import Checkpoint
from examples.cops.config import Config
from examples.cops.data import open_dataset
from examples.cops.direct import DirectStep
from examples.cops.evaluate import evaluate
from examples.cops.inference import AmwcSolver, Predictor
from examples.cops.reproduce import table
from examples.cops.single import single_stage
from examples.cops.train import train_stage_one, train_stage_two
from examples.cops.voting import CentreVoting, VotingPredictor, train_voting

#: Rows that train stage 2 anew: its settings. Figure 4 of the paper, the solver's methods, learning rates.
TRAINED: dict[str, dict[str, Any]] = {
    "stage 2": {},
    "N = 1": {"samples": 1},
    "N = 10": {"samples": 10},
    "λ from 1 to 50": {"scales": (1.0, 50.0)},
    "λ from 1 to 5 000": {"scales": (1.0, 5000.0)},
    "λ from 1 000 to 5 000": {"scales": (1000.0, 5000.0)},
    "trained with fast": {"method": "fast"},
    "trained with best": {"method": "best"},
    "learning rate 5e-5": {"learning_rate_two": 5e-5},
    "learning rates of the authors": {"learning_rate_two": 1e-3, "rate_reduction": 20.0},
}
DIRECT = "losses on class and edge labels"
CALIBRATED = "stage 1, calibrated"
AFTER_CALIBRATION = "stage 2 after calibration"
VOTING = "centre voting"
VOTING_LONGER = "centre voting, trained as long as stage 1"
SINGLE = "single stage, as long as both stages"

#: Rows that label the images with the network of stage 2 in another way.
INFERRED: dict[str, AmwcSolver] = {
    "labelled with fast": partial(amwc.solve, method="fast"),
    "labelled with best": partial(amwc.solve, method="best"),
    "mutex watershed": semantic_mutex_watershed,
}


def train_row(name: str, data: Path | None, out: Path, config: Config) -> None:
    """Train stage 2 from the stage 1 in `out`, changed as the row says, unless it has been."""
    start = file_name(CALIBRATED) if name == AFTER_CALIBRATION else "stage1"
    network, _, _ = runs.load_network(out / f"{start}.pt")
    train = open_dataset(data, "train", config.seed)
    about = {"config": asdict(config), "categories": [list(category) for category in train.categories]}
    checkpoint = Checkpoint(out / f"{file_name(name)}.pt", about=about)
    step = DirectStep(network, train.is_thing, config) if name == DIRECT else None
    train_stage_two(network, train, config, checkpoint, progress=False, step=step)


def measure(checkpoint: Path, data: Path | None, solver: AmwcSolver | None = None) -> dict[str, float]:
    """PQ, PQ_th and PQ_st of a checkpoint on the held-out images."""
    network, config, _ = runs.load_network(checkpoint)
    held_out = open_dataset(data, "val", config.seed)
    predictor = Predictor(network, held_out.is_thing, config, solver)
    return runs.summary(evaluate(predictor, held_out).quality)


def calibrated_row(data: Path | None, out: Path, config: Config) -> dict[str, float]:
    """Measure the network of stage 1 with one constant, chosen on training images, on all its edge costs."""
    network, _, categories = runs.load_network(out / "stage1.pt")
    found = calibrate(network, open_dataset(data, "train", config.seed), config)
    print(
        "PQ on training images: " + "  ".join(f"{offset:+g}: {100 * pq:.1f}" for offset, pq in found.items())
    )
    about = {"config": asdict(config), "categories": [list(category) for category in categories]}
    path = out / f"{file_name(CALIBRATED)}.pt"
    Checkpoint(path, about=about).save(network=network.state_dict())
    return measure(path, data)


def voting_row(name: str, data: Path | None, out: Path, config: Config) -> dict[str, float]:
    """Train and measure centre voting on the network of stage 1, whose classes it takes over."""
    network, _, _ = runs.load_network(out / "stage1.pt")
    if name == VOTING_LONGER:
        config = replace(config, iterations_two=config.iterations_one, batch_two=config.batch_one)
    train, held_out = (open_dataset(data, split, config.seed) for split in ("train", "val"))
    torch.manual_seed(config.seed)
    voting = CentreVoting(network, config)
    checkpoint = Checkpoint(out / f"{file_name(name)}.pt", about={"config": asdict(config)})
    train_voting(voting, train, config, checkpoint, progress=False)
    predictor = VotingPredictor(voting, held_out.is_thing, config)
    return runs.summary(evaluate(predictor, held_out).quality)


def file_name(row: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in row)


def study(data: Path | None, out: Path, config: Config, rows: list[str]) -> dict[str, dict[str, float]]:
    """All rows of one seed; each result is kept as soon as it is known."""
    results_path = out / "study.json"
    results: dict[str, dict[str, float]] = (
        json.loads(results_path.read_text()) if results_path.exists() else {}
    )
    out.mkdir(parents=True, exist_ok=True)

    def once(name: str, work: Callable[[], dict[str, float]]) -> None:
        if name not in results:
            results[name] = work()
            results_path.write_text(json.dumps(results))
            print(f"{name}: " + "  ".join(f"{k} {100 * v:.1f}" for k, v in results[name].items()), flush=True)

    def stage_one() -> dict[str, float]:
        train = open_dataset(data, "train", config.seed)
        about = {"config": asdict(config), "categories": [list(category) for category in train.categories]}
        network = runs.build_network(config, len(train.categories))
        train_stage_one(network, train, config, Checkpoint(out / "stage1.pt", about=about), progress=False)
        return measure(out / "stage1.pt", data)

    def stage_two(name: str) -> dict[str, float]:
        changed = replace(config, **TRAINED.get(name, {}))
        if changed == config and name in TRAINED and "stage 2" in results:
            return results["stage 2"]  # what the row says is a setting of the data set already
        train_row(name, data, out, changed)
        return measure(out / f"{file_name(name)}.pt", data)

    once("stage 1", stage_one)
    once("stage 2", partial(stage_two, "stage 2"))
    for name in rows:
        if name in INFERRED:
            once(name, partial(measure, out / f"{file_name('stage 2')}.pt", data, INFERRED[name]))
        elif name == CALIBRATED:
            once(name, partial(calibrated_row, data, out, config))
        elif name in (VOTING, VOTING_LONGER):
            once(name, partial(voting_row, name, data, out, config))
        elif name == SINGLE:
            once(name, partial(single_stage, data, out, config))
        else:
            if name == AFTER_CALIBRATION:
                once(CALIBRATED, partial(calibrated_row, data, out, config))
            once(name, partial(stage_two, name))
    return {name: results[name] for name in ("stage 1", "stage 2", *rows)}


def main() -> None:
    rows = [
        *list(TRAINED)[1:],
        DIRECT,
        *INFERRED,
        CALIBRATED,
        AFTER_CALIBRATION,
        VOTING,
        VOTING_LONGER,
        SINGLE,
    ]
    parser = argparse.ArgumentParser(
        prog="python -m examples.cops.study",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="data folder; drawn scenes without it")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is written")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one study each; 0 1 2")
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=rows,
        default=rows,
        metavar="ROW",
        help='in quotation marks: "' + '", "'.join(rows) + '"',
    )
    runs.add_config(parser)
    runs.add_iterations(parser, "one", "two", "warm")
    options = parser.parse_args()
    given = runs.given_iterations(options)
    results = []
    for seed in options.seeds:
        config = replace(runs.chosen_config(options.config, options.data, seed), **given)
        results.append(study(options.data, options.out / f"seed{seed}", config, options.rows))
    print(f"\n{table(results)}")


if __name__ == "__main__":
    main()
