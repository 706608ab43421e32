"""What a layer costs beyond its solver, forward and backward, on a batch of 256; beside PyEPO if installed.

    python -m tests.benchmarks.layers [--batch 256] [--repeats 200]

Each line has the least and the median CPU time of many steps, in µs per instance, less the median time that
the solver itself takes in them. A step is a forward call, a sum, its backward call and the second solve in
it. Costs are vectors of 10 numbers. Three lines are there for comparison: the step without a layer, through
a copy of the costs; the autograd.Function that people copy from paper to paper, which solves one instance
after the other without any check; and the same function for a batched solver, which no layer can go below.
The last column is the median less that of the copy's step: what the layer adds.
"""

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from difflayers import BlackboxLayer

ITEMS = 10
Layer = Callable[[Tensor], Tensor]


def main() -> None:
    """Print a line for each way of running a solver."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", default=256, type=int, help="instances per step")
    parser.add_argument("--repeats", default=200, type=int, help="steps of which the median counts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)])  # as in any training: it imports the compiler
    costs = torch.randn(arguments.batch, ITEMS, generator=torch.Generator().manual_seed(0))
    costs.requires_grad_()
    array = costs.detach().numpy()
    together, single = BlackboxLayer(cheapest_of_batch, batched=True), BlackboxLayer(cheapest)
    own_together = cpu_times(lambda: cheapest_of_batch(array), arguments.repeats)[1]
    own_single = cpu_times(lambda: [cheapest(row) for row in array], arguments.repeats)[1]
    rows: list[tuple[str, Layer, Tensor, float]] = [
        ("a copy, no solver", torch.clone, costs, 0.0),
        ("bare autograd.Function, batched", Bare.apply, costs, own_together),
        ("batched", together, costs, own_together),
        ("batched, bfloat16", together, costs.detach().bfloat16().requires_grad_(), own_together),
        ("one at a time", single, costs, own_single),
        ("copied autograd.Function, one at a time", Copied.apply, costs, own_single),
    ]
    if importlib.util.find_spec("pyepo") is not None:
        rows.append(("PyEPO's DBB, one at a time", *pyepo_layer(costs, arguments.repeats)))
    print(f"{'µs per instance':40s} step less solver: least, median   own time of the solver   layer's part")
    without_layer = 0.0
    for name, layer, given, own in rows:
        times = cpu_times(lambda layer=layer, given=given: train(layer, given), arguments.repeats)
        least, middle, solver = (1e6 * t / arguments.batch for t in (*(t - 2 * own for t in times), 2 * own))
        without_layer = without_layer or middle
        print(f"{name:40s} {least:23.2f} {middle:7.2f} {solver:24.2f} {middle - without_layer:18.2f}")


class Copied(torch.autograd.Function):
    """Blackbox differentiation as it is copied from paper to paper: one instance after the other."""

    @staticmethod
    def forward(ctx: Any, costs: Tensor) -> Tensor:
        """Solve."""
        solution = torch.from_numpy(np.array([cheapest(row) for row in costs.detach().numpy()]))
        ctx.save_for_backward(costs, solution)
        return solution

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Eq. 3."""
        costs, solution = ctx.saved_tensors
        moved = (costs + 10.0 * gradient).detach().numpy()
        return (torch.from_numpy(np.array([cheapest(row) for row in moved])) - solution) / 10.0


class Bare(torch.autograd.Function):
    """Blackbox differentiation and nothing else."""

    @staticmethod
    def forward(ctx: Any, costs: Tensor) -> Tensor:
        """Solve."""
        solution = torch.from_numpy(cheapest_of_batch(costs.detach().numpy()))
        ctx.save_for_backward(costs, solution)
        return solution

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Eq. 3."""
        costs, solution = ctx.saved_tensors
        other = cheapest_of_batch(torch.add(costs, gradient, alpha=10.0).numpy())
        return (torch.from_numpy(other) - solution) / 10.0


def train(layer: Layer, costs: Tensor) -> None:
    """Call forward and backward once, with an incoming gradient everywhere."""
    costs.grad = None
    layer(costs).sum().backward()


def cpu_times(step: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Return the least and the median seconds of a call, of this thread, after a few that warm up."""
    seconds = []
    for _ in range(repeats + 5):
        start = time.thread_time()
        step()
        seconds.append(time.thread_time() - start)
    return min(seconds[5:]), statistics.median(seconds[5:])


EYE = np.eye(ITEMS, dtype=np.float32)


def cheapest(costs: np.ndarray) -> np.ndarray:
    """Take the cheapest item."""
    return EYE[costs.argmin()]


def cheapest_of_batch(costs: np.ndarray) -> np.ndarray:
    """Take the cheapest item of each instance."""
    return EYE[costs.argmin(axis=1)]


def pyepo_layer(costs: Tensor, repeats: int) -> tuple[Layer, Tensor, float]:
    """Return PyEPO's blackbox layer around the same solver, the costs, and the solver's own time for them."""
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

    array = costs.detach().numpy()

    def alone() -> None:
        for row in array:
            model.setObj(row)
            model.solve()

    layer = pyepo.func.blackboxOpt(model, lambd=10, processes=1)
    return layer, costs, cpu_times(alone, repeats)[1]


if __name__ == "__main__":
    main()
