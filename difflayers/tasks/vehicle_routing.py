"""Routes from a depot through stops, with the costs of the travelling salesman task."""

import numpy as np

from difflayers.solvers import VehicleRouting
from difflayers.tasks.task import Task
from difflayers.tasks.travelling_salesman import tour_costs


def vehicle_routing(
    num_instances: int = 1000,
    num_features: int = 10,
    num_stops: int = 10,
    capacity: float = 30,
    degree: int = 4,
    noise: float = 0.5,
    seed: int = 135,
) -> Task:
    """The shortest routes of vehicles that start from a depot and serve all stops.

    The costs are those of `travelling_salesman` with one place more, of which the first is the depot. The
    demands are known whole numbers from 1 to 9.

    Args:
        num_instances: number N of instances.
        num_features: number p of features.
        num_stops: number of stops, up to 20.
        capacity: of a vehicle.
        degree: of the polynomial that makes costs of features.
        noise: what depends on features is multiplied by a number that is uniform in 1 ± noise.
        seed: of the random numbers.

    Returns:
        A task with features (N, p) and costs of edges (N, m), in the order of `VehicleRouting.edges`.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> task = vehicle_routing(num_instances=2, num_stops=5, capacity=12)
        >>> task.solver.demands
        array([6., 9., 7., 8., 4.])
        >>> task.decisions[:, :5].sum(axis=1)
        array([8., 8.])
    """
    features, costs = tour_costs(num_instances, num_features, num_stops + 1, degree, noise, seed)
    demands = np.random.RandomState(seed).randint(1, 10, num_stops)
    return Task(features, costs, VehicleRouting(demands, capacity), seed=seed)
