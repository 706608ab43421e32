"""The solver on tensors: time per image, alone and in batches, on the CPU and on a GPU if there is one.

    python -m tests.benchmarks.device [--presets cityscapes] [--batches 1 8]

Costs are float32 and on the device before the clock starts. Times are medians. The difference is that to
`amwc.solve` on the CPU, in per cent of it, the largest of the batch. "numba" is that solver, and "start"
improves a solution that is good already.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch

from difflayers import amwc
from difflayers.amwc import device
from tests.benchmarks import scenes
from tests.benchmarks.amwc import solve_anew, timed


def main() -> None:
    """Print a line for every preset, noise, device, batch and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=list(scenes.PRESETS), choices=scenes.PRESETS)
    parser.add_argument("--noises", nargs="+", type=float, default=[1.5, 2.5, 4.0])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--repeats", default=5, type=int, help="runs of which the median counts")
    arguments = parser.parse_args()
    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices.append(torch.device("cuda"))
        print(torch.cuda.get_device_name())
    print("preset           noise device batch method   ms per image  difference")
    for preset in arguments.presets:
        for noise in arguments.noises:
            instances = [
                scenes.preset(preset, seed, noise)[:4] for seed in range(1, max(arguments.batches) + 1)
            ]
            report(preset, noise, instances, devices, arguments.batches, arguments.repeats)


def report(
    preset: str,
    noise: float,
    instances: list[tuple[np.ndarray, ...]],
    devices: list[torch.device],
    batches: list[int],
    repeats: int,
) -> None:
    """Time and quality of every method, device and batch on some instances over the same edges."""
    problems = [amwc.AMWC(*instance) for instance in instances]
    amwc.solve(problems[0])  # compiles
    costs = torch.tensor([amwc.solve(problem).cost for problem in problems], dtype=torch.float64)
    print(
        line(
            preset,
            noise,
            "numba",
            1,
            "default",
            timed(lambda: solve_anew(problems[0], "default"), repeats)[0],
        )
    )
    for where in devices:
        for batch in batches:
            inputs = (
                on(where, np.stack([p.node_costs for p in problems[:batch]])).float(),
                on(where, problems[0].edges).long(),
                on(where, np.stack([p.edge_costs for p in problems[:batch]])).float(),
                on(where, problems[0].partitionable),
            )
            for method in device.METHODS:
                run = waiting(inputs, method)
                run()
                seconds, found = timed(run, repeats)
                difference = ((found.cost.cpu() - costs[:batch]) / costs[:batch].abs()).max().item()
                print(
                    line(preset, noise, where.type, batch, method, seconds / batch)
                    + f" {100 * difference:>+10.3f}%",
                    flush=True,
                )
            again = waiting(inputs, "default", start=found)
            print(line(preset, noise, where.type, batch, "start", timed(again, repeats)[0] / batch))


def waiting(
    inputs: tuple[torch.Tensor, ...], method: str, start: device.TensorSolution | None = None
) -> Callable[[], device.TensorSolution]:
    """A run that ends when its device has finished."""

    def run() -> device.TensorSolution:
        found = device.solve(*inputs, method, start=start)
        if found.cost.is_cuda:
            torch.cuda.synchronize()
        return found

    return run


def on(where: torch.device, array: np.ndarray) -> torch.Tensor:
    """An array on a device."""
    return torch.as_tensor(array, device=where)


def line(preset: str, noise: float, where: str, batch: int, method: str, seconds: float) -> str:
    """A line of the table, without the difference."""
    return f"{preset:<16} {noise:>5} {where:<6} {batch:>5} {method:<8} {1e3 * seconds:>12.1f}"


if __name__ == "__main__":
    main()
