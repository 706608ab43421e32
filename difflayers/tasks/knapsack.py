"""Knapsacks with one or several capacities and unknown values, as in PyEPO."""

import numpy as np

from difflayers._arguments import count
from difflayers.solvers import Knapsack
from difflayers.tasks.polynomial import checked, polynomial_costs
from difflayers.tasks.task import Task


def knapsack(
    num_instances: int = 1000,
    num_features: int = 5,
    num_items: int = 32,
    num_dims: int = 2,
    capacity: float = 20,
    degree: int = 4,
    noise: float = 0.5,
    seed: int = 135,
) -> Task:
    """The most valuable items that fit, where the values depend on features and the weights are known.

    The same numbers as `pyepo.data.knapsack.genData`, with values as negative costs.

    Args:
        num_instances: number N of instances.
        num_features: number p of features.
        num_items: number n of items.
        num_dims: number of capacities.
        capacity: the capacity in every dimension; items weigh 3 to 8.
        degree: of the polynomial that makes values of features.
        noise: values are multiplied by a number that is uniform in 1 ± noise, and rounded up.
        seed: of the random numbers.

    Returns:
        A task with features (N, p) and costs −value (N, n). `solver.weights` are the weights (num_dims, n).

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> task = knapsack(num_instances=2, num_items=5)
        >>> task.parameters[0]
        array([-4., -4., -2., -2., -3.])
        >>> task.decisions[0]
        array([1., 1., 0., 0., 1.])
    """
    checked(num_instances, num_features, degree, noise)
    shape = (count("num_dims", num_dims), count("num_items", num_items))
    rng = np.random.RandomState(seed)
    sizes = rng.choice(np.arange(300, 800), size=shape) / 100
    weights = rng.binomial(1, 0.5, (num_items, num_features))
    features = rng.normal(0, 1, (num_instances, num_features))
    values = np.ceil(polynomial_costs(rng, features, weights, degree, noise, scale=5))
    return Task(features, -values, Knapsack(sizes, np.full(num_dims, float(capacity))), seed=seed)
