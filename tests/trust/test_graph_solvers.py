"""What the solvers of graph problems make of malformed problems: a feasible solution or a clear error."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from difflayers import amwc, lifted_multicut, multicut, mutex, mwc
from difflayers.amwc import device
from difflayers.graph import grid_edges
from tests.trust.malformed import budget, spoiled, survives

RNG = np.random.default_rng(0)
EDGES = grid_edges((3, 4), [1, 2])
AMWC = {
    "node_costs": RNG.normal(size=(12, 3)).astype(np.float32),
    "edges": EDGES,
    "edge_costs": RNG.normal(size=len(EDGES)).astype(np.float32),
    "partitionable": np.array([True, False, True]),
}
MWC = {name: AMWC[name] for name in ("node_costs", "edges", "edge_costs")}
MULTICUT = {"num_nodes": 12, "edges": EDGES, "edge_costs": AMWC["edge_costs"].astype(np.float64)}
LIFTED = {
    **MULTICUT,
    "lifted_edges": grid_edges((3, 4), [3]),
    "lifted_costs": RNG.normal(size=len(grid_edges((3, 4), [3]))),
}
METHODS = st.sampled_from(["fast", "default", "best"])


def check_amwc(problem, solution):
    assert amwc.is_feasible(problem, solution.labels, solution.cuts)
    assert not math.isnan(solution.cost)
    assert solution.cost == amwc.evaluate(problem, solution.labels, solution.cuts)


@budget(40)
@given(spoiled(AMWC), METHODS)
def test_asymmetric_multiway_cut(arguments, method):
    problem = survives(amwc.AMWC, arguments)
    if problem is None:
        return
    solution = survives(amwc.solve, {"problem": problem, "method": method}, names=("costs", "constraint"))
    if solution is not None:
        check_amwc(problem, solution)
        assert not math.isnan(amwc.lower_bound(problem))
        check_amwc(problem, mutex.semantic_mutex_watershed(problem))


@budget(20)
@given(spoiled(MWC), METHODS)
def test_multiway_cut(arguments, method):
    problem = survives(mwc.MWC, arguments)
    if problem is not None:
        solution = survives(mwc.solve, {"problem": problem, "method": method}, names=("costs", "constraint"))
        if solution is not None:
            check_amwc(problem.as_amwc, solution)


@budget(20)
@given(spoiled(MULTICUT), METHODS)
def test_multicut(arguments, method):
    problem = survives(multicut.Multicut, arguments)
    if problem is not None:
        solution = survives(
            multicut.solve, {"problem": problem, "method": method}, names=("constraint", "cut")
        )
        if solution is not None:
            check_amwc(problem.as_amwc, solution)
            check_amwc(problem.as_amwc, mutex.mutex_watershed(problem))


@budget(20)
@given(spoiled(LIFTED), METHODS)
def test_lifted_multicut(arguments, method):
    problem = survives(lifted_multicut.LiftedMulticut, arguments)
    if problem is not None:
        solution = lifted_multicut.solve(problem, method)
        assert lifted_multicut.is_feasible(problem, solution.segments)
        assert not math.isnan(solution.cost)


@budget(20)
@given(spoiled({"start": np.zeros(12, np.int64), "method": "default"}))
def test_a_start(arguments):
    problem = amwc.AMWC(**AMWC)
    solution = survives(lambda **arguments: amwc.solve(problem, **arguments), arguments)
    if solution is not None:
        check_amwc(problem, solution)


@budget(20)
@given(spoiled({"labels": np.zeros(12, np.int64), "cuts": np.zeros(len(EDGES), np.uint8)}))
def test_labels_and_cuts_to_judge(arguments):
    problem = amwc.AMWC(**AMWC)
    cost = survives(lambda **arguments: amwc.evaluate(problem, **arguments), arguments)
    assert cost is None or math.isfinite(cost)
    assert survives(lambda **arguments: amwc.is_feasible(problem, **arguments), arguments) in (
        None,
        True,
        False,
    )


@budget(20)
@given(spoiled({"shape": np.array([3, 4]), "distances": np.array([1, 2])}))
def test_grids(arguments):
    edges = survives(grid_edges, arguments)
    assert edges is None or edges.shape[1] == 2


@budget(20)
@given(spoiled(AMWC), st.sampled_from(["fast", "default"]))
def test_tensors_on_a_device(arguments, method):
    def tensors(**arguments):
        # What NumPy could not hand over to torch at all is no business of the solver.
        return {name: torch.from_numpy(np.array(value)) for name, value in arguments.items()}

    try:
        given = tensors(**arguments)
    except (TypeError, ValueError, AttributeError):
        given = arguments
    solution = survives(lambda **arguments: device.solve(**arguments, method=method), given)
    if solution is not None:
        assert not solution.cost.isnan()
        problem = amwc.AMWC(**{name: np.asarray(value) for name, value in given.items()})
        assert amwc.is_feasible(problem, solution.labels.numpy(), solution.cuts.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_costs_whose_sums_overflow_are_refused(dtype):
    largest = np.finfo(dtype).max
    for name, problem in (
        ("node_costs", {**AMWC, "node_costs": np.full((12, 3), largest)}),
        ("edge_costs", {**AMWC, "edge_costs": np.full(len(EDGES), -largest)}),
    ):
        arguments = {
            key: value.astype(dtype) if key.endswith("costs") else value for key, value in problem.items()
        }
        with pytest.raises(ValueError, match=f"{name}.*too large"):
            amwc.AMWC(**arguments)
