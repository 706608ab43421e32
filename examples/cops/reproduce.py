"""``python -m examples.cops.reproduce``: Table 1's comparison over several seeds, with its spread.

For each seed: both stages, and a control that spends the iterations of stage 2 on more of stage 1, from the
same network and at the same learning rate. A run that is repeated takes up what it finds in --out.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from examples.cops import runs
from examples.cops.config import Config
from examples.cops.data import open_dataset
from examples.cops.inference import Predictor, evaluate
from examples.cops.train import Checkpoint, train_stage_one

CONTROL = "stage 1, continued"


def control(data: Path | None, out: Path, config: Config) -> dict[str, float]:
    """Train the network of ``out``'s first stage on with stage 1's loss for as long as stage 2 would take."""
    network, _, _ = runs.load_network(out / "stage1.pt")
    longer = replace(
        config,
        iterations_one=config.iterations_two,
        batch_one=config.batch_two,
        learning_rate_one=config.learning_rate_two,
        seed=config.seed + 1000,  # other crops than those that stage 1 began with
    )
    train = open_dataset(data, "train", config.seed)
    train_stage_one(network, train, longer, Checkpoint(out / "control.pt"), progress=False)
    held_out = open_dataset(data, "val", config.seed)
    quality, _ = evaluate(Predictor(network, held_out.is_thing, config), held_out)
    print(f"{CONTROL}: {runs.table_row(quality)}", flush=True)
    return runs.summary(quality)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.cops.reproduce", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder in COCO-panoptic format; drawn scenes without it")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is written")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    tables = []
    for seed in options.seeds:
        started = time.perf_counter()
        out, config = options.out / f"seed{seed}", runs.choose_config(options.data, seed)
        figures = runs.run(options.data, out, config, progress=False)
        figures[CONTROL] = control(options.data, out, config)
        tables.append(figures)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    names = list(tables[0]["stage 1"])
    print("\n| after | " + " | ".join(names) + " |\n| --- |" + " --- |" * len(names))
    for stage in tables[0]:
        values = 100 * np.array([list(figures[stage].values()) for figures in tables])
        cells = [
            f"{mean:.1f} ± {spread:.1f}" for mean, spread in zip(values.mean(0), values.std(0), strict=True)
        ]
        print(f"| {stage} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
