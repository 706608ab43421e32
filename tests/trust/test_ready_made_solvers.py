"""What ready-made solvers make of malformed structures and costs: finite solutions or a clear error."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from difflayers import solvers
from difflayers.solvers import batch
from tests.solvers.test_batch import SOLVERS, costs_for
from tests.trust.malformed import budget, spoiled, survives

EDGES = np.array([[0, 1], [1, 2], [2, 3], [0, 3], [0, 2], [1, 3]])
WEIGHTS = np.array([2.0, 3.0, 1.0, 4.0])
GRAPH = {"num_nodes": 4, "edges": EDGES}

# Name: the solver, its arguments, and the shape of the costs of an instance.
READY = {
    "bipartite matching": (solvers.BipartiteMatching, {"shape": np.array([3, 4])}, (3, 4)),
    "grid path": (
        solvers.GridShortestPath,
        {"shape": np.array([3, 4]), "neighbours": 8, "source": np.array([0, 0])},
        (3, 4),
    ),
    "knapsack": (solvers.Knapsack, {"weights": WEIGHTS, "capacity": np.array(5.0)}, (4,)),
    "knapsack, integers": (solvers.Knapsack, {"weights": WEIGHTS.astype(int), "capacity": np.array(5)}, (4,)),
    "max cut": (solvers.MaxCut, {**GRAPH, "restarts": 3}, (6,)),
    "multicut": (solvers.MinimumCostMulticut, {**GRAPH, "method": "fast"}, (6,)),
    "spanning tree": (solvers.MinimumSpanningTree, GRAPH, (6,)),
    "perfect matching": (solvers.PerfectMatching, GRAPH, (6,)),
    "portfolio": (solvers.Portfolio, {"covariance": np.diag([4.0, 1.0, 2.0]), "risk": np.array(1.5)}, (3,)),
    "ranking": (solvers.Ranking, {}, (5,)),
    "schedule": (
        solvers.Scheduling,
        {
            "num_slots": 4,
            "durations": np.array([1, 2]),
            "powers": WEIGHTS[:2],
            "earliest": np.array([0, 0]),
            "latest": np.array([4, 4]),
            "usage": np.ones((2, 1)),
            "capacities": np.ones((1, 1)),
        },
        (4,),
    ),
    "set cover": (
        solvers.SetCover,
        {"members": np.array([[1, 0, 1], [1, 1, 0]]), "demands": np.array([1, 2]), "at_most": 3},
        (3,),
    ),
    "diverse matching": (
        solvers.DiverseMatching,
        {"similar": np.eye(3, 4) > 0, "least_similar": 0.3, "least_different": 0.3},
        (3, 4),
    ),
    "top k": (solvers.TopK, {"k": 2}, (5,)),
    "path without cycles": (solvers.ShortestPath, {**GRAPH, "source": 0, "target": 3}, (6,)),
    "path both ways": (solvers.ShortestPath, {**GRAPH, "target": 2, "directed": False}, (6,)),
    "routes": (
        solvers.VehicleRouting,
        {"demands": WEIGHTS, "capacity": np.array(5.0), "vehicles": 3},
        (10,),
    ),
    "tour": (solvers.TravellingSalesman, {"num_nodes": 4, "starts": 2}, (6,)),
}
every_solver = pytest.mark.parametrize("name", READY)


@every_solver
@budget(15)
@given(data=st.data())
def test_costs(name, data):
    build, structure, shape = READY[name]
    costs = np.random.default_rng(0).uniform(0.1, 1, size=(2, *shape))
    check_solutions(build(**structure), data.draw(spoiled({"costs": costs})))


@pytest.mark.parametrize("name", [name for name in READY if READY[name][1]])
@budget(10)
@given(data=st.data())
def test_structure(name, data):
    build, structure, shape = READY[name]
    solver = survives(build, data.draw(spoiled(structure)))
    if solver is not None:
        check_solutions(solver, {"costs": np.ones((2, *shape))})


def check_solutions(solver, arguments):
    solutions = survives(solver, arguments, names=("instance",))
    if solutions is not None:
        costs = np.asarray(arguments["costs"])
        assert solutions.shape == costs.shape
        assert np.isfinite(solutions).all()
        # What is forbidden is never taken.
        if not isinstance(solver, solvers.Ranking):
            assert not solutions[np.isposinf(costs.astype(float))].any()


def test_no_solver_of_the_library_is_missing_here_or_in_the_tests_of_batches():
    library = {value for value in map(solvers.__dict__.get, solvers.__all__) if inspect.isclass(value)}
    assert {build for build, _, _ in READY.values()} == library
    assert {type(build()) for build, _ in SOLVERS.values()} == library


# Sorting is quick, and the others run kernels or programs of their own.
WITHOUT_METER = {"ranking", "top", "multicut", "diverse", "schedule"}


@pytest.mark.parametrize("name", sorted(set(SOLVERS) - WITHOUT_METER))
def test_every_kernel_spends_steps_so_that_it_can_be_interrupted(name, monkeypatch):
    class Stopped(Exception):
        pass

    def instead_of_threads(*arguments):
        raise Stopped

    monkeypatch.setattr(batch, "_LONG", 0)  # steps before a kernel is stopped and continued in a thread
    monkeypatch.setattr(batch, "_in_threads", instead_of_threads)
    with pytest.raises(Stopped):
        SOLVERS[name][0]()(costs_for(name))
