"""Predict the values of items with a linear model that cannot fit them, and pack a knapsack by them.

Squared error fits the many ordinary items; a decision needs only the order of the best items.
The other losses below see the decision. `python -m examples.knapsack` compares them.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import difflayers
from difflayers.solvers import Knapsack
from examples.comparison import Loss, Table, print_table, save, train

ITEMS, FEATURES = 30, 5


class Problems(NamedTuple):
    """A knapsack, and items (N, 30) in it: features (N, 30, 5), true costs and best decisions (N, 30)."""

    solver: Knapsack
    features: Tensor
    costs: Tensor
    decisions: Tensor


def draw_problems(count: int, seed: int) -> Problems:
    """Draw items whose values are a convex function of a hidden weighting of their features, with noise."""
    generator = np.random.default_rng(seed)
    solver = Knapsack(generator.integers(3, 9, ITEMS), capacity=30)
    features = generator.normal(size=(count, ITEMS, FEATURES))
    hidden = features @ generator.choice([-1.0, 1.0], FEATURES) / FEATURES**0.5
    values = ((hidden + 3) / 3) ** 4 * generator.uniform(0.5, 1.5, hidden.shape)
    costs = -torch.from_numpy(values).float()  # costs are minimized: an item of value 2 has cost -2
    return Problems(
        solver, torch.from_numpy(features).float(), costs, torch.from_numpy(solver(costs.numpy()))
    )


def network() -> nn.Module:
    """One linear model, shared by all items, from their features to their costs."""
    return nn.Sequential(nn.Linear(FEATURES, 1), nn.Flatten(1))


def through(layer: nn.Module) -> Loss:
    """The true cost of the layer's decisions, summed over a batch; the regret plus a constant."""
    return lambda costs, true_costs, _: (true_costs * layer(costs)).sum()


def losses(solver: Knapsack, seed: int) -> dict[str, Loss]:
    """Every way to train; sigma is in units of cost (an item's value is about 1), λ in units of true cost."""
    gaussian, gumbel = difflayers.gaussian_noise(seed), difflayers.gumbel_noise(seed)
    spo = difflayers.losses.SPOPlusLoss(solver, batched=True)
    young = difflayers.losses.FenchelYoungLoss(solver, sigma=0.5, samples=5, noise=gaussian, batched=True)
    near = difflayers.UniformScales(0.01, 0.1, samples=5, seed=seed)
    return {
        "squared error": lambda costs, true, _: ((costs - true) ** 2).mean(),
        "SPO+": lambda costs, true, best: spo(costs, true_costs=true, true_solutions=best),
        "Fenchel–Young": lambda costs, _, best: young(costs, true_solutions=best),
        "perturbed": through(difflayers.PerturbedLayer(solver, 0.5, 5, gaussian, batched=True)),
        "I-MLE": through(difflayers.IMLELayer(solver, 0.05, 0.2, noise=gumbel, batched=True)),
        "blackbox, λ = 0.05": through(difflayers.BlackboxLayer(solver, scales=0.05, batched=True)),
        "blackbox, λ = 1": through(difflayers.BlackboxLayer(solver, scales=1.0, batched=True)),
        "blackbox, 5 λ": through(difflayers.BlackboxLayer(solver, scales=near, batched=True)),
        "identity": through(difflayers.IdentityLayer(solver, batched=True)),
    }


@torch.no_grad()
def regret(problems: Problems, model: nn.Module) -> float:
    """The regret of the decisions, as a share of the value of the best decisions."""
    costs = model(problems.features)
    return difflayers.functional.normalized_regret(
        problems.solver, costs, true_costs=problems.costs, true_solutions=problems.decisions, batched=True
    )


def run(
    seeds: Sequence[int] = (0, 1, 2, 3, 4), training: int = 200, testing: int = 500, epochs: int = 40
) -> tuple[Table, dict[str, nn.Module], Problems]:
    """Return every method's regrets in %, one per seed, and the models and test problems of the last seed."""
    table: Table = {}
    for seed in seeds:
        solver, *drawn = draw_problems(training + testing, seed)
        problems = Problems(solver, *(each[:training] for each in drawn))
        test = Problems(solver, *(each[training:] for each in drawn))
        inputs, targets = [problems.features], [problems.costs, problems.decisions]
        ways = losses(solver, seed)
        models = train(network, ways, inputs, targets, seed=seed, epochs=epochs, batch=20, rate=0.02)
        for name, model in models.items():
            table.setdefault(name, []).append((100 * regret(test, model),))
    return table, models, test


@torch.no_grad()
def draw(table: Table, models: dict[str, nn.Module], problems: Problems) -> Figure:
    """Regret of every method, and what two models say of the test items."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    names = [name for name in table if name != "untrained"][::-1]
    left.barh(names, [np.mean(table[name]) for name in names], color="0.85")
    for row, name in enumerate(names):
        left.plot(table[name], [row] * len(table[name]), "k.", ms=5)
    left.set_xlabel("normalized regret in %: bars are means, one dot per seed")
    values = -problems.costs[:60].flatten().numpy()
    for name, color in (("squared error", "tab:gray"), ("SPO+", "tab:red")):
        predicted = -models[name](problems.features[:60]).flatten().numpy()
        right.plot(values, predicted, ".", color=color, ms=3, label=name)
    right.plot([0, 10], [0, 10], "k:", lw=1)
    right.set(xlabel="true value", ylabel="predicted value", xlim=(0, 12))
    right.legend(loc="upper left", markerscale=3)
    return figure


if __name__ == "__main__":
    torch.set_num_threads(1)
    table, models, problems = run((0,), 40, 100, 10) if "--quick" in sys.argv else run()
    print_table("normalized regret in %, mean (range) over seeds", table, digits=2)
    save(draw(table, models, problems), "runs/knapsack/result.png")
