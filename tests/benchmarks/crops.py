"""What a training crop of the paper's sizes costs the CPU: reading it, and in stage 2 the layer and the loss.

    python -m tests.benchmarks.crops [--cityscapes folder] [--coco folder]

Medians of CPU seconds on one core, with the settings of `examples/cops/settings`. Reading is timed on the
folders that are given. The layer solves scenes that `scenes.py` draws, forward and, with N = 5, backward.
"""

import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from difflayers import UniformScales, amwc
from difflayers.panoptic import PanopticLabels, PanopticLayer, SoftPanopticQualityLoss
from examples.cops.config import Config
from examples.cops.data import open_dataset
from examples.cops.data.batches import STRIDE, Crops
from tests.benchmarks import scenes
from tests.benchmarks.cops import paper_settings

INSTANCES = {"cityscapes": "cityscapes-crop", "coco": "coco"}
REPEATS = 7


def main() -> None:
    """Print a line for reading, and one for each noise of the drawn instances."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in INSTANCES:
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER", help="the data, to time reading")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, preset in INSTANCES.items():
        config = paper_settings(name)
        if (folder := getattr(options, name)) is not None:
            print(f"{name} {config.data.size}: {reading(folder, config):.2f} s to read a crop", flush=True)
        for noise in (1.5, 2.5):
            seconds = solving(preset, noise, config)
            print(f"{name} {config.data.size}, noise {noise}: {seconds:.2f} s in layer and loss", flush=True)


def reading(folder: Path, config: Config) -> float:
    """CPU seconds from the files to a crop of stage 1 with its targets."""
    crops = Crops(open_dataset(folder, "train"), config, stage=1, size=1)
    taken = []
    for iteration in range(1 + REPEATS):
        started = time.process_time()
        crops[iteration, 0]
        taken.append(time.process_time() - started)
    return statistics.median(taken[1:])


def solving(preset: str, noise: float, config: Config) -> float:
    """CPU seconds of the panoptic layer and the loss, forward and backward, on one image."""
    node, _, edge, partitionable, classes, objects = scenes.preset(preset, 1, noise)
    shape, distances = classes.shape, scenes.PRESETS[preset]["distances"]
    kinds, inverse = np.unique(np.stack([classes.ravel(), objects.ravel()]), axis=1, return_inverse=True)
    labels = PanopticLabels(inverse.reshape(shape).astype(np.int32), kinds[0])
    node_costs = torch.from_numpy(np.float32(node.T).reshape(1, -1, *shape)).requires_grad_()
    height, width = shape
    sides = [[(height - d, width), (height, width - d)] for d in distances]
    costs = iter(torch.from_numpy(np.float32(edge)).split([h * w for pair in sides for h, w in pair]))
    vertical_and_horizontal = [[next(costs).reshape(1, *side) for side in pair] for pair in sides]
    edge_costs = [(v.requires_grad_(), h.requires_grad_()) for v, h in vertical_and_horizontal]
    solve = partial(amwc.solve, method=config.solver.method)
    scales = UniformScales(*config.solver.scales, config.solver.samples, seed=0)
    layer = PanopticLayer(partitionable, distances, scales, solve, solve)
    stuff_area = config.rejection.stuff_area * config.loss.crop_stuff_factor
    loss = SoftPanopticQualityLoss(partitionable, config.rejection.thing_area, stuff_area, STRIDE**2)
    taken = []
    for _ in range(1 + REPEATS):
        started = time.process_time()
        value = loss(layer(node_costs, edge_costs, [labels]).masks, [labels])
        (config.loss.weight * value).backward()
        taken.append(time.process_time() - started)
    return statistics.median(taken[1:])


if __name__ == "__main__":
    main()
