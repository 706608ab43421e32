"""PyEPO's generators and ours draw the same numbers, which PyEPO returns in float32."""

import numpy as np
import pytest

from difflayers import tasks

DRAWS = [(1, 0.0), (4, 0.5), (6, 1.0)]


def same(task, features, costs):
    np.testing.assert_array_equal(task.features, features)
    np.testing.assert_array_equal(task.parameters.astype(np.float32), costs)


@pytest.mark.parametrize(("degree", "noise"), DRAWS)
def test_paths_knapsacks_tours_and_portfolios_are_those_of_the_installed_pyepo(degree, noise):
    data = pytest.importorskip("pyepo").data
    how = {"deg": degree, "noise_width": noise, "seed": 3}
    same(tasks.shortest_path(7, 5, (4, 6), degree, noise, 3), *data.shortestpath.genData(7, 5, (4, 6), **how))
    weights, features, values = data.knapsack.genData(7, 5, 8, dim=3, **how)
    task = tasks.knapsack(7, 5, 8, 3, 20, degree, noise, 3)
    same(task, features, -values)
    np.testing.assert_array_equal(task.solver.weights, weights)
    same(tasks.travelling_salesman(7, 5, 6, degree, noise, 3), *data.tsp.genData(7, 5, 6, **how))
    covariance, features, returns = data.portfolio.genData(7, 5, 6, deg=degree, noise_level=1 + noise, seed=3)
    task = tasks.portfolio(7, 5, 6, degree, 1 + noise, seed=3)
    same(task, features, -returns)
    np.testing.assert_array_equal(task.solver.covariance, covariance)
    assert task.solver.risk == pytest.approx(2.25 * covariance.mean())


# First features and costs of PyEPO 2.2.7 for 3 instances, 2 features, degree 4, noise 0.5 (1.0 for
# portfolios) and seed 7, so that the equality is tested without PyEPO too.
REFERENCE = {
    "path": (
        lambda: tasks.shortest_path(3, 2, (3, 3), 4, 0.5, 7),
        [1.65069969, 0.15433554],
        [0.54905422, 0.61514861, 1.93544794],
    ),
    "knapsack": (
        lambda: tasks.knapsack(3, 2, 4, 2, 20, 4, 0.5, 7),
        [1.61111963, -0.98940129],
        [-3.0, -4.0, -1.0],
    ),
    "tour": (
        lambda: tasks.travelling_salesman(3, 2, 4, 4, 0.5, 7),
        [-0.40522786, -2.2883151],
        [4.6838, 4.1821, 4.2971],
    ),
    "portfolio": (
        lambda: tasks.portfolio(3, 2, 4, 4, 1.0, seed=7),
        [-0.24274908, -1.45324141],
        [-0.06238094, -0.09016801, -0.06192655],
    ),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_the_first_numbers_are_those_that_pyepo_drew(name):
    build, features, costs = REFERENCE[name]
    task = build()
    np.testing.assert_allclose(task.features[0], features, rtol=1e-6)
    np.testing.assert_allclose(task.parameters[0, :3], costs, rtol=1e-6)
