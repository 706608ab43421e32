"""A knapsack with unknown weights, repacked at a loss when they are known (Silvestri et al. 2023; PyDFLT)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from difflayers._arguments import count
from difflayers.solver import Array
from difflayers.solvers import Knapsack
from difflayers.tasks.polynomial import checked, polynomial_costs
from difflayers.tasks.task import Task


@dataclass(frozen=True, eq=False)
class TwoStageKnapsack:
    """Packs for predicted weights, and repacks at a loss under the true ones.

    First, items of values v are packed by their predicted weights, and each earns v. Later, when the weights
    are known, an item may be taken out, which costs `remove` · v, or added, which earns only `add` · v.
    Repacking is a knapsack too, and it is solved exactly.

    Args:
        values: (n,) positive values.
        capacity: of the knapsack.
        remove: 1 or more.
        add: from 0 to 1.
        n_threads: number of threads that share a batch.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> two = TwoStageKnapsack(np.array([5.0, 4.0]), capacity=3, remove=1.5, add=0.5)
        >>> packed = two(np.array([[2.0, 1.0]]))
        >>> packed, two.objective(packed, np.array([[3.0, 1.0]]))
        (array([[1., 1.]]), array([-3.]))
    """

    values: Array
    capacity: float
    remove: float = 1.2
    add: float = 0.8
    n_threads: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.add <= 1 <= self.remove:
            raise ValueError(f"add must be from 0 to 1 and remove at least 1, got {self.add}, {self.remove}")

    def __call__(self, weights: Any) -> Array:
        """Return the items packed (B, n) for predicted weights (B, n); negative weights count as 0."""
        weights = np.maximum(np.asarray(weights, np.float64), 0)
        return self._pack(np.tile(self.values, (len(weights), 1)), weights)

    def objective(self, packed: Array, weights: Array) -> Array:
        """Return the negative value (B,) of items packed (B, n), repacked for true weights (B, n)."""
        # A packed item is worth `remove` more if it stays, another item is worth `add` if it is added.
        worth = np.where(packed > 0.5, self.remove * self.values, self.add * self.values)
        final = self._pack(worth, np.asarray(weights, np.float64))
        return (self.remove - 1) * (packed > 0.5) @ self.values - (worth * final).sum(axis=1)

    def _pack(self, values: Array, weights: Array) -> Array:
        solver = Knapsack(np.zeros(len(self.values)), float(self.capacity), self.n_threads)
        return solver(-values, [(row, float(self.capacity)) for row in weights])


def two_stage_knapsack(
    num_instances: int = 500,
    num_features: int = 5,
    num_items: int = 20,
    degree: int = 4,
    noise: float = 0.25,
    filling: float = 0.3,
    remove: float = 1.2,
    add: float = 0.8,
    seed: int = 0,
) -> Task:
    """The most valuable items that fit, where the weights are predicted and repacking makes a loss.

    The parameters are **weights**, which stand in the constraint. Values are known whole numbers from 3 to 8.

    Args:
        num_instances: number N of instances.
        num_features: number p of features.
        num_items: number n of items.
        degree: of the polynomial that makes weights of features.
        noise: weights are multiplied by a number that is uniform in 1 ± noise.
        filling: the capacity, in units of the mean total weight.
        remove: what it costs to take an item out afterwards, in units of its value; 1 or more.
        add: what an item earns that is added afterwards, in units of its value; from 0 to 1.
        seed: of the random numbers.

    Returns:
        A task with features (N, p) and weights (N, n). Its solver is a `TwoStageKnapsack`.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> task = two_stage_knapsack(num_instances=50, num_items=8)
        >>> bool(np.abs(task.regret(task.parameters)).max() == 0)
        True
        >>> bool((task.regret(1.5 * task.parameters) >= -1e-9).all())
        True
    """
    checked(num_instances, num_features, degree, noise)
    count("num_items", num_items)
    if not filling > 0:
        raise ValueError(f"filling must be positive, got {filling!r}")
    rng = np.random.RandomState(seed)
    values = rng.randint(3, 9, num_items).astype(np.float64)
    coefficients = rng.binomial(1, 0.5, (num_items, num_features))
    features = rng.normal(0, 1, (num_instances, num_features))
    weights = polynomial_costs(rng, features, coefficients, degree, noise, scale=5)
    solver = TwoStageKnapsack(values, float(filling * weights.sum(axis=1).mean()), remove, add)
    return Task(features, weights, solver, solver.objective, seed=seed)
