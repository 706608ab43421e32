"""Energy-cost aware scheduling with unknown prices (CSPLib 059), as in Mandi et al. (JAIR 2024)."""

from os import PathLike

import numpy as np

from difflayers._arguments import count
from difflayers.solver import Array
from difflayers.solvers import Scheduling
from difflayers.tasks.energy_knapsack import SLOTS, energy_days
from difflayers.tasks.task import Task


def scheduling(
    num_instances: int = 200,
    num_tasks: int = 10,
    num_machines: int = 3,
    path: str | PathLike[str] | None = None,
    seed: int = 0,
) -> Task:
    """The power drawn in every half-hour of a day by tasks that are scheduled where energy is cheap.

    Tasks have a duration, a power, an interval in which they run, and use one resource of their machine. They
    are drawn with the seed and are the same for all instances.

    Args:
        num_instances: number N of days.
        num_tasks: number of tasks.
        num_machines: number of machines.
        path: of the file of `energy_knapsack`, whose values divided by weights are real prices. By default
            prices are drawn: a wave over the day, the weather of the day, and noise.
        seed: of the random numbers, and of the order of the days of the file.

    Returns:
        A task with features (N, 48, p) per half-hour and prices (N, 48). The decision is the power (N, 48).

    Raises:
        OSError: there is no such file.
        ValueError: an argument is out of range.

    Examples:
        >>> task = scheduling(num_instances=2, num_tasks=4)
        >>> task.features.shape, task.parameters.shape
        ((2, 48, 4), (2, 48))
        >>> energy = task.solver.powers @ task.solver.durations
        >>> bool((task.decisions.sum(axis=1) == energy).all())
        True
    """
    count("num_instances", num_instances)
    count("num_tasks", num_tasks)
    count("num_machines", num_machines)
    if path is None:
        features, prices = _drawn_days(num_instances, seed)
    else:
        features, values, weights = energy_days(path, seed)
        if num_instances > len(features):
            raise ValueError(f"num_instances must be {len(features)} at most, got {num_instances}")
        features, prices = features[:num_instances], (values / weights)[:num_instances]
    return Task(features, prices, _machines(num_tasks, num_machines, seed), seed=seed)


def _machines(num_tasks: int, num_machines: int, seed: int) -> Scheduling:
    """Random tasks, and machines that could run all tasks at the earliest times."""
    rng = np.random.default_rng(seed)
    durations = rng.integers(2, 9, num_tasks)
    earliest = rng.integers(0, SLOTS - durations - 7)
    latest = np.minimum(earliest + durations + rng.integers(8, 25, num_tasks), SLOTS)
    usage = rng.integers(1, 4, (num_tasks, 1))
    running = np.zeros((num_machines, SLOTS), np.int64)
    for task in range(num_tasks):
        running[task % num_machines, earliest[task] : earliest[task] + durations[task]] += usage[task]
    capacity = max(running.max(), 3)
    return Scheduling(
        SLOTS,
        durations,
        rng.integers(1, 11, num_tasks),
        earliest,
        latest,
        usage,
        np.full((num_machines, 1), capacity),
    )


def _drawn_days(num_days: int, seed: int) -> tuple[Array, Array]:
    """Features (days, 48, 4) and prices (days, 48) that are not linear in them."""
    rng = np.random.default_rng([seed, 1])
    hour = np.broadcast_to(2 * np.pi * np.arange(SLOTS) / SLOTS, (num_days, SLOTS))
    wind = rng.normal(size=(num_days, 1)) + 0.5 * rng.normal(size=(num_days, SLOTS))
    load = np.sin(hour - 2) + 0.3 * rng.normal(size=(num_days, SLOTS))
    prices = 40 + 15 * np.exp(0.7 * load) - 8 * np.maximum(wind, 0) ** 2
    prices = prices + 5 * rng.normal(size=prices.shape)
    return np.stack([np.sin(hour), np.cos(hour), load, wind], axis=2), prices
