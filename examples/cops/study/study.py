"""`python -m examples.cops.study`: the effect of each choice in stage 2 and in inference.

For each seed, every row starts from the same stage 1 or the same stage 2 and changes one thing. `--rows`
picks rows; without it all run. Finished rows are read from --out.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from difflayers import amwc
from difflayers.mutex import semantic_mutex_watershed
from examples.cops.config import Config
from examples.cops.data import open_dataset
from examples.cops.evaluate import evaluate
from examples.cops.inference import AmwcSolver, Predictor
from examples.cops.measure.pictures import training_curve
from examples.cops.run import runs
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.run.options import add_config, add_iterations, chosen_config, given_iterations
from examples.cops.run.resume import check_settings
from examples.cops.run.settings import described
from examples.cops.study.calibrate import calibrate
from examples.cops.study.direct import DirectStep
from examples.cops.study.reproduce import table
from examples.cops.study.single import single_stage
from examples.cops.study.voting import CentreVoting, VotingPredictor, train_voting
from examples.cops.train import train_stage_one, train_stage_two

#: Rows that train stage 2 anew: its settings. Figure 4 of the paper, the solver's methods, learning rates.
TRAINED: dict[str, dict[str, dict[str, Any]]] = {
    "stage 2": {},
    "N = 1": {"solver": {"samples": 1}},
    "N = 10": {"solver": {"samples": 10}},
    "λ from 1 to 50": {"solver": {"scales": (1.0, 50.0)}},
    "λ from 1 to 5 000": {"solver": {"scales": (1.0, 5000.0)}},
    "λ from 1 000 to 5 000": {"solver": {"scales": (1000.0, 5000.0)}},
    "trained with fast": {"solver": {"method": "fast"}},
    "trained with best": {"solver": {"method": "best"}},
    "learning rate 5e-5": {"stage2": {"learning_rate": 5e-5}},
    "learning rates of the authors": {"stage2": {"learning_rate": 1e-3, "rate_reduction": 20.0}},
}
#: Rows that label the images with the network of stage 2 in another way.
INFERRED: dict[str, AmwcSolver] = {
    "labeled with fast": partial(amwc.solve, method="fast"),
    "labeled with best": partial(amwc.solve, method="best"),
    "mutex watershed": semantic_mutex_watershed,
}
DIRECT = "losses on class and edge labels"
CALIBRATED = "stage 1, calibrated"
AFTER_CALIBRATION = "stage 2 after calibration"
VOTING = "centre voting"
VOTING_LONGER = "centre voting, trained as long as stage 1"
SINGLE = "single stage, as long as both stages"


def stage_one_row(data: Path | None, out: Path, config: Config) -> dict[str, float]:
    """Train and measure stage 1."""
    train = open_dataset(data, "train", config.training.seed)
    about = described(config, train.categories)
    network = runs.build_network(config, len(train.categories)).to(runs.DEVICE)
    train_stage_one(network, train, config, Checkpoint(out / "stage1.pt", about=about), progress=False)
    return measure(out / "stage1.pt", data)


def trained_row(name: str, data: Path | None, out: Path, config: Config) -> dict[str, float]:
    """Train and measure stage 2 from the stage 1 in `out`, with what the row changes."""
    start = file_name(CALIBRATED) if name == AFTER_CALIBRATION else "stage1"
    network, _, _ = runs.load_network(out / f"{start}.pt")
    train = open_dataset(data, "train", config.training.seed)
    about = described(config, train.categories)
    checkpoint = Checkpoint(out / f"{file_name(name)}.pt", about=about)
    step = DirectStep(network, train.is_thing, config) if name == DIRECT else None
    train_stage_two(network, train, config, checkpoint, progress=False, step=step)
    return measure(checkpoint.path, data)


def inferred_row(name: str, data: Path | None, out: Path, config: Config) -> dict[str, float]:
    """Measure the network of stage 2 with another solver."""
    return measure(out / f"{file_name('stage 2')}.pt", data, INFERRED[name])


def measure(checkpoint: Path, data: Path | None, solver: AmwcSolver | None = None) -> dict[str, float]:
    """PQ, PQ_th and PQ_st of a checkpoint on the held-out images."""
    network, config, _ = runs.load_network(checkpoint)
    held_out = open_dataset(data, "val", config.training.seed)
    predictor = Predictor(network, held_out.is_thing, config, solver)
    return runs.summary(evaluate(predictor, held_out).quality)


def calibrated_row(data: Path | None, out: Path, config: Config) -> dict[str, float]:
    """Measure the network of stage 1 with one constant, chosen on training images, on all its edge costs."""
    network, _, categories = runs.load_network(out / "stage1.pt")
    found = calibrate(network, open_dataset(data, "train", config.training.seed), config)
    print(
        "PQ on training images: " + "  ".join(f"{offset:+g}: {100 * pq:.1f}" for offset, pq in found.items())
    )
    about = described(config, categories)
    path = out / f"{file_name(CALIBRATED)}.pt"
    Checkpoint(path, about=about).save(network=network.state_dict())
    return measure(path, data)


def voting_row(name: str, data: Path | None, out: Path, config: Config) -> dict[str, float]:
    """Train and measure centre voting on the network of stage 1, whose classes it takes over."""
    network, _, _ = runs.load_network(out / "stage1.pt")
    if name == VOTING_LONGER:
        config = config.change(stage2={"iterations": config.stage1.iterations, "batch": config.stage1.batch})
    train, held_out = (open_dataset(data, split, config.training.seed) for split in ("train", "val"))
    torch.manual_seed(config.training.seed)
    voting = CentreVoting(network, config).to(runs.DEVICE)
    checkpoint = Checkpoint(out / f"{file_name(name)}.pt", about=described(config))
    train_voting(voting, train, config, checkpoint, progress=False)
    predictor = VotingPredictor(voting, held_out.is_thing, config)
    return runs.summary(evaluate(predictor, held_out).quality)


def file_name(row: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in row)


Row = Callable[[Path | None, Path, Config], dict[str, float]]
ROWS: dict[str, Row] = {
    "stage 1": stage_one_row,
    **{name: partial(trained_row, name) for name in (*TRAINED, DIRECT)},
    **{name: partial(inferred_row, name) for name in INFERRED},
    CALIBRATED: calibrated_row,
    AFTER_CALIBRATION: partial(trained_row, AFTER_CALIBRATION),
    **{name: partial(voting_row, name) for name in (VOTING, VOTING_LONGER)},
    SINGLE: single_stage,
}
START = ("stage 1", "stage 2")  # what the other rows begin with


def study(data: Path | None, out: Path, config: Config, rows: list[str]) -> dict[str, dict[str, float]]:
    """The rows of one seed, and those that they begin with; each result is kept as soon as it is known."""
    results_path = out / "study.json"
    results: dict[str, dict[str, float]] = (
        json.loads(results_path.read_text()) if results_path.exists() else {}
    )
    out.mkdir(parents=True, exist_ok=True)
    for name, file in (("stage 1", "stage1"), ("stage 2", file_name("stage 2"))):
        check_settings(Checkpoint(out / f"{file}.pt"), config, name)
    needed = [*START, CALIBRATED] if AFTER_CALIBRATION in rows else START
    for name in dict.fromkeys((*needed, *rows)):
        if name in results:
            continue
        changed = config.change(**TRAINED.get(name, {}))
        if name in TRAINED and name not in START and changed == config:
            results[name] = results["stage 2"]  # what the row says is a setting of the data set already
        else:
            results[name] = ROWS[name](data, out, changed)
        results_path.write_text(json.dumps(results))
        print(f"{name}: " + "  ".join(f"{k} {100 * v:.1f}" for k, v in results[name].items()), flush=True)
    figure_five(out)
    return {name: results[name] for name in (*START, *rows)}


def figure_five(out: Path) -> None:
    """Draw the training of both stages, and print how soft and exact PQ of the batches went together."""
    log = []
    for path in (out / "stage1.pt", out / f"{file_name('stage 2')}.pt"):
        state = Checkpoint(path).load()
        if state is None:
            raise FileNotFoundError(f"{path} does not exist, but {out / 'study.json'} has its results")
        log += state["log"]
    training_curve(log, out / "training.png")
    soft, exact = (np.array([entry[name] for entry in log if name in entry]) for name in ("soft_pq", "pq"))
    ends = max(1, len(soft) // 6)
    print(
        f"stage 2, first and last {ends} iterations: "
        + ", ".join(
            f"{name} PQ {each[:ends].mean():.2f} and {each[-ends:].mean():.2f}"
            for name, each in (("soft", soft), ("exact", exact))
        )
        + f"; correlation over iterations {np.corrcoef(soft, exact)[0, 1]:.2f}; {out / 'training.png'}"
    )


def main() -> None:
    rows = [name for name in ROWS if name not in START]
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
    add_config(parser)
    add_iterations(parser, "one", "two", "warm")
    options = parser.parse_args()
    given = given_iterations(options)
    results = []
    for seed in options.seeds:
        config = chosen_config(options.config, options.data, seed).change(**given)
        results.append(study(options.data, options.out / f"seed{seed}", config, options.rows))
    print(f"\n{table(results)}")


if __name__ == "__main__":
    main()
