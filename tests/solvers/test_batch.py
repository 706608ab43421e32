"""What holds for every ready-made solver, whatever it solves."""

import copy
import dataclasses
import pickle
import signal
import threading

import numpy as np
import pytest
import torch

import difflayers
from difflayers import solvers, wrap
from difflayers.graph import grid_edges
from difflayers.solver import InfeasibleError

EDGES = grid_edges((4, 4), [1])

# How to build each solver, and the shape of its costs.
SOLVERS = {
    "grid": (lambda **how: solvers.GridShortestPath((4, 5), **how), (4, 5)),
    "paths": (lambda **how: solvers.ShortestPath(16, EDGES, directed=False, **how), (24,)),
    "monotone": (lambda **how: solvers.monotone_grid_path((4, 4), **how), (24,)),
    "bipartite": (lambda **how: solvers.BipartiteMatching((4, 6), **how), (4, 6)),
    "matching": (lambda **how: solvers.PerfectMatching(16, EDGES, **how), (24,)),
    "ranking": (lambda: solvers.Ranking(), (7,)),
    "top": (lambda: solvers.TopK(3), (7,)),
    "knapsack": (lambda **how: solvers.Knapsack(np.arange(1, 8), 10, **how), (7,)),
    "knapsacks": (lambda **how: solvers.Knapsack(np.arange(14).reshape(2, 7), [9, 30], **how), (7,)),
    "tree": (lambda **how: solvers.MinimumSpanningTree(16, EDGES, **how), (24,)),
    "tour": (lambda **how: solvers.TravellingSalesman(6, **how), (15,)),
    "long tour": (lambda **how: solvers.TravellingSalesman(17, **how), (136,)),
    "cut": (lambda **how: solvers.MaxCut(10, EDGES[EDGES.max(axis=1) < 10], **how), (13,)),
    "large cut": (lambda **how: solvers.MaxCut(17, EDGES, **how), (24,)),
    "multicut": (lambda **how: solvers.MinimumCostMulticut(16, EDGES, **how), (24,)),
    "portfolio": (lambda **how: solvers.Portfolio(np.diag(np.arange(1.0, 6)), 1.5, **how), (5,)),
    "cover": (lambda **how: solvers.SetCover(np.arange(9)[:, None] // np.arange(1, 8) % 2 == 0, **how), (7,)),
    "routes": (lambda **how: solvers.VehicleRouting([3, 1, 2, 2], 4, **how), (10,)),
    "diverse": (
        lambda **how: solvers.DiverseMatching(np.eye(4, 5) > 0, least_similar=0.5, **how),
        (4, 5),
    ),
    "schedule": (
        lambda **how: solvers.Scheduling(
            6, [1, 2, 3], [4, 2, 3], [0] * 3, [6] * 3, usage=[[1]] * 3, capacities=[[1]] * 2, **how
        ),
        (6,),
    ),
}
SIGNED = set(SOLVERS) - {"grid", "paths"}


def costs_for(name, batch=5, seed=0):
    low = -1.0 if name in SIGNED else 0.0
    return np.random.default_rng(seed).uniform(low, 1.0, (batch, *SOLVERS[name][1]))


@pytest.fixture(params=list(SOLVERS))
def name(request):
    return request.param


def test_solutions_have_the_dtype_of_the_costs_and_do_not_depend_on_it(name):
    solver = SOLVERS[name][0]()
    single = costs_for(name).astype(np.float32)
    expected = solver(single.astype(np.float64))
    assert expected.dtype == np.float64
    found = solver(single)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    whole = np.rint(100 * costs_for(name)).astype(np.int64)
    found = solver(whole)
    assert found.dtype == (np.float64 if name == "portfolio" else np.int64)  # shares are no whole numbers
    np.testing.assert_array_equal(found, solver(whole.astype(np.float64)))


def test_an_instance_is_solved_alike_alone_in_a_batch_and_twice(name):
    solver = SOLVERS[name][0]()
    costs = costs_for(name)
    together = solver(costs)
    np.testing.assert_array_equal(together, solver(costs))
    np.testing.assert_array_equal(together, np.concatenate([solver(costs[i : i + 1]) for i in range(5)]))


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("threaded", sorted(set(SOLVERS) - {"ranking", "top"}))
def test_threads_change_nothing(threaded, threads):
    build, costs = SOLVERS[threaded][0], costs_for(threaded, batch=7)
    np.testing.assert_array_equal(build(n_threads=threads)(costs), build()(costs))


def test_read_only_strided_and_reversed_costs_are_taken_and_left_as_they_are(name):
    solver = SOLVERS[name][0]()
    costs = costs_for(name)
    expected = solver(costs.copy())
    wide = np.repeat(costs, 2, axis=-1)[..., ::2]
    fortran = np.asfortranarray(costs)
    backwards = costs[:, ..., ::-1].copy()[:, ..., ::-1]
    for variant in (wide, fortran, backwards, np.broadcast_to(costs, costs.shape)):
        before = variant.copy()
        variant.flags.writeable = False
        np.testing.assert_array_equal(solver(variant), expected)
        np.testing.assert_array_equal(variant, before)


def test_an_empty_batch_has_empty_solutions(name):
    build, shape = SOLVERS[name]
    solutions = build()(np.zeros((0, *shape), np.float32))
    assert solutions.shape == (0, *shape)
    assert solutions.dtype == np.float32


def test_nan_and_minus_infinity_are_refused_with_their_instance(name):
    solver = SOLVERS[name][0]()
    for bad in (np.nan, -np.inf):
        costs = costs_for(name)
        costs[3].flat[1] = bad
        with pytest.raises(
            ValueError, match="costs must not be NaN or minus infinity, got one in instance 3"
        ):
            solver(costs)


def test_costs_of_another_shape_or_kind_are_refused(name):
    build, shape = SOLVERS[name]
    solver = build()
    with pytest.raises(ValueError, match=r"costs must have shape \(B, .*\), got \("):
        solver(np.zeros(shape[-1]) if len(shape) == 1 else np.zeros((3, 3, 3)))
    with pytest.raises(TypeError, match="costs must be real numbers, got dtype"):
        solver(np.zeros((2, *shape), complex))


def test_pickled_and_copied_solvers_solve_alike(name):
    solver = SOLVERS[name][0]()
    costs = costs_for(name)
    for twin in (pickle.loads(pickle.dumps(solver)), copy.deepcopy(solver)):
        np.testing.assert_array_equal(twin(costs), solver(costs))


def test_as_a_blackbox_layer_the_gradient_is_the_difference_of_two_solutions(name):
    solver = SOLVERS[name][0]()
    costs = torch.tensor(costs_for(name) + 0.5, requires_grad=True)
    incoming = torch.rand(costs.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    layer = difflayers.BlackboxLayer(solver, scales=3.0, batched=True)
    layer(costs).backward(incoming)
    at = costs.detach().numpy()
    expected = (solver(at + 3 * incoming.numpy()) - solver(at)) / 3
    np.testing.assert_allclose(costs.grad, expected)
    assert expected.any()


@pytest.mark.parametrize("threads", [0, -1, True, 1.5])
def test_impossible_numbers_of_threads_are_refused(threads):
    with pytest.raises(ValueError, match="n_threads must be an integer of at least 1"):
        solvers.monotone_grid_path((2, 2), n_threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_instances_without_solution_are_named_and_the_others_solved(threads):
    solver = solvers.BipartiteMatching((2, 2), n_threads=threads)
    costs = np.random.default_rng(0).random((7, 2, 2))
    expected = solver(costs)
    costs[[2, 3, 6], 0] = np.inf
    with pytest.raises(
        InfeasibleError, match=r"^instance 2 \(and 2 more\): no matching of finite cost$"
    ) as info:
        solver(costs)
    for error in (info.value, pickle.loads(pickle.dumps(info.value))):
        assert error.instances == [2, 3, 6]
        np.testing.assert_array_equal(error.solutions[[0, 1, 4, 5]], expected[[0, 1, 4, 5]])
        assert isinstance(error, difflayers.SolverError)


def test_every_solver_states_that_it_minimises(name):
    assert SOLVERS[name][0]().sense == "minimize"
    assert wrap.milp.sense == wrap.linear_sum_assignment.sense == "minimize"


EVEN = 2 * np.random.default_rng(0).integers(10**15, 2 * 10**15, 300)
EVEN[0] = 4 * 10**17 - 1  # so that halving them does not help

# Instances that take for ever, or minutes at least.
ENDLESS = {
    "assignment": lambda: (
        solvers.BipartiteMatching((2000, 2000)),
        np.outer(np.arange(2000), np.arange(2000)),
    ),
    "knapsack": lambda: (solvers.Knapsack(EVEN, 4 * 10**17 + 1), -EVEN.astype(float)),
    "knapsacks": lambda: (
        solvers.Knapsack(np.random.default_rng(0).integers(10**5, size=(5, 300)), [7 * 10**6] * 5),
        -np.ones(300),
    ),
    "tour": lambda: (solvers.TravellingSalesman(50, starts=10**9), np.arange(1225)),
    "cut": lambda: (solvers.MaxCut(16, EDGES), np.ones((200_000, 24))),
    "large cut": lambda: (solvers.MaxCut(17, EDGES, restarts=10**9), np.ones(24)),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("endless", ENDLESS)
def test_whatever_takes_long_can_be_interrupted(endless, threads):
    solver, costs = ENDLESS[endless]()
    solver = dataclasses.replace(solver, n_threads=threads)
    costs = costs if endless == "cut" else np.stack([costs, costs])
    timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            solver(costs)
    finally:
        timer.cancel()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_layer_names_its_own_instance_or_takes_it_out(jobs):
    solver = solvers.BipartiteMatching((2, 2))
    costs = torch.rand((4, 2, 2), generator=torch.Generator().manual_seed(0))
    costs[2, 0] = torch.inf
    layer = difflayers.BlackboxLayer(solver, batched=True, n_jobs=jobs)
    with pytest.raises(difflayers.SolverError, match=r"^instance 2: no matching of finite cost$"):
        layer(costs)
    layer = difflayers.BlackboxLayer(solver, batched=True, n_jobs=jobs, on_failure="skip")
    matched = layer(costs).numpy()
    assert np.isnan(matched[2]).all()
    rest = [0, 1, 3]
    np.testing.assert_array_equal(matched[rest], solver(costs.numpy()[rest]))
