"""`python -m examples.cops.study.reproduce`: Table 1's comparison over several seeds, with its spread.

For each seed: both stages, and a control that spends the iterations of stage 2 on more of stage 1, from the
same network and at the same learning rate. With --schedule single also the single stage, for as long as the
two stages. A repeated run continues what it finds in --out.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from examples.cops.config import Config
from examples.cops.data import open_dataset
from examples.cops.evaluate import evaluate
from examples.cops.inference import Predictor
from examples.cops.run import runs
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.run.options import (
    add_config,
    add_iterations,
    add_schedule,
    chosen_config,
    given_iterations,
)
from examples.cops.study.single import single_stage
from examples.cops.train import train_stage_one

CONTROL = "stage 1, continued"


def control(data: Path | None, out: Path, config: Config) -> dict[str, float]:
    """Train the network of `out`'s first stage on with stage 1's loss for as long as stage 2 would take."""
    network, _, _ = runs.load_network(out / "stage1.pt")
    two = config.stage2
    longer = config.change(
        stage1={"iterations": two.iterations, "batch": two.batch, "learning_rate": two.learning_rate},
        training={"seed": config.training.seed + 1000},  # other crops than those that stage 1 began with
    )
    train = open_dataset(data, "train", config.training.seed)
    train_stage_one(network, train, longer, Checkpoint(out / "control.pt"), progress=False)
    held_out = open_dataset(data, "val", config.training.seed)
    quality = evaluate(Predictor(network, held_out.is_thing, config), held_out).quality
    print(f"{CONTROL}: {runs.table_row(quality)}", flush=True)
    return runs.summary(quality)


def table(rows: Sequence[dict[str, dict[str, float]]]) -> str:
    """Mean ± standard deviation over the seeds, as Markdown."""
    names = list(next(iter(rows[0].values())))
    lines = ["| after | " + " | ".join(names) + " |", "| --- |" + " --- |" * len(names)]
    for stage in rows[0]:
        values = 100 * np.array([list(figures[stage].values()) for figures in rows])
        cells = [f"{mean:.1f} ± {std:.1f}" for mean, std in zip(values.mean(0), values.std(0), strict=True)]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m examples.cops.study.reproduce",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="data folder; drawn scenes without it")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is written")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one run each; 0 1 2")
    add_schedule(parser)
    add_config(parser)
    add_iterations(parser, "one", "two", "warm")
    options = parser.parse_args()
    given = given_iterations(options)
    rows = []
    for seed in options.seeds:
        started = time.perf_counter()
        out = options.out / f"seed{seed}"
        config = chosen_config(options.config, options.data, seed).change(**given)
        figures = runs.run(options.data, out, config, progress=False)
        figures[CONTROL] = control(options.data, out, config)
        if options.schedule == "single":
            figures["single stage"] = single_stage(options.data, out, config)
        rows.append(figures)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
