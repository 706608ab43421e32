import itertools

import numpy as np
import pytest

from difflayers.solver import InfeasibleError
from difflayers.solvers import TravellingSalesman, VehicleRouting, vehicle_routing


def partitions(stops):
    if not stops:
        yield []
        return
    first, rest = stops[0], stops[1:]
    for size in range(len(rest) + 1):
        for others in itertools.combinations(rest, size):
            for parts in partitions([stop for stop in rest if stop not in others]):
                yield [(first, *others), *parts]


def brute_force(costs, demands, capacity, vehicles):
    """The least cost of all partitions into routes, each in its best order."""
    nodes = len(demands) + 1
    between = np.zeros((nodes, nodes))
    between[np.triu_indices(nodes, 1)] = costs
    between += between.T

    def length(order):
        return sum(between[a, b] for a, b in itertools.pairwise((0, *order, 0)))

    best = {}
    for size in range(1, nodes):
        for part in itertools.combinations(range(1, nodes), size):
            fits = sum(demands[stop - 1] for stop in part) <= capacity
            best[part] = min(map(length, itertools.permutations(part))) if fits else np.inf
    return min(
        (
            sum(best[part] for part in parts)
            for parts in partitions([*range(1, nodes)])
            if len(parts) <= vehicles
        ),
        default=np.inf,
    )


@pytest.fixture(params=["table", "columns"])
def way(request, monkeypatch):
    if request.param == "columns":
        monkeypatch.setattr(vehicle_routing, "MAX_TABLE", 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("seed", range(20))
def test_routes_cost_what_all_partitions_and_orders_show(seed):
    rng = np.random.default_rng(seed)
    num_stops, capacity = int(rng.integers(1, 7)), int(rng.integers(3, 10))
    demands, vehicles = rng.integers(0, 5, num_stops), int(rng.integers(1, num_stops + 2))
    costs = rng.normal(size=num_stops * (num_stops + 1) // 2) + rng.choice([0, 1, 3])
    if seed % 5 == 0:
        costs[rng.integers(len(costs))] = np.inf
    expected = brute_force(costs, demands, capacity, vehicles)
    solver = VehicleRouting(demands, capacity, vehicles)
    if expected == np.inf:
        with pytest.raises(InfeasibleError, match="no routes of finite cost within the capacity"):
            solver(costs[None])
        return
    used = solver(costs[None])[0]
    assert costs[used > 0] @ used[used > 0] == pytest.approx(expected, abs=1e-9)
    degrees = np.bincount(solver.edges.ravel(), np.repeat(used, 2))
    assert (degrees[1:] == 2).all()
    assert degrees[0] <= 2 * vehicles


@pytest.mark.parametrize("num_stops", [9, 13])
def test_both_ways_find_routes_of_the_same_length(num_stops, monkeypatch):
    rng = np.random.default_rng(num_stops)
    places = rng.random((num_stops + 1, 2))
    solver = VehicleRouting(rng.integers(1, 10, num_stops), 20)
    costs = np.hypot(*(places[solver.edges[:, 0]] - places[solver.edges[:, 1]]).T)
    by_table = solver(costs[None])[0]
    monkeypatch.setattr(vehicle_routing, "MAX_TABLE", 0)
    assert costs @ solver(costs[None])[0] == pytest.approx(costs @ by_table, rel=1e-9)


def test_twenty_stops_keep_to_the_capacity_and_one_vehicle_drives_a_tour():
    rng = np.random.default_rng(1)
    places = rng.random((21, 2))
    solver = VehicleRouting(np.ones(20), 4, vehicles=5)
    costs = np.hypot(*(places[solver.edges[:, 0]] - places[solver.edges[:, 1]]).T)
    used = solver(costs[None])[0]
    assert used[:20].sum() == 10  # five routes of four stops
    assert used.sum() == 25
    small = VehicleRouting(np.ones(8), 8, vehicles=1)
    few = rng.random((3, 36))
    np.testing.assert_array_equal(small(few), TravellingSalesman(9)(few))


def test_a_tiny_or_prohibitive_cost_does_not_blur_the_others(monkeypatch):
    rng = np.random.default_rng(2)
    costs = rng.random((1, 21))
    costs[0, 3] = 1e6
    solver = VehicleRouting([1, 2, 3, 1, 2, 3], 5)
    by_table = solver(costs)
    monkeypatch.setattr(vehicle_routing, "MAX_TABLE", 0)
    np.testing.assert_array_equal(solver(costs), by_table)
    np.testing.assert_array_equal(solver(1e-9 * costs), by_table)


@pytest.mark.usefixtures("way")
def test_contexts_give_each_instance_its_demands():
    solver = VehicleRouting([1, 1], 2)
    costs = np.array([[1.0, 1.0, 0.5]] * 2)
    assert solver(costs, [[1, 1], [1, 2]]).tolist() == [[1, 1, 1], [2, 2, 0]]
    with pytest.raises(
        ValueError, match=r"demands must be finite and non-negative, got \[.*\] for instance 1"
    ):
        solver(costs, [[1, 1], [1, -2]])


@pytest.mark.parametrize(
    ("demands", "capacity", "vehicles", "message"),
    [
        ([], 1, None, r"demands must have shape \(n,\) with n from 1 to 20, got \(0,\)"),
        (np.ones(21), 1, None, r"demands must have shape \(n,\) with n from 1 to 20, got \(21,\)"),
        ([1, -1], 1, None, "demands must be finite and non-negative"),
        ([1, 1], 0, None, "capacity must be a positive number, got 0"),
        ([1, 1], 1, 0, "vehicles must be an integer of at least 1, got 0"),
    ],
)
def test_impossible_routes_are_refused_by_name(demands, capacity, vehicles, message):
    with pytest.raises(ValueError, match=message):
        VehicleRouting(demands, capacity, vehicles)
