import itertools

import numpy as np
import pytest

from difflayers.solver import InfeasibleError
from difflayers.solvers import Scheduling


def brute_force(prices, solver):
    """The least cost of all machines and starts of all tasks."""
    tasks = []
    for task, duration in enumerate(solver.durations):
        starts = range(solver.earliest[task], solver.latest[task] - duration + 1)
        tasks.append(list(itertools.product(range(len(solver.capacities)), starts)))
    best = np.inf
    for choice in itertools.product(*tasks):
        used = np.zeros((len(solver.capacities), solver.num_slots, solver.usage.shape[1]))
        cost = 0.0
        for task, (machine, start) in enumerate(choice):
            running = slice(start, start + solver.durations[task])
            used[machine, running] += solver.usage[task]
            cost += solver.powers[task] * prices[running].sum()
        if (used <= solver.capacities[:, None]).all():
            best = min(best, cost)
    return best


@pytest.mark.parametrize("seed", range(10))
def test_no_schedule_costs_less(seed):
    rng = np.random.default_rng(seed)
    num_tasks, num_slots = 3, 5
    durations = rng.integers(1, 4, num_tasks)
    earliest = rng.integers(0, num_slots - durations + 1)
    latest = rng.integers(earliest + durations, num_slots + 1)
    capacities = rng.integers(1, 4, (2, 2))
    solver = Scheduling(
        num_slots,
        durations,
        rng.integers(1, 9, num_tasks),
        earliest,
        latest,
        rng.integers(0, 3, (num_tasks, 2)),
        capacities,
    )
    prices = rng.normal(size=(2, num_slots)) + 1
    expected = [brute_force(row, solver) for row in prices]
    if np.isinf(expected).any():
        with pytest.raises(InfeasibleError, match="the tasks do not fit into the slots and machines"):
            solver(prices)
        return
    power = solver(prices)
    np.testing.assert_allclose((prices * power).sum(axis=1), expected, atol=1e-9)
    assert (power.sum(axis=1) == solver.powers @ solver.durations).all()
    np.testing.assert_array_equal(solver(1e-9 * prices), power)


def test_an_infinite_price_forbids_a_slot():
    solver = Scheduling(3, [1, 1], [1, 2], [0, 0], [3, 3], [[1], [1]], [[1]])
    assert solver([[np.inf, 5.0, 1.0]]).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"durations": [1, 9]}, "every task must run for a slot at least"),
        ({"latest": [4, 3]}, "latest must be 3 at most"),
        ({"powers": [1.0]}, r"powers and usage must have shape \(2,\) and \(2, resources\), got \(1,\)"),
        ({"capacities": [[1, 2]]}, r"capacities must have shape \(machines, 1\), got \(1, 2\)"),
        ({"usage": [[-1], [1]]}, "usage must be finite and non-negative"),
    ],
)
def test_impossible_schedules_are_refused_by_name(change, message):
    good = {
        "num_slots": 3,
        "durations": [1, 1],
        "powers": [1, 2],
        "earliest": [0, 0],
        "latest": [3, 3],
        "usage": [[1], [1]],
        "capacities": [[1]],
    }
    with pytest.raises(ValueError, match=message):
        Scheduling(**{**good, **change})
