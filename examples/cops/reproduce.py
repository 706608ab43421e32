"""``python -m examples.cops.reproduce``: Table 1's comparison over several seeds, with its spread."""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from examples.cops import runs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.cops.reproduce", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder in COCO-panoptic format; drawn scenes without it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    tables = []
    for seed in options.seeds:
        started = time.perf_counter()
        config = runs.choose_config(options.data, seed)
        figures = runs.run(
            options.data, options.out / f"seed{seed}", replace(config, seed=seed), progress=False
        )
        tables.append(figures)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    print(
        "\n| after | "
        + " | ".join(tables[0]["stage 1"])
        + " |\n| --- |"
        + " --- |" * len(tables[0]["stage 1"])
    )
    for stage in tables[0]:
        values = 100 * np.array([list(figures[stage].values()) for figures in tables])
        cells = [
            f"{mean:.1f} ± {spread:.1f}" for mean, spread in zip(values.mean(0), values.std(0), strict=True)
        ]
        print(f"| {stage} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
