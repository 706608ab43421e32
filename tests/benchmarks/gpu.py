"""Everything worth knowing about a GPU in less than eight minutes; each figure is a line of JSON.

    python -m tests.benchmarks.gpu [--out gpu.jsonl]      # or `make gpu`

- the tests that need a GPU;
- `amwc.device.solve` on it against `amwc.solve` on the CPU: objective, milliseconds, batches;
- `PanopticLayer` and its loss both ways, forward and backward;
- a training step of both stages with the settings of Cityscapes and COCO: images a second, peak memory;
- 20 iterations of both stages from these settings on drawn images.

A part that fails is a line with its error, and the others still run; the exit status is then 1. A part that
would begin after the seventh minute is left out. `--small` shrinks all sizes, for machines without a GPU.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

import difflayers
from difflayers import amwc
from difflayers.amwc import device
from difflayers.panoptic import PanopticLabels, PanopticLayer, SoftPanopticQualityLoss, compact
from examples.cops.config import Config
from examples.cops.data import DrawnScenes
from examples.cops.data.batches import Crops
from examples.cops.run import runs
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.steps import CrossEntropyStep, SolverStep, finish
from examples.cops.train import train_stage_one, train_stage_two
from tests.benchmarks import scenes
from tests.benchmarks.cops import paper_settings

LATEST = 420.0  # seconds after which no part begins
DATA_SETS = {"cityscapes": "cityscapes-crop", "coco": "coco"}  # and the instances of their crops
Figures = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all parts on a device, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="%(default)s")
    parser.add_argument("--small", action="store_true", help="small sizes and few iterations")
    parser.add_argument("--out", type=Path, help="file for the lines, beside the standard output")
    options = parser.parse_args(arguments)
    where = torch.device(options.device)
    if where.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device; --device cpu --small shows that all parts run", file=sys.stderr)
        return 1
    return report(where, options.small, options.out)


def report(where: torch.device, small: bool, out: Path | None) -> int:
    """Write a line per figure; 1 if a part failed."""
    started, failed = time.monotonic(), False
    lines = [] if out is None else [out.open("w", encoding="utf-8")]

    def write(**figures: Any) -> None:
        for file in (sys.stdout, *lines):
            print(json.dumps(figures), file=file, flush=True)

    write(part="machine", **machine(where))
    for name, part in parts(where, small):
        begun = time.monotonic()
        if begun - started > LATEST:
            write(part=name, left_out="the time was up")
            continue
        try:
            for figures in quietly(part()):
                write(part=name, **figures)
        except Exception as error:  # the other parts are worth running
            failed = True
            write(part=name, error=f"{type(error).__name__}: {error}")
        write(part=name, seconds=round(time.monotonic() - begun, 1))
    for file in lines:
        file.close()
    return int(failed)


def quietly(figures: Iterator[Figures]) -> Iterator[Figures]:
    """The figures, while what is printed besides goes to the standard error."""
    while True:
        with redirect_stdout(sys.stderr):
            found = next(figures, None)
        if found is None:
            return
        yield found


def machine(where: torch.device) -> Figures:
    """What the figures were measured on."""
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else str(where)
    return {"device": name, "torch": torch.__version__, "cores": os.cpu_count()}


def parts(where: torch.device, small: bool) -> Iterator[tuple[str, Callable[[], Iterator[Figures]]]]:
    """All parts, the short ones first."""
    yield "tests", partial(gpu_tests, where)
    for name in DATA_SETS:
        yield f"solver, {name}", partial(solvers, name, where, small)
        yield f"layer, {name}", partial(layers, name, where, small)
        yield f"step, {name}", partial(steps, name, where, small)
        yield f"iterations, {name}", partial(iterations, name, where, small)


def gpu_tests(where: torch.device) -> Iterator[Figures]:
    """Outcome of the tests that need a GPU; without one they would all be skipped."""
    if where.type != "cuda":
        yield {"skipped": "needs a CUDA device"}
        return
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", done.stdout)}
    yield counts | {"status": done.returncode}
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:])


def instance(name: str, seed: int, small: bool) -> scenes.Scene:
    """A drawn instance of the crops of a data set."""
    less = {"shape": (12, 16), "classes": 6, "things": 3, "objects": 3, "distances": (1, 4)} if small else {}
    return scenes.preset(DATA_SETS[name], seed, 2.5, **less)


def milliseconds(run: Callable[[], Any], where: torch.device, repeats: int = 3) -> float:
    """Median time of a run, after one that is not counted."""
    taken = []
    for _ in range(repeats + 1):
        finish(where)
        started = time.perf_counter()
        run()
        finish(where)
        taken.append(1000 * (time.perf_counter() - started))
    return round(float(np.median(taken[1:])), 3)


def solvers(name: str, where: torch.device, small: bool) -> Iterator[Figures]:
    """The solver on the device against the one on the CPU, per image."""
    drawn = [instance(name, seed, small) for seed in range(1, 9)]
    problems = [amwc.AMWC(*scene[:4]) for scene in drawn]
    best = np.array([amwc.solve(problem).cost for problem in problems])
    one = milliseconds(lambda: amwc.solve(amwc.AMWC(*drawn[0][:4])), where)
    yield {"solver": "amwc.solve", "method": "default", "batch": 1, "ms_per_image": one}
    for batch in (1, 8):
        tensors = [
            torch.as_tensor(array).to(where)
            for array in (
                np.stack([scene.node_costs for scene in drawn[:batch]]).astype(np.float32),
                drawn[0].edges.astype(np.int64),
                np.stack([scene.edge_costs for scene in drawn[:batch]]).astype(np.float32),
                drawn[0].partitionable,
            )
        ]
        for method in device.METHODS:
            found = device.solve(*tensors, method).cost.cpu().numpy()  # type: ignore[arg-type]
            worse = float(((found - best[:batch]) / np.abs(best[:batch])).mean())
            taken = milliseconds(partial(device.solve, *tensors, method), where)  # type: ignore[arg-type]
            yield {
                "solver": "amwc.device.solve",
                "method": method,
                "batch": batch,
                "ms_per_image": taken / batch,
                "objective_above_amwc_solve": worse,
            }


def layers(name: str, where: torch.device, small: bool) -> Iterator[Figures]:
    """Layer and loss, forward and backward with N = 5, on the device and through arrays."""
    config = settings(name, small)
    drawn = [instance(name, seed, small) for seed in range(1, 5)]
    scene, shape, distances = drawn[0], drawn[0].classes.shape, (1, 4) if small else config.network.distances
    node = torch.from_numpy(np.stack([s.node_costs.T.reshape(-1, *shape) for s in drawn])).float().to(where)
    sizes = [size for d in distances for size in ((shape[0] - d, shape[1]), (shape[0], shape[1] - d))]
    sizes = [(max(height, 0), max(width, 0)) for height, width in sizes]
    flat = torch.from_numpy(np.stack([s.edge_costs for s in drawn])).float().to(where)
    sides = flat.split([height * width for height, width in sizes], 1)
    edge = [side.reshape(-1, *size) for side, size in zip(sides, sizes, strict=True)]
    truth = [labels_of(s) for s in drawn]
    loss = SoftPanopticQualityLoss(scene.partitionable, 200.0, 512.0)
    for on_device in (True, False):
        rule = difflayers.UniformScales(*config.solver.scales, samples=5, seed=0)
        layer = PanopticLayer(scene.partitionable, distances, rule, n_jobs=-1, on_device=on_device)

        def run(layer: PanopticLayer = layer) -> float:
            given = node.clone().requires_grad_()
            others = [side.clone().requires_grad_() for side in edge]
            output = layer(given, list(zip(others[::2], others[1::2], strict=True)), truth)
            value = loss(output.masks, truth)
            value.backward()
            return value.item()

        yield {
            "on_device": on_device,
            "batch": len(drawn),
            "loss": run(),
            "ms_per_image": milliseconds(run, where, 2) / len(drawn),
        }


def labels_of(scene: scenes.Scene) -> PanopticLabels:
    """The truth behind a scene."""
    keys = scene.classes * (scene.objects.max() + 1) + scene.objects * scene.partitionable[scene.classes]
    values, segments = np.unique(keys, return_inverse=True)
    return compact(segments.reshape(keys.shape).astype(np.int32), values // (scene.objects.max() + 1))


def settings(name: str, small: bool, batch: int = 8, iterations: int = 20) -> Config:
    """The paper's settings with a smaller batch; `small` keeps their kind and shrinks the sizes."""
    config = paper_settings(name)
    if small:
        narrow = type(config.network.widths)(
            aspp=8, decoder=8, project_res3=8, project_res2=8, dilations=(1,)
        )
        batch, iterations = 2, 2
        config = config.change(
            data={"size": (64, 96), "short_sides": (64, 80)},
            network={"distances": (1, 4), "widths": narrow, "backbone": "lite0", "heads": "small"},
            stage2={"short_sides": None},
        )
    return config.change(
        stage1={"batch": batch, "iterations": iterations},
        stage2={"batch": batch, "iterations": iterations},
        run={"workers": 0 if small else min(8, os.cpu_count() or 1)},
    )


def steps(name: str, where: torch.device, small: bool) -> Iterator[Figures]:
    """One training step of each stage again and again on the same crops, without reading."""
    config = settings(name, small)
    data = DrawnScenes("train", 0, 16, size=config.data.size)
    network = runs.build_network(config, len(data.categories)).to(where)
    for stage in (1, 2):
        batch = Crops(data, config, stage, config.stage1.batch)[0, 0].to(where)
        network.requires_grad_(stage == 1)
        for group in network.full_training_groups() if stage == 2 else ():
            for parameter in group:
                parameter.requires_grad_(True)
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trained, 1e-5)
        step = (
            CrossEntropyStep(network, config)
            if stage == 1
            else SolverStep(network, data.is_thing, config, frozen_trunk=True)
        )

        def run(step: Any = step, optimizer: Any = optimizer, batch: Any = batch) -> None:
            optimizer.zero_grad()
            step(batch)[0].backward()
            optimizer.step()

        if where.type == "cuda":
            torch.cuda.reset_peak_memory_stats(where)
        taken = milliseconds(run, where)
        figures = {
            "stage": stage,
            "precision": config.training.precision,
            "batch": len(batch.images),
            "images_per_second": round(1000 * len(batch.images) / taken, 3),
        }
        if stage == 2:
            figures["solver_place"] = step.place
        if where.type == "cuda":
            figures["peak_memory_gib"] = round(torch.cuda.max_memory_allocated(where) / 2**30, 3)
        yield figures


class Unsaved(Checkpoint):
    """A checkpoint that writes nothing."""

    def save(self, **state: Any) -> None:
        """Nothing."""


def iterations(name: str, where: torch.device, small: bool) -> Iterator[Figures]:
    """The first iterations of both stages, with reading, optimizer and schedule."""
    config = settings(name, small)
    data = DrawnScenes("train", 0, 64, size=config.data.size)
    network = runs.build_network(config, len(data.categories)).to(where)
    with TemporaryDirectory() as folder:
        for stage, train in ((1, train_stage_one), (2, train_stage_two)):
            started = time.perf_counter()
            checkpoint = Unsaved(Path(folder) / f"{stage}.pt")
            log = train(network, data, config, checkpoint, progress=False)
            finish(where)
            taken = time.perf_counter() - started
            yield {
                "stage": stage,
                "iterations": len(log),
                "images_per_second": round(len(log) * config.stage1.batch / taken, 3),
                "first_loss": log[0]["loss"],
                "last_loss": log[-1]["loss"],
            }


if __name__ == "__main__":
    sys.exit(main())
