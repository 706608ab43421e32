import numpy as np
import pytest

from difflayers import multicut
from difflayers.graph import grid_edges
from difflayers.solvers import MinimumCostMulticut

EDGES = grid_edges((3, 3), [1])


@pytest.mark.parametrize("method", ["fast", "default", "best"])
def test_cuts_are_those_of_the_multicut_solver(method):
    costs = np.random.default_rng(0).normal(size=(4, len(EDGES)))
    cuts = MinimumCostMulticut(9, EDGES, method)(costs)
    expected = [multicut.solve(multicut.Multicut(9, EDGES, cost), method).cuts for cost in costs]
    np.testing.assert_array_equal(cuts, expected)


def test_small_multicuts_are_optimal_with_the_best_method():
    costs = np.random.default_rng(1).normal(size=(5, len(EDGES)))
    cuts = MinimumCostMulticut(9, EDGES, "best")(costs)
    for cost, cut in zip(costs, cuts, strict=True):
        exact = multicut.solve_exact(multicut.Multicut(9, EDGES, cost))
        assert cost @ cut == pytest.approx(exact.cost)


def test_infinite_costs_and_unknown_methods_are_refused():
    with pytest.raises(ValueError, match="infinity in instance 1"):
        MinimumCostMulticut(2, np.array([[0, 1]]))(np.array([[1.0], [np.inf]]))
    with pytest.raises(ValueError, match="method must be"):
        MinimumCostMulticut(2, np.array([[0, 1]]), "quick")
