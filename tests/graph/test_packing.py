"""Packing of conflicted cycles against the linear program that it approximates."""

import numpy as np
import pytest
from scipy.optimize import linprog

from difflayers import multicut
from difflayers.graph import grid_edges
from difflayers.graph.conflicted_cycles import OpenCycles
from difflayers.graph.packing import left_of, pack_fractionally
from difflayers.multicut import Multicut
from tests.benchmarks import scenes


def whole_problem(seed: int, num_nodes: int, share: float) -> tuple[int, np.ndarray, np.ndarray]:
    """Random edges with whole costs, most of them large; a share of all pairs has an edge."""
    rng = np.random.default_rng(seed)
    edges = np.argwhere(np.triu(rng.random((num_nodes, num_nodes)) < share, 1)).astype(np.int32)
    return num_nodes, edges, np.round(1e6 * rng.normal(size=len(edges)))


def metric_program(num_nodes: int, edges: np.ndarray, costs: np.ndarray) -> float:
    """The least cost of a metric from 0 to 1 on all pairs: all cycle inequalities, said otherwise."""
    pairs = {pair: i for i, pair in enumerate(zip(*np.triu_indices(num_nodes, 1), strict=True))}
    objective = np.zeros(len(pairs))
    for (u, v), cost in zip(edges.tolist(), costs.tolist(), strict=True):
        objective[pairs[min(u, v), max(u, v)]] += cost
    rows = []
    for u, v in pairs:
        for w in set(range(num_nodes)) - {u, v}:
            row = np.zeros(len(pairs))
            row[pairs[u, v]] = 1.0
            row[pairs[min(u, w), max(u, w)]] = row[pairs[min(v, w), max(v, w)]] = -1.0
            rows.append(row)
    result = linprog(objective, A_ub=np.array(rows), b_ub=np.zeros(len(rows)), bounds=(0, 1), method="highs")
    return float(result.fun)


@pytest.mark.parametrize("share", [0.4, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_packing_fits_and_nearly_attains_the_linear_program(seed, share):
    num_nodes, edges, costs = whole_problem(seed, 10, share)
    least = metric_program(num_nodes, edges, costs)
    goal = least - np.minimum(costs, 0.0).sum()
    cycles, amounts = pack_fractionally(OpenCycles(num_nodes, edges, costs), np.abs(costs), goal)
    left = left_of(costs, cycles, amounts)
    assert (amounts == np.floor(amounts)).all()
    assert (amounts >= 0.0).all()
    assert (left * costs >= 0.0).all()
    assert least - 0.02 * abs(least) <= np.minimum(left, 0.0).sum() <= least + 1e-3


def test_every_cycle_has_one_repulsive_edge_and_closes():
    num_nodes, edges, costs = whole_problem(0, 30, 0.3)
    cycles = OpenCycles(num_nodes, edges, costs).find(np.zeros(len(edges)), 0.05)
    for begin, end in zip(cycles.start[:-1], cycles.start[1:], strict=True):
        members = cycles.members[begin:end]
        assert costs[members[0]] < 0.0
        assert (costs[members[1:]] > 0.0).all()
        assert (np.bincount(edges[members].ravel(), minlength=num_nodes) % 2 == 0).all()


def test_calls_of_the_kernel_for_few_edges_find_what_one_call_finds(monkeypatch):
    problem = Multicut(*scenes.region_graph((160, 240), 200, 0, 1.0))
    once = multicut.lower_bound(problem)
    monkeypatch.setattr("difflayers.graph.conflicted_cycles._AT_ONCE", 7)
    monkeypatch.setattr("difflayers.graph.conflicted_cycles._LENGTH", 1)
    assert multicut.lower_bound(problem) == once


def test_a_search_that_may_look_at_few_edges_still_gives_a_bound(monkeypatch):
    problem = Multicut(*scenes.region_graph((160, 240), 200, 0, 2.0))
    full = multicut.lower_bound(problem)
    monkeypatch.setattr("difflayers.graph.conflicted_cycles._EDGES_IN_ALL", 1000)
    monkeypatch.setattr("difflayers.graph.conflicted_cycles._AT_ONCE", 10)
    assert multicut.lower_bound(problem) <= full


@pytest.mark.parametrize("noise", [1.0, 2.0])
def test_the_bound_of_a_region_graph_is_within_one_percent_of_the_optimum(noise):
    for seed in range(3):
        problem = Multicut(*scenes.region_graph((160, 240), 200, seed, noise))
        optimum = multicut.solve_exact(problem, time_limit=30).cost
        assert optimum - 0.01 * abs(optimum) <= multicut.lower_bound(problem) <= optimum + 1e-9


def test_the_bound_of_signed_unit_costs_is_a_whole_number_below_the_optimum():
    edges = grid_edges((8, 8), (1, 2))
    for seed in range(4):
        costs = np.where(np.random.default_rng(seed).random(len(edges)) < 0.6, 1.0, -1.0)
        problem = Multicut(64, edges, costs)
        bound = multicut.lower_bound(problem)
        assert bound == np.floor(bound)
        assert bound <= multicut.solve_exact(problem, time_limit=30).cost
