"""Learning shortest paths as PyEPO does, with its losses and ours in one run.

    python -m tests.benchmarks.shortest_path [--grids 5 12 30] [--seeds 5] [--epochs 20] [--without-pyepo]
    python -m tests.benchmarks.shortest_path --scales [--grids 5]

Data are PyEPO's own (`pyepo.data.shortestpath.genData`, 5 features, degree 4, noise 0.5); the model is
linear, trained by fused Adam with 1e-2 in batches of 32. Both libraries get the same data, first weights,
order of batches and training loop, so that all that differs is the loss; PyEPO solves with OR-Tools (GLOP),
as it does by default. Times are medians of an epoch, without evaluation, over all epochs and seeds; "x" is
PyEPO's CPU time over ours, since both compute in one thread and other programs may be running. Regret is
measured on as many instances again and normalized as PyEPO does: mean ± standard deviation over seeds.
Every seed has data of its own, so the difference to mean squared error is taken seed by seed. Training
instances are 1 000 at 5 × 5, 500 at 12 × 12 and 100 at 30 × 30 unless --instances says otherwise.

--scales answers another question: whether tuning λ, or averaging over it, helps the blackbox layer. It
prints the regret of single λ and of UniformScales beside mean squared error and SPO+.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import difflayers
from difflayers import losses, solvers
from difflayers.layers.noise import gaussian_noise

INSTANCES = {5: 1000, 12: 500, 30: 100}
FEATURES = 5
BATCH = 32
SAMPLES = 5
LAMBDA = 10.0  # PyEPO's default
SIGMA = 1.0  # PyEPO's default for its perturbed losses


class Instances(NamedTuple):
    """Features, true costs, their solutions and the value of these, as tensors with a row per instance."""

    features: Tensor
    costs: Tensor
    solutions: Tensor
    values: Tensor

    def rows(self, which: Any) -> "Instances":
        """Some of the instances."""
        return Instances(*(tensor[which] for tensor in self))


# From predicted costs and the instances that they are for to a loss.
Loss = Callable[[Tensor, Instances], Tensor]
# From the name of a method to a function that builds it for a solver and a seed.
Methods = dict[str, Callable[[solvers.ShortestPath, int], Loss]]


def main() -> None:
    """Print a table per grid."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--grids", nargs="+", type=int, default=[5, 12, 30], help="heights of square grids")
    parser.add_argument("--instances", type=int, help="training instances, in place of those above")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--degree", type=int, default=4, help="of the polynomial from features to costs")
    parser.add_argument("--noise", type=float, default=0.5, help="half-width of the factor on each cost")
    parser.add_argument("--without-pyepo", action="store_true", help="train our methods only")
    parser.add_argument("--scales", action="store_true", help="compare λ of the blackbox layer instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for size in arguments.grids:
        solver = solvers.monotone_grid_path((size, size))
        methods = {"MSE": mean_squared_error} | (scale_methods() if arguments.scales else our_methods())
        if not arguments.scales and not arguments.without_pyepo:
            methods |= pyepo_methods(size)
        print_table(solver, methods, size, arguments)


def our_methods() -> Methods:
    """The methods that PyEPO has too, with PyEPO's settings."""
    return {
        "SPO+": spo_plus,
        f"DBB, λ = {LAMBDA:g}": lambda solver, seed: blackbox(solver, LAMBDA),
        f"PFYL, {SAMPLES} samples": perturbed_fenchel_young,
    }


def scale_methods() -> Methods:
    """Blackbox layers with several λ. A mean over the batch of 32 divides the gradients that λ multiplies."""
    methods: Methods = {"SPO+": spo_plus}
    for scale in (1.0, 3.0, 5.0, 10.0, 20.0, 30.0, 100.0, 1000.0):
        methods[f"DBB, λ = {scale:g}"] = lambda solver, seed, scale=scale: blackbox(solver, scale)
    for low, high in ((1.0, 20.0), (5.0, 20.0), (5.0, 50.0), (10.0, 100.0)):
        for samples in (1, 5):
            methods[f"DBB, {samples} λ in [{low:g}, {high:g}]"] = (
                lambda solver, seed, low=low, high=high, samples=samples: blackbox(
                    solver, difflayers.UniformScales(low, high, samples=samples, seed=seed)
                )
            )
    return methods


def mean_squared_error(solver: solvers.ShortestPath, seed: int) -> Loss:
    """The baseline, which does not use the solver."""
    return lambda predicted, true: nn.functional.mse_loss(predicted, true.costs)


def spo_plus(solver: solvers.ShortestPath, seed: int) -> Loss:
    """Ours, with the true solutions given as PyEPO has them."""
    loss = losses.SPOPlusLoss(solver, batched=True)
    return lambda predicted, true: loss(predicted, true_costs=true.costs, true_solutions=true.solutions)


def blackbox(solver: solvers.ShortestPath, scales: Any) -> Loss:
    """The regret of the blackbox layer's solution, as a loss."""
    layer = difflayers.BlackboxLayer(solver, scales=scales, batched=True)
    return lambda predicted, true: ((layer(predicted) * true.costs).sum(dim=1) - true.values).mean()


def perturbed_fenchel_young(solver: solvers.ShortestPath, seed: int) -> Loss:
    """Ours, with the true solutions as targets."""
    noise = gaussian_noise(seed=seed)
    loss = losses.FenchelYoungLoss(solver, sigma=SIGMA, samples=SAMPLES, noise=noise, batched=True)
    return lambda predicted, true: loss(predicted, true_solutions=true.solutions)


def pyepo_methods(size: int) -> Methods:
    """PyEPO's counterparts, on its own model of the grid."""
    from pyepo import func
    from pyepo.model.ort import shortestPathModel

    model = shortestPathModel((size, size))

    def spo(solver: solvers.ShortestPath, seed: int) -> Loss:
        loss = func.SPOPlus(model)
        return lambda predicted, true: loss(predicted, true.costs, true.solutions, true.values[:, None])

    def dbb(solver: solvers.ShortestPath, seed: int) -> Loss:
        layer = func.blackboxOpt(model, lambd=LAMBDA)
        return lambda predicted, true: ((layer(predicted) * true.costs).sum(dim=1) - true.values).mean()

    def pfyl(solver: solvers.ShortestPath, seed: int) -> Loss:
        loss = func.perturbedFenchelYoung(model, n_samples=SAMPLES, sigma=SIGMA, seed=seed)
        return lambda predicted, true: loss(predicted, true.solutions)

    ours = list(our_methods())
    return {f"PyEPO {name}": method for name, method in zip(ours, (spo, dbb, pfyl), strict=True)}


def print_table(
    solver: solvers.ShortestPath, methods: Methods, size: int, arguments: argparse.Namespace
) -> None:
    """Train every method on every seed; one line per method, printed when the method is done."""
    count = arguments.instances or INSTANCES.get(size, 100)
    print(f"\n{size} × {size}: {count} instances, {arguments.epochs} epochs, {arguments.seeds} seeds")
    print(f"{'method':<28} {'ms per epoch':>11} {'CPU ms':>8} {'x':>6}  {'regret':>16}  {'to MSE':>16}")
    ours: dict[str, float] = {}
    baseline: list[float] = []
    for name, method in methods.items():
        epochs: list[tuple[float, float]] = []
        regrets = []
        for seed in range(arguments.seeds):
            data = generate(solver, size, 2 * count, arguments, seed)
            model, times = train(method(solver, seed), data.rows(slice(count)), arguments.epochs, seed)
            regrets.append(regret(model, solver, data.rows(slice(count, None))))
            epochs += times
        wall, cpu = (1e3 * statistics.median(each) for each in zip(*epochs, strict=True))
        ours[name] = cpu
        peer = name.removeprefix("PyEPO ")
        ratio = f"{cpu / ours[peer]:.1f}" if peer != name else ""
        baseline = baseline or regrets
        differences = [mine - other for mine, other in zip(regrets, baseline, strict=True)]
        print(
            f"{name:<28} {wall:>11.1f} {cpu:>8.1f} {ratio:>6}  {mean_and_spread(regrets)}  "
            f"{mean_and_spread(differences)}",
            flush=True,
        )


def mean_and_spread(values: list[float]) -> str:
    """Mean ± standard deviation in per cent."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):>7.2%} ± {spread:>6.2%}"


def generate(
    solver: solvers.ShortestPath, size: int, count: int, arguments: argparse.Namespace, seed: int
) -> Instances:
    """PyEPO's data, solved."""
    from pyepo.data.shortestpath import genData

    features, costs = genData(count, FEATURES, (size, size), arguments.degree, arguments.noise, seed)
    solutions = solver(costs)
    values = (costs * solutions).sum(axis=1)
    arrays = (features, costs, solutions, values)
    return Instances(*(torch.from_numpy(array.astype(np.float32)) for array in arrays))


def train(loss: Loss, data: Instances, epochs: int, seed: int) -> tuple[nn.Module, list[tuple[float, float]]]:
    """Train a linear model; return the model with the seconds of each epoch, by the clock and of CPU."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = nn.Linear(FEATURES, data.costs.shape[1])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
    seconds = []
    for _ in range(epochs):
        order = torch.randperm(len(data.features), generator=generator)
        begin = time.perf_counter(), time.process_time()
        shuffled = data.rows(order)
        for start in range(0, len(order), BATCH):
            batch = shuffled.rows(slice(start, start + BATCH))
            optimizer.zero_grad()
            loss(model(batch.features), batch).backward()
            optimizer.step()
        seconds.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    return model, seconds


def regret(model: nn.Module, solver: solvers.ShortestPath, data: Instances) -> float:
    """How much more than the optima the predicted solutions cost, as a share of the sum of the optima."""
    with torch.no_grad():
        chosen = torch.from_numpy(solver(model(data.features).numpy()))
    total = (chosen * data.costs).sum() - data.values.sum()
    return float(total / data.values.abs().sum())


if __name__ == "__main__":
    main()
