"""What a layer costs beyond its solver, forward and backward, a batch of 256; next to PyEPO where installed.

    python -m tests.benchmarks.layers [--batch 256] [--repeats 200]

Each line is the median of many steps, in µs an instance, less the time that the solver itself takes in them.
A step is a forward call, a backward call and the second solve in it. Costs are vectors of 10 numbers.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import difflayers

ITEMS = 10


def main() -> None:
    """Print a line for each way of running a solver."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", default=256, type=int, help="instances a step")
    parser.add_argument("--repeats", default=200, type=int, help="steps of which the median counts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)])  # as in any training: it imports the compiler
    costs = torch.randn(arguments.batch, ITEMS, generator=torch.Generator().manual_seed(0))
    costs.requires_grad_()
    rows = {
        "batched": (difflayers.BlackboxLayer(cheapest_of_batch, 10.0, batched=True), cheapest_of_batch, 1),
        "one at a time": (difflayers.BlackboxLayer(cheapest, 10.0), cheapest, arguments.batch),
        "batched, bfloat16": (
            difflayers.BlackboxLayer(cheapest_of_batch, 10.0, batched=True),
            cheapest_of_batch,
            1,
        ),
    }
    print(f"{'layer':34s} overhead µs an instance   own time of the solver")
    for name, (layer, solver, calls) in rows.items():
        given = costs.detach().bfloat16().requires_grad_() if "bfloat16" in name else costs
        array = costs.detach().numpy()
        inputs = array if calls == 1 else list(array)
        own = median(
            lambda i=inputs, s=solver, c=calls: [s(x) for x in i] if c > 1 else s(i), arguments.repeats
        )
        step = median(lambda layer=layer, given=given: train(layer, given), arguments.repeats)
        report(name, step - 2 * own, 2 * own, arguments.batch)
    if importlib.util.find_spec("pyepo") is None:
        print("PyEPO is not installed (pip install pyepo)")
        return
    layer, own = pyepo_layer(array, arguments.repeats)
    step = median(lambda: train(layer, costs), arguments.repeats)
    report("PyEPO's DBB, one at a time", step - 2 * own, 2 * own, arguments.batch)


def report(name: str, overhead: float, own: float, batch: int) -> None:
    """Print one line."""
    print(f"{name:34s} {overhead / batch * 1e6:24.2f}   {own / batch * 1e6:22.2f}")


def train(layer: Callable[[torch.Tensor], torch.Tensor], costs: torch.Tensor) -> None:
    """Call forward and backward once, with an incoming gradient everywhere."""
    costs.grad = None
    layer(costs).sum().backward()


def median(step: Callable[[], Any], repeats: int) -> float:
    """Return the median seconds of a call, after a few that warm up."""
    seconds = []
    for _ in range(repeats + 5):
        start = time.process_time()
        step()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds[5:])


EYE = np.eye(ITEMS, dtype=np.float32)


def cheapest(costs: np.ndarray) -> np.ndarray:
    """Take the cheapest item."""
    return EYE[costs.argmin()]


def cheapest_of_batch(costs: np.ndarray) -> np.ndarray:
    """Take the cheapest item of each instance."""
    return EYE[costs.argmin(axis=1)]


def pyepo_layer(costs: np.ndarray, repeats: int) -> tuple[Any, float]:
    """Return PyEPO's blackbox layer around the same solver, and the solver's own time for the costs."""
    import pyepo
    from pyepo.model.opt import optModel

    class Cheapest(optModel):
        def _getModel(self) -> tuple[None, list[int]]:
            return None, list(range(ITEMS))

        def setObj(self, c: Any) -> None:
            self.costs = c

        def solve(self) -> tuple[np.ndarray, float]:
            costs = np.asarray(self.costs)
            item = costs.argmin()
            return EYE[item], float(costs[item])

    model = Cheapest()

    def alone() -> None:
        for row in costs:
            model.setObj(row)
            model.solve()

    return pyepo.func.blackboxOpt(model, lambd=10, processes=1), median(alone, repeats)


if __name__ == "__main__":
    main()
