"""Round tours through places whose distances depend on features, as in PyEPO."""

import numpy as np

from difflayers._arguments import count
from difflayers.solver import Array
from difflayers.solvers import TravellingSalesman
from difflayers.tasks.polynomial import checked, scores
from difflayers.tasks.task import Task


def travelling_salesman(
    num_instances: int = 1000,
    num_features: int = 10,
    num_nodes: int = 20,
    degree: int = 4,
    noise: float = 0.5,
    seed: int = 135,
) -> Task:
    """The shortest round tour through all places.

    The same numbers as `pyepo.data.tsp.genData`. Beyond 15 places, the solver is a heuristic.

    Args:
        num_instances: number N of instances.
        num_features: number p of features.
        num_nodes: number of places.
        degree: of the polynomial that makes costs of features.
        noise: what depends on features is multiplied by a number that is uniform in 1 ± noise.
        seed: of the random numbers.

    Returns:
        A task with features (N, p) and costs of edges (N, m), in the order of `TravellingSalesman.edges`.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> task = travelling_salesman(num_instances=3, num_nodes=6)
        >>> task.decisions.sum(axis=1)
        array([6., 6., 6.])
    """
    features, costs = tour_costs(num_instances, num_features, num_nodes, degree, noise, seed)
    return Task(features, costs, TravellingSalesman(num_nodes), seed=seed)


def tour_costs(
    num_instances: int, num_features: int, num_nodes: int, degree: int, noise: float, seed: int
) -> tuple[Array, Array]:
    """Features, and costs of all pairs of places: their distance plus a polynomial of the features."""
    checked(num_instances, num_features, degree, noise)
    count("num_nodes", num_nodes, least=2)
    rng = np.random.RandomState(seed)
    half = num_nodes // 2
    places = np.concatenate([rng.uniform(-2, 2, (half, 2)), rng.normal(0, 1, (num_nodes - half, 2))])
    first, second = np.triu_indices(num_nodes, 1)
    distances = np.linalg.norm(places[first] - places[second], axis=1)
    shape = (len(first), num_features)
    weights = rng.binomial(1, 0.5, shape) * rng.uniform(-2, 2, shape)
    features = rng.normal(0, 1, (num_instances, num_features))
    varying = scores(features, weights) ** degree / 3 ** (degree - 1)
    costs = distances + varying * rng.uniform(1 - noise, 1 + noise, varying.shape)
    return features, np.around(costs, decimals=4)
