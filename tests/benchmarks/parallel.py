"""From which solve time on do threads and processes pay?

    python -m tests.benchmarks.parallel [--batch 64] [--jobs 2] [--repeats 7]

Times of a forward call for solvers that release the GIL and for solvers in plain Python: one instance after
the other, in threads and in processes (loky). Medians in ms, and how many times faster than one after the
other.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import joblib
import numba
import numpy as np
import torch

import difflayers

SECONDS = (1e-5, 1e-4, 1e-3, 1e-2)


def main() -> None:
    """Print a line for each solver and solve time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", default=64, type=int, help="instances per call")
    parser.add_argument("--jobs", default=2, type=int, help="threads or processes")
    parser.add_argument("--repeats", default=7, type=int, help="calls of which the median counts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    costs = torch.rand(arguments.batch, 100, generator=torch.Generator().manual_seed(0))
    print(
        f"{arguments.batch} instances per call, {arguments.jobs} jobs; "
        "ms per call (times faster than one by one)"
    )
    print(f"{'solver':12s} {'ms per solve':>12s} {'one by one':>11s} {'threads':>16s} {'processes':>16s}")
    for name, spin in (("GIL-free", spin_without_gil), ("plain Python", spin_in_python)):
        rate = calibrated(spin)
        for seconds in SECONDS:
            solver = Spinning(spin, max(1, int(seconds * rate)))
            alone = measure(difflayers.BlackboxLayer(solver), costs, None, arguments.repeats)
            line = f"{name:12s} {alone / arguments.batch * 1e3:12.3f} {alone * 1e3:11.2f}"
            for backend in ("threading", "loky"):
                layer = difflayers.BlackboxLayer(solver, n_jobs=arguments.jobs)
                took = measure(layer, costs, backend, arguments.repeats)
                line += f" {took * 1e3:9.2f} ({alone / took:4.2f})"
            print(line, flush=True)


class Spinning:
    """A solver that is busy for some iterations and returns zeros."""

    def __init__(self, spin: Callable[[int], float], iterations: int) -> None:
        self.spin, self.iterations = spin, iterations

    def __call__(self, costs: np.ndarray) -> np.ndarray:
        """Return zeros, later."""
        self.spin(self.iterations)
        return np.zeros_like(costs)


@numba.njit("float64(int64)", nogil=True)
def spin_without_gil(iterations: int) -> float:
    """Add up numbers without the GIL."""
    total = 0.0
    for i in range(iterations):
        total += np.sin(total + i)
    return total


def spin_in_python(iterations: int) -> float:
    """Add up numbers in the interpreter."""
    total = 0.0
    for i in range(iterations):
        total += i
    return total


def calibrated(spin: Callable[[int], float]) -> float:
    """Return iterations per second."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        spin(200_000)
        times.append(time.perf_counter() - start)
    return 200_000 / min(times)


def measure(layer: difflayers.BlackboxLayer, costs: torch.Tensor, backend: str | None, repeats: int) -> float:
    """Return the median seconds of a forward call, after two that start workers and measure the solver."""
    seconds = []
    with joblib.parallel_config(backend=backend) if backend else nullcontext():
        for _ in range(repeats + 2):
            start = time.perf_counter()
            layer(costs)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


if __name__ == "__main__":
    main()
