from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, milp

from difflayers.solvers import Knapsack


def milp_cost(costs, weights, capacity):
    constraint = LinearConstraint(np.atleast_2d(weights), -np.inf, np.atleast_1d(capacity))
    finite = np.where(costs < np.inf, costs, 1e6)
    return milp(finite, constraints=constraint, integrality=np.ones(len(costs)), bounds=(0, 1)).fun


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(0, 3), st.integers(0, 10**6), st.booleans())
def test_knapsacks_hold_what_milp_takes(num_items, num_dims, seed, real):
    rng = np.random.default_rng(seed)
    shape = (num_dims, num_items) if num_dims else (num_items,)
    weights = rng.integers(0, 9, shape)
    capacity = rng.integers(0, 25, shape[:-1])
    if real:
        weights, capacity = weights * 0.1, capacity * 0.1
    costs = rng.normal(size=(2, num_items)) - 0.5
    costs[rng.random(costs.shape) < 0.1] = np.inf
    for cost, taken in zip(costs, Knapsack(weights, capacity)(costs), strict=True):
        assert (weights @ taken <= capacity + 1e-9).all()
        assert cost[taken > 0].sum() == pytest.approx(milp_cost(cost, weights, capacity), abs=1e-6)


def value_by_table(values, weights, capacity):
    best = np.zeros(capacity + 1, np.int64)
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        if weight <= capacity:
            best[weight:] = np.maximum(best[weight:], best[: capacity + 1 - weight] + value)
    return best[-1]


def hard_classes(num_items, largest, rng):
    """Weights and values of classes of Pisinger (Where are the hard knapsack problems?, 2005)."""
    weights, tenth = rng.integers(1, largest + 1, num_items), largest // 10
    even = 2 * rng.integers(1, largest // 2 + 1, num_items)
    return {
        "uncorrelated": (weights, rng.integers(1, largest + 1, num_items)),
        "weakly correlated": (weights, np.maximum(1, rng.integers(weights - tenth, weights + tenth + 1))),
        "strongly correlated": (weights, weights + tenth),
        "inversely correlated": (weights + tenth, weights),
        "almost strongly correlated": (weights, weights + tenth + rng.integers(0, 3, num_items)),
        "subset sum": (weights, weights),
        "even subset sum": (even, even),
        "multiples": (weights, weights + np.where(weights % 6 == 0, 3 * tenth, 2 * tenth)),
        "profit ceiling": (weights, 3 * -(-weights // 3)),
    }


@pytest.mark.parametrize("scale", [1.0, 0.37, 1e-200, 1e200])
@pytest.mark.parametrize("seed", range(4))
def test_hard_classes_reach_the_value_of_a_table_in_whole_numbers(seed, scale):
    rng = np.random.default_rng(seed)
    num_items, largest = int(rng.integers(5, 80)), int(rng.choice([10, 100, 1000]))
    for kind, (weights, values) in hard_classes(num_items, largest, rng).items():
        capacity = int(weights.sum() * rng.choice([0.1, 0.5, 0.9]))
        taken = Knapsack(weights, capacity)(-scale * values[None])[0].astype(int)
        assert weights @ taken <= capacity, kind
        assert values @ taken == value_by_table(values, weights, capacity), kind


def test_four_hundred_hard_items_are_solved_exactly():
    rng = np.random.default_rng(0)
    for kind, (weights, values) in hard_classes(400, 1000, rng).items():
        taken = Knapsack(weights, 10**5)(-1.0 * values[None])[0].astype(int)
        assert weights @ taken <= 10**5, kind
        assert values @ taken == value_by_table(values, weights, 10**5), kind


def best_in_fractions(costs, weights, capacities, tolerance):
    """Least total cost of all subsets, in exact arithmetic."""
    best = Fraction(0)
    costs = [Fraction(cost) for cost in costs.tolist()]
    rows = [[Fraction(weight) for weight in row] for row in weights.tolist()]
    limits = [Fraction(capacity) * (1 + tolerance) for capacity in capacities.tolist()]
    for taken in product([0, 1], repeat=len(costs)):
        total = sum((c for c, t in zip(costs, taken, strict=True) if t), Fraction(0))
        if total < best and all(
            sum((w for w, t in zip(row, taken, strict=True) if t), Fraction(0)) <= limit
            for row, limit in zip(rows, limits, strict=True)
        ):
            best = total
    return best


KINDS_OF_WEIGHTS = {
    "beyond int64": lambda rng, shape: 3 * rng.integers(1, 2**62, shape).astype(np.uint64),
    "up to int64": lambda rng, shape: rng.integers(1, 2**63 - 1, shape),
    "sixteen decades": lambda rng, shape: rng.integers(1, 10, shape) * 10 ** rng.integers(0, 17, shape),
    "real, sixteen decades": lambda rng, shape: rng.random(shape) * 10.0 ** rng.integers(-8, 8, shape),
    "tenths": lambda rng, shape: rng.integers(0, 9, shape) * 0.1,
    "tiny": lambda rng, shape: rng.integers(0, 9, shape) * 1e-300,
    "huge": lambda rng, shape: rng.integers(0, 9, shape) * 1e300,
    "single precision": lambda rng, shape: (rng.integers(0, 9, shape) * 0.1).astype(np.float32),
}


@pytest.mark.parametrize("unit", [1.0, 1e-170, 1e-300, 1e170, 1e300])
@pytest.mark.parametrize("kind", KINDS_OF_WEIGHTS)
def test_whatever_the_range_of_numbers_no_better_subset_exists(kind, unit):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        num_dims, num_items = 1 + seed % 3, int(rng.integers(1, 8))
        weights = KINDS_OF_WEIGHTS[kind](rng, (num_dims, num_items))
        # What some subset weighs, so that the capacities can be met exactly, or a little less.
        inside = rng.random(num_items) < 0.5
        whole = weights.dtype.kind != "f"
        sums = [sum(row[inside].tolist()) for row in weights]
        most = np.iinfo(weights.dtype).max if whole else np.inf
        capacities = np.array([min(total, most) for total in sums], weights.dtype)
        costs = -rng.integers(0, 10, num_items) * 10.0 ** rng.integers(0, 5, num_items)
        taken = Knapsack(weights, capacities)(unit * costs[None])[0] > 0
        tolerance = 0 if whole else Fraction((num_items + 2) * float(np.finfo(weights.dtype).eps))
        for row, capacity in zip(weights.tolist(), capacities.tolist(), strict=True):
            used = sum((Fraction(w) for w, t in zip(row, taken, strict=True) if t), Fraction(0))
            assert used <= Fraction(capacity) * (1 + tolerance) * (1 + bool(tolerance) * Fraction(2) ** -50)
        found = sum((Fraction(cost) for cost in costs[taken].tolist()), Fraction(0))
        assert found <= best_in_fractions(costs, weights, capacities, tolerance)


def test_whole_weights_neither_overflow_nor_exceed_the_capacity_by_one():
    big = 2**63 - 1
    assert Knapsack([big, big, 3], 10)([[-1.0, -1.0, -1.0]]).tolist() == [[0, 0, 1]]
    assert Knapsack(np.array([2**63 + 5, 2], np.uint64), 10)([[-1.0, -1.0]]).tolist() == [[0, 1]]
    assert Knapsack(np.array([2**64 - 1, 1], np.uint64), np.uint64(2**64 - 1))([[-1.0, -2.0]]).tolist() == [
        [0, 1]
    ]
    for whole in (10**13, 2**53, 2**60):
        assert Knapsack([whole, 5], whole)([[-2.0, -1.0]]).tolist() == [[1, 0]]
        assert Knapsack([[whole, 5]], [whole])([[-2.0, -1.0]]).tolist() == [[1, 0]]
        assert Knapsack([whole, 5], 5)([[-2.0, -1.0]] * 2, [whole, whole + 5]).tolist() == [[1, 0], [1, 1]]


def test_a_tenth_and_two_tenths_fit_into_three_tenths():
    assert Knapsack([0.1, 0.2], 0.3)([[-1.0, -1.0]]).tolist() == [[1, 1]]
    assert Knapsack([[0.1, 0.2]], [0.3])([[-1.0, -1.0]]).tolist() == [[1, 1]]
    assert Knapsack([1e13 + 0.5, 5.5], 1e13 + 0.5)([[-1.0, -2.0]]).tolist() == [[0, 1]]
    assert Knapsack([0.1] * 10, 1.0)(-np.ones((1, 10))).all()


def test_an_instance_with_a_context_does_not_depend_on_the_others():
    weights = np.array([0.1, 0.2, 1e9])
    costs = np.tile([-1.0, -2.0, -4.0], (3, 1))
    together = Knapsack(weights, 1.0)(costs, [0.3, 1e9, 0.25])
    assert together.tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]


def test_fifty_items_in_two_dimensions_are_filled_as_milp_does():
    rng = np.random.default_rng(1)
    weights = rng.integers(3, 9, (2, 50))
    capacity = weights.sum(axis=1) // 3
    costs = -(1 + 5 * rng.random((2, 50)))
    for cost, taken in zip(costs, Knapsack(weights, capacity)(costs), strict=True):
        assert cost @ taken == pytest.approx(milp_cost(cost, weights, capacity), abs=1e-6)


def test_items_that_do_not_help_stay_outside_and_weightless_ones_come_in():
    solver = Knapsack([0, 1, 0, 1], 0)
    assert solver(np.array([[-1.0, -1.0, 0.0, 2.0]])).tolist() == [[1, 0, 0, 0]]
    assert Knapsack([[0, 1, 0, 1]], [0])(np.array([[-1.0, -1.0, 0.0, 2.0]])).tolist() == [[1, 0, 0, 0]]
    assert Knapsack(np.empty(0, int), 3)(np.ones((2, 0))).shape == (2, 0)


def test_contexts_give_each_instance_its_capacity():
    costs = np.tile([-3.0, -2.0, -1.5], (3, 1))
    assert Knapsack([2, 1, 1], 0)(costs, [2, 3, 0]).tolist() == [[0, 1, 1], [1, 1, 0], [0, 0, 0]]
    two = Knapsack([[2, 1, 1], [1, 1, 1]], [9, 9])
    assert two(costs, [(9, 1), (1, 9), (3, 2)]).tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 0]]
    with pytest.raises(ValueError, match=r"got \[-1.0\] for instance 1"):
        Knapsack([2, 1, 1], 3)(costs, [1, -1, 1])
    with pytest.raises(ValueError, match="the context of instance 2 must have shape"):
        Knapsack([2, 1, 1], 3)(costs, [1, 1, (1, 2)])


def test_huge_capacities_need_no_table():
    taken = Knapsack(np.array([10**12, 1, 10**12]), 10**12 + 1)(np.array([[-2.0, -1.0, -3.0]]))
    assert taken.tolist() == [[0, 1, 1]]


@pytest.mark.parametrize(
    ("weights", "capacity", "error", "message"),
    [
        ([1, 2], [3], ValueError, "weights must have shape"),
        ([[1, 2]], 3, ValueError, "weights must have shape"),
        ([1, -2], 3, ValueError, "weights must be finite and non-negative"),
        ([1, 2], np.inf, ValueError, "capacity must be finite"),
        (["a", "b"], 3, TypeError, "weights must be real numbers"),
    ],
)
def test_impossible_knapsacks_are_refused_by_name(weights, capacity, error, message):
    with pytest.raises(error, match=message):
        Knapsack(weights, capacity)


@pytest.mark.parametrize("num_dims", [0, 2])
def test_contexts_give_each_instance_its_weights_too(num_dims):
    rng = np.random.default_rng(num_dims)
    shape = (num_dims, 6) if num_dims else (6,)
    weights, costs = rng.random((5, *shape)), -rng.random((5, 6))
    capacities = rng.uniform(0.5, 2, (5, *shape[:-1]))
    together = Knapsack(np.zeros(shape), np.zeros(shape[:-1]))(
        costs, list(zip(weights, capacities, strict=True))
    )
    for weight, capacity, cost, taken in zip(weights, capacities, costs, together, strict=True):
        np.testing.assert_array_equal(taken, Knapsack(weight, capacity)(cost[None])[0])


def test_a_pair_of_weights_and_capacity_may_stand_beside_capacities():
    costs = np.tile([-3.0, -2.0], (2, 1))
    assert Knapsack([2, 1], 0)(costs, [1, ([1, 2], 1)]).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(ValueError, match=r"weights must be finite and non-negative, got .* for instance 1"):
        Knapsack([2, 1], 0)(costs, [1, ([1, -2], 1)])
    with pytest.raises(ValueError, match="the context of instance 0 must have shape"):
        Knapsack([2, 1], 0)(costs, [([1, 2, 3], 1), 1])
