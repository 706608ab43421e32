"""The tasks of the arena, and the model that predicts each."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from difflayers import tasks
from difflayers.tasks import Task
from examples.arena.methods import Batch

ENERGY = "energy"


class Field(NamedTuple):
    """How instances are drawn for a seed, and how many there are for training, validation and testing."""

    draw: Callable[[int], Task]
    training: int
    validation: int
    testing: int
    costs: bool = True  # whether the parameters are costs; otherwise they stand in the constraints
    slow: bool = False  # whether a training takes minutes, so that the task is run only if it is named


def _drawn(
    draw: Callable[..., Task], training: int, testing: int, costs: bool = True, slow: bool = False, **how: Any
) -> Field:
    validation = training // 4
    count = training + validation + testing
    return Field(
        lambda seed: draw(num_instances=count, seed=seed, **how), training, validation, testing, costs, slow
    )


FIELDS: dict[str, Field] = {
    "shortest path": _drawn(tasks.shortest_path, 1000, 1000),
    "knapsack": _drawn(tasks.knapsack, 400, 400, num_items=16),
    "tour": _drawn(tasks.travelling_salesman, 200, 200, num_nodes=8),
    "portfolio": _drawn(tasks.portfolio, 200, 400, num_assets=20),
    "top-k": _drawn(tasks.top_k, 400, 400),
    "maps": _drawn(tasks.maps, 200, 200, size=8, pixels=4),
    "set cover": _drawn(tasks.set_cover, 100, 100, costs=False),
    "two-stage knapsack": _drawn(tasks.two_stage_knapsack, 200, 200, costs=False),
    "matching": _drawn(tasks.diverse_matching, 40, 60, slow=True, size=10),
}


def field(name: str, energy: str | None = None) -> Field:
    """Return a task by its name; "energy" needs the file of prices of Mandi et al. (JAIR 2024)."""
    if name != ENERGY:
        return FIELDS[name]
    if energy is None:
        raise ValueError("energy must be the path of the file of prices for the task 'energy', got None")
    path = energy
    return Field(lambda seed: tasks.energy_knapsack(path, seed=seed), 442, 110, 237)  # 552 days to learn from


class Part(NamedTuple):
    """Part of a task as tensors: standardized features, and what losses compare with."""

    task: Task
    features: Tensor
    truth: Batch

    def batch(self, rows: Tensor) -> tuple[Tensor, Batch]:
        """Return the features of some instances, and their truth."""
        contexts = self.truth.contexts
        own = None if contexts is None else [contexts[row] for row in rows.tolist()]
        return self.features[rows], Batch(self.truth.parameters[rows], self.truth.decisions[rows], own)


@functools.lru_cache(maxsize=2)
def parts(name: str, seed: int, energy: str | None = None) -> tuple[Part, Part, Part]:
    """Draw the parts of a task for training, validation and testing; they are kept for the next method."""
    own = field(name, energy)
    task = own.draw(seed)
    training, validation, testing = task.split(own.training, own.validation, own.testing)
    axes = (0,) if task.features.ndim == 2 else tuple(range(task.features.ndim - 1))
    if task.features.ndim == 4 and task.features.shape[1] == 3:  # images
        axes = (0, 2, 3)
    mean = training.features.mean(axes, keepdims=True)
    spread = training.features.std(axes, keepdims=True)

    def part(own: Task) -> Part:
        features = (own.features - mean) / np.where(spread > 0, spread, 1)
        costs, decisions = (
            torch.as_tensor(each, dtype=torch.float32) for each in (own.parameters, own.decisions)
        )
        return Part(
            own, torch.as_tensor(features, dtype=torch.float32), Batch(costs, decisions, own.contexts)
        )

    return part(training), part(validation), part(testing)


def model(part: Part) -> nn.Module:
    """Return a new model: linear in the features of an instance or of each item, or a small one of images."""
    features, shape = part.features.shape, part.truth.parameters.shape[1:]
    if len(features) == 2:
        return nn.Sequential(nn.Linear(features[1], math.prod(shape)), nn.Unflatten(1, shape))
    if features[1:-1] == shape:
        return nn.Sequential(nn.Linear(features[-1], 1), nn.Flatten(-2))
    pixels = features[-1] // shape[-1]
    return nn.Sequential(
        nn.Conv2d(features[1], 16, pixels, stride=pixels), nn.ReLU(), nn.Conv2d(16, 1, 1), nn.Flatten(1, 2)
    )
