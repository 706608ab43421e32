"""The best k of some items whose values are a cubic of one feature (Shah et al., NeurIPS 2022)."""

import numpy as np

from difflayers._arguments import count
from difflayers.solvers import TopK
from difflayers.tasks.task import Task


def top_k(num_instances: int = 400, num_items: int = 50, k: int = 1, seed: int = 0) -> Task:
    """The k most valuable items, where a linear model ranks the wrong items first.

    An item has one feature x, uniform in −1 to 1, and the value 10 x³ − 6.5 x. The slope of the best linear
    fit is negative, so that a fitted model prefers small x, but most of the best items have x close to 1.

    Args:
        num_instances: number N of instances.
        num_items: number n of items.
        k: number of items to take.
        seed: of the random numbers.

    Returns:
        A task with features (N, n, 1) and costs −value (N, n).

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> task = top_k(num_instances=3, k=2)
        >>> task.decisions.sum(axis=1)
        array([2., 2., 2.])
    """
    count("num_instances", num_instances)
    if count("k", k) > count("num_items", num_items):
        raise ValueError(f"k must be {num_items} at most, got {k}")
    x = np.random.default_rng(seed).uniform(-1, 1, (num_instances, num_items, 1))
    return Task(x, (6.5 * x - 10 * x**3)[..., 0], TopK(k), seed=seed)
