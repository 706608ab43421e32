"""Feasible sets small enough to list, and exact solvers over the list."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import torch


@dataclass
class Enumeration:
    """The exact minimizer of <c, y> over the rows of `points`, by looking at every one.

    With a context, a bool mask over the points, only the points that it marks are feasible.
    """

    points: np.ndarray  # (P, *shape)
    batched: bool = False
    calls: list[int] = field(default_factory=list)  # problems solved, a number for each call

    def __call__(self, costs, context=None):
        instances = costs if self.batched else costs[None]
        self.calls.append(len(instances))
        values = np.tensordot(instances, self.points, (range(1, instances.ndim), range(1, instances.ndim)))
        if context is not None:
            values = np.where(context if self.batched else [context], values, np.inf)
        chosen = self.points[values.argmin(1)]
        return chosen if self.batched else chosen[0]


def simplex(items: int = 4) -> np.ndarray:
    """One of n."""
    return np.eye(items)


def paths() -> np.ndarray:
    """The six monotone paths from corner to corner of a 3 × 3 grid, as indicators of its 12 edges."""
    points = []
    for downs in itertools.combinations(range(4), 2):
        edges, row, column = np.zeros(12), 0, 0
        for step in range(4):
            if step in downs:
                edges[6 + row * 3 + column] = 1
                row += 1
            else:
                edges[row * 2 + column] = 1
                column += 1
        points.append(edges)
    return np.array(points)


def matchings() -> np.ndarray:
    """The six perfect matchings of 3 and 3, as 3 × 3 permutation matrices."""
    return np.array([np.eye(3)[list(order)] for order in itertools.permutations(range(3))])


def knapsacks() -> np.ndarray:
    """All choices among five items that a capacity allows, the empty one too."""
    weights, capacity = np.array([3, 4, 2, 5, 1]), 7
    choices = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
    return choices[choices @ weights <= capacity]


POLYTOPES = {"simplex": simplex(), "paths": paths(), "matchings": matchings(), "knapsacks": knapsacks()}


def drawn_costs(points: np.ndarray, seed: int, count: int, batch: int = 4) -> list[torch.Tensor]:
    """`count` independent float64 costs (batch, *shape); small integers at every other seed, for ties."""
    generator = np.random.default_rng(seed)
    shape = (count, batch, *points.shape[1:])
    costs = generator.integers(-2, 3, shape) if seed % 2 else generator.normal(size=shape)
    return [torch.tensor(cost, dtype=torch.float64) for cost in costs]
