"""COPS: network against solver at inference, and what the solver costs in training.

    python -m tests.benchmarks.cops [--checkpoint runs/demo/stage2.pt] [--paper] [--estimate]

Prints medians. The images of a batch are solved at once, one per core. Without a GPU the small network runs
on all cores, and the paper's network with `--paper`; on a GPU the paper's network runs in bfloat16. Solver
times at the paper's sizes are those of scenes drawn by `scenes.py`, because an untrained network gives costs
that no trained network gives. With `--checkpoint` there are also times of real costs. `--estimate` counts the
operations and the activations of training, without running it.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from difflayers import amwc
from examples.cops import train
from examples.cops.config import DRAWN, Config
from examples.cops.data import DrawnScenes, open_dataset
from examples.cops.data.batches import Batch
from examples.cops.inference import Predictor, Timing
from examples.cops.run import runs
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.run.settings import SETTINGS, load
from examples.cops.steps import drop_costs, logits_of
from tests.benchmarks import scenes
from tests.benchmarks.amwc import solve_anew, timed

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PRESETS = {"coco": (640, 640), "cityscapes": (1024, 2048)}


def main() -> None:
    """Run those measurements that the machine and the arguments allow."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, help="of a trained network, for inference on real costs")
    parser.add_argument("--data", type=Path, help="of the checkpoint; drawn scenes without it")
    parser.add_argument("--paper", action="store_true", help="run the paper's network on the CPU too")
    parser.add_argument("--repeats", default=5, type=int, help="runs of which the median counts")
    parser.add_argument("--estimate", action="store_true", help="only count operations and activations")
    options = parser.parse_args()
    if options.estimate:
        for name in PRESETS:
            estimate(name)
        return
    torch.set_num_threads(os.cpu_count() or 1)
    print(f"device {DEVICE}, {torch.get_num_threads()} threads")
    if options.checkpoint is not None:
        trained_inference(options.checkpoint, options.data)
    if DEVICE.type == "cuda" or options.paper:
        paper_inference(options.repeats)
    if DEVICE.type == "cuda":
        for name in PRESETS:
            training(name, paper_settings(name).change(run={"workers": os.cpu_count() or 1}), batch=24)
    else:
        print("no GPU: images a second in bfloat16 and training at the paper's sizes are skipped")
        training("drawn", DRAWN, batch=8)


def paper_settings(name: str) -> Config:
    return load(sorted(SETTINGS.glob(f"{name}.*.toml")))


def trained_inference(checkpoint: Path, data: Path | None) -> None:
    """Network, solver and rest on held-out images, with the costs of a trained network."""
    network, config, _ = runs.load_network(checkpoint)
    held_out = open_dataset(data, "val", config.training.seed)
    images = [held_out[index].image for index in range(min(40, len(held_out)))]
    cores = os.cpu_count() or 1
    for batch in (1, cores):
        for method in ("fast", "default", "best"):
            predictor = Predictor(
                network.to(DEVICE),
                held_out.is_thing,
                config.change(inference={"method": method}),
            )
            timings = []
            for start in range(0, len(images) - batch + 1, batch):
                predictor.timing = Timing()
                predictor.predict(images[start : start + batch])
                timings.append(predictor.timing)
            parts = ("network", "solver", "rest")
            median = Timing(
                *(statistics.median(getattr(one, part) for one in timings) for part in parts), batch
            )
            print(f"{checkpoint}, batch {batch}, {method}: {median}; ", end="")
            print(f"solver / network {median.solver / median.network:.2f}")


def paper_inference(repeats: int) -> None:
    """The paper's network on images of the paper's sizes, and the solver on instances of those sizes."""
    for name, size in PRESETS.items():
        config = paper_settings(name)
        num_classes = {"coco": 133, "cityscapes": 19}[name]
        network = runs.build_network(config, num_classes).to(DEVICE).eval()
        cores = os.cpu_count() or 1
        scene = scenes.preset(name, 1, 2.5)[:4]
        problems = [amwc.AMWC(*scene) for _ in range(cores)]
        for batch in (1, 4, 8) if DEVICE.type == "cuda" else (1,):
            images = torch.randn(batch, 3, *size, device=DEVICE)

            @torch.no_grad()
            def forward(network: Any = network, images: torch.Tensor = images) -> None:
                with torch.autocast(DEVICE.type, torch.bfloat16, enabled=DEVICE.type == "cuda"):
                    network(images)
                synchronize()

            forward()
            seconds, _ = timed(forward, repeats)
            print(f"{name} {size}, batch {batch}: network {1000 * seconds / batch:.0f} ms per image", end="")
            print(f" ({batch / seconds:.1f} images/s){peak_memory()}")
        for method in ("fast", "default", "best"):
            anew = partial(solve_anew, method=method)
            anew(problems[0])
            alone, _ = timed(lambda p=problems[0], solve=anew: solve(p), repeats)
            with ThreadPoolExecutor(cores) as pool:
                together, _ = timed(
                    lambda ps=problems, solve=anew, pool=pool: list(pool.map(solve, ps)), repeats
                )
            print(
                f"{name} {method}: solver {1000 * alone:.0f} ms per image alone, "
                f"{1000 * together / cores:.0f} ms with {cores} images on {cores} cores"
            )


def training(name: str, config: Config, batch: int, iterations: int = 9) -> None:
    """Images per second in stage 2, with the solver and with a mean of costs in its place.

    Each runs with the frozen trunk overlapped and in turn. The overlap is a gain without a solver too.
    """
    drawn = DrawnScenes("train", 0, 64, size=config.data.size)
    for overlap in (True, False):
        settings = config.change(
            run={"overlap": overlap}, stage2={"batch": batch, "iterations": iterations, "warm_up": 1}
        )
        print(f"stage 2, {name} {config.data.size}, batch {batch}, {'overlapped' if overlap else 'in turn'}:")
        for what, step in (("with the solver", None), ("without", MeanCosts)):
            network = runs.build_network(settings, len(drawn.categories)).to(DEVICE)
            seconds = iteration_seconds(network, drawn, settings, step)
            print(f"    {what}: {batch / seconds:.1f} images/s{peak_memory()}")


def estimate(name: str) -> None:
    """Operations and saved activations per image, counted on tensors without content.

    A backward pass is taken to cost twice its forward pass: torch's own count of it overlooks groups.
    """
    config = paper_settings(name)
    with torch.device("meta"):
        network = runs.build_network(config, {"coco": 133, "cityscapes": 19}[name])
        crop, whole = torch.empty(1, 3, *config.data.size), torch.empty(1, 3, *PRESETS[name])
    trunk = operations(lambda: network.trunk(crop))
    forward = operations(lambda: network(crop))
    print(f"{name} inference, {PRESETS[name]}: {operations(lambda: network(whole)):.2f} TFLOP per image")
    for stage, total in ((1, 3 * forward), (2, trunk + 3 * (forward - trunk))):
        network.train(stage == 1)
        network.requires_grad_(stage == 1)
        for parameter in (p for group in network.full_training_groups() for p in group):
            parameter.requires_grad_(True)
        print(
            f"{name} stage {stage}, {config.data.size}: {total:.2f} TFLOP and "
            f"{activations(network, crop):.2f} GiB of activations in bfloat16 a crop"
        )


def operations(run: Callable[[], Any]) -> float:
    """Floating-point operations in 10^12; a multiplication and an addition count as two."""
    with FlopCounterMode(display=False) as count, torch.no_grad():
        run()
    return count.get_total_flops() / 1e12


def activations(network: Any, images: torch.Tensor) -> float:
    """GiB that a forward pass keeps for its backward pass, two bytes per number, weights not counted."""
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[id(tensor)] = tensor  # kept alive, so that no other tensor gets its id
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        network(images)
    return 2 * sum(tensor.numel() for tensor in kept.values()) / 2**30


class MeanCosts(torch.nn.Module):
    """A step that does all of stage 2 but the solving and the panoptic quality."""

    def __init__(self, network: Any, config: Config) -> None:
        super().__init__()
        self.network, self.config = network, config

    def forward(self, batch: Batch, trunk: Any = None) -> tuple[torch.Tensor, dict[str, float]]:
        costs = self.network.costs(logits_of(self.network, batch.images, self.config, trunk))
        costs = drop_costs(costs, self.config.loss.cost_dropout, batch.seeds)
        return costs.node.mean() + sum(side.mean() for pair in costs.edge for side in pair), {}


def iteration_seconds(
    network: Any, data: Any, config: Config, step: Callable[[Any, Config], torch.nn.Module] | None
) -> float:
    """Median seconds of an iteration of stage 2; the first ones compile and are not counted."""
    stamps: list[float] = []

    class Clock(Checkpoint):
        def save(self, **state: Any) -> None:
            synchronize()
            stamps.append(time.perf_counter())

    with TemporaryDirectory() as folder:
        clock = Clock(Path(folder) / "none.pt", every=1)
        made = step(network, config) if step is not None else None
        train.train_stage_two(network, data, config, clock, progress=False, step=made)
    return statistics.median(islice(np.diff(stamps), 2, None))


def synchronize() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def peak_memory() -> str:
    """The peak of GPU memory since the last call."""
    if DEVICE.type != "cuda":
        return ""
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return f", {peak:.1f} GiB"


if __name__ == "__main__":
    main()
