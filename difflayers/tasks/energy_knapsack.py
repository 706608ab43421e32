"""The knapsack with real energy prices of Mandi et al. (JAIR 2024)."""

from os import PathLike

import numpy as np

from difflayers.solver import Array
from difflayers.solvers import Knapsack
from difflayers.tasks.task import Task

SLOTS = 48


def energy_knapsack(path: str | PathLike[str], capacity: float = 60, seed: int = 0) -> Task:
    """The most valuable half-hours of a day, whose values are weights times energy prices.

    The protocol of Mandi et al. (Decision-focused learning, JAIR 2024): the days of both parts of the file
    are joined and shuffled, the first 550 days train, the next 100 validate, and the others test:
    `train, validation, test = task.split(550, 100, 139)`. Features are standardized by the mean and deviation
    of the first part of the file. The authors take capacities of 60, 120 and 180 and ten seeds.

    Args:
        path: of a NumPy file with the arrays `X_1gtrain`, `X_1gtest` (rows, 9), of whose features the first
            is a group number, `y_train`, `y_test` (rows,) values, and `weights` (48,). Rows are half-hours.
        capacity: of the knapsack.
        seed: of the order of the days, that of scikit-learn's `shuffle`.

    Returns:
        A task with features (days, 48, 8) and costs −value (days, 48).

    Raises:
        OSError: there is no such file.
        ValueError: the file does not have these arrays.

    Examples:
        >>> import tempfile
        >>> rng, folder = np.random.default_rng(0), tempfile.TemporaryDirectory()
        >>> path = f"{folder.name}/knapsack.npz"
        >>> days = {"X_1gtrain": rng.normal(size=(96, 9)), "X_1gtest": rng.normal(size=(48, 9))}
        >>> np.savez(path, **days, y_train=np.ones(96), y_test=np.ones(48), weights=np.full(48, 5))
        >>> task = energy_knapsack(path, capacity=60)
        >>> task.features.shape, task.optima
        ((3, 48, 8), array([-12., -12., -12.]))
    """
    features, values, weights = energy_days(path, seed)
    return Task(features, -values, Knapsack(weights, float(capacity)), seed=seed)


def energy_days(path: str | PathLike[str], seed: int) -> tuple[Array, Array, Array]:
    """Features (days, 48, 8), values (days, 48) and weights (48,), in the order of a seed."""
    with np.load(path) as file:
        names = ("X_1gtrain", "X_1gtest", "y_train", "y_test", "weights")
        missing = sorted(set(names) - set(file))
        if missing:
            raise ValueError(f"{path} must have the arrays {', '.join(names)}, lacks {', '.join(missing)}")
        first, second, first_values, second_values, weights = (file[name] for name in names)
    if first.ndim != 2 or len(first) % SLOTS or len(second) % SLOTS or weights.shape != (SLOTS,):
        raise ValueError(f"{path} must have {SLOTS} rows per day, got {first.shape}, {second.shape}")
    known = first[:, 1:]
    deviation = known.std(axis=0)
    rows = np.concatenate([first, second])[:, 1:] - known.mean(axis=0)
    features = rows / np.where(deviation > 0, deviation, 1)
    values = np.concatenate([first_values, second_values]).astype(np.float64)
    order = np.arange(len(values) // SLOTS)
    np.random.RandomState(seed).shuffle(order)
    days = features.reshape(len(order), SLOTS, -1)
    return days[order], values.reshape(len(order), SLOTS)[order], weights
