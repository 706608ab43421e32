"""Shortest paths on a grid whose steps have costs (Elmachtoub and Grigas, Management Science 2022)."""

import numpy as np

from difflayers.solvers import monotone_grid_path
from difflayers.tasks.polynomial import checked, polynomial_costs
from difflayers.tasks.task import Task


def shortest_path(
    num_instances: int = 1000,
    num_features: int = 5,
    grid: tuple[int, int] = (5, 5),
    degree: int = 4,
    noise: float = 0.5,
    seed: int = 135,
) -> Task:
    """The shortest path from corner to corner of a grid, by steps to the right and down.

    The same numbers as `pyepo.data.shortestpath.genData`.

    Args:
        num_instances: number N of instances.
        num_features: number p of features.
        grid: height and width.
        degree: of the polynomial that makes costs of features.
        noise: costs are multiplied by a number that is uniform in 1 ± noise.
        seed: of the random numbers.

    Returns:
        A task with features (N, p) and costs of steps (N, m), in the order of `solvers.monotone_grid_path`.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> task = shortest_path(num_instances=100)
        >>> task.features.shape, task.parameters.shape
        ((100, 5), (100, 40))
        >>> train, test = task.split(80, 20)
        >>> test.normalized_regret(test.parameters)
        0.0
    """
    checked(num_instances, num_features, degree, noise)
    solver = monotone_grid_path(grid)
    rng = np.random.RandomState(seed)
    weights = rng.binomial(1, 0.5, (len(solver.edges), num_features))
    features = rng.normal(0, 1, (num_instances, num_features))
    costs = polynomial_costs(rng, features, weights, degree, noise)
    return Task(features, costs, solver, seed=seed)
