"""Regret by hand and against enumeration."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers import SolverError
from difflayers.functional import normalized_regret, regret
from difflayers.losses import Regret
from tests.losses.polytopes import POLYTOPES, Enumeration, drawn_costs, simplex

# Three of three items are mispredicted, rightly predicted, and mispredicted to a worse one.
PREDICTED = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
TRUE = torch.tensor([[2.0, 3.0, 4.0], [-1.0, 0.0, 5.0], [1.0, 0.0, 7.0]])
COST_OF_DECISIONS, OPTIMA = [3.0, -1.0, 7.0], [2.0, -1.0, 0.0]
BY_HAND = [1.0, 0.0, 7.0]


def test_by_hand():
    solver = Enumeration(simplex(3))
    each, decisions = regret(solver, PREDICTED, true_costs=TRUE, reduction="none", return_solution=True)
    assert each.tolist() == BY_HAND
    assert decisions.argmax(1).tolist() == [1, 0, 2]
    assert regret(solver, PREDICTED, true_costs=TRUE) == sum(BY_HAND) / 3
    assert regret(solver, PREDICTED, true_costs=TRUE, reduction="sum") == sum(BY_HAND)
    # The sum of regrets over the sum of absolute optima, not the mean of their ratios.
    assert normalized_regret(solver, PREDICTED, true_costs=TRUE) == sum(BY_HAND) / 3


def test_by_hand_for_a_solver_that_maximises():
    solver = Enumeration(simplex(3))

    def dearest(costs):
        return solver(-costs)

    each = regret(dearest, PREDICTED, true_costs=TRUE, reduction="none", maximize=True)
    assert each.tolist() == [0.0, 0.0, 6.0]  # 4 of 4, 5 of 5, 1 of 7
    assert normalized_regret(dearest, PREDICTED, true_costs=TRUE, maximize=True) == 6 / 16


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(POLYTOPES)), st.integers(0, 2**32 - 1), st.booleans())
def test_is_never_negative_with_an_exact_solver_and_zero_at_the_true_costs(name, seed, given_solutions):
    points = POLYTOPES[name]
    costs, true_costs = drawn_costs(points, seed, 2)
    best = torch.tensor(Enumeration(points, batched=True)(true_costs.numpy())) if given_solutions else None
    solver = Enumeration(points)
    each = regret(solver, costs, true_costs=true_costs, true_solutions=best, reduction="none")
    assert (each >= -1e-12).all()
    assert (regret(solver, true_costs, true_costs=true_costs, reduction="none") == 0).all()
    assert (regret(solver, 2 * costs, true_costs=true_costs, reduction="none") == each).all()


def test_accumulated_batches_are_the_whole():
    points = POLYTOPES["paths"]
    costs, true_costs = drawn_costs(points, 0, 2, batch=10)
    metric = Regret(Enumeration(points))
    for part in (slice(0, 3), slice(3, 4), slice(4, 10)):
        metric.update(costs[part], true_costs=true_costs[part])
    summary = metric.compute()
    assert summary.instances == 10
    assert summary.mean == pytest.approx(
        float(regret(Enumeration(points), costs, true_costs=true_costs)), rel=1e-12
    )
    assert summary.normalized == pytest.approx(
        normalized_regret(Enumeration(points), costs, true_costs=true_costs), rel=1e-12
    )
    metric.reset()
    with pytest.raises(ValueError, match=r"no instance to compute regret of \(0 failed\)"):
        metric.compute()


def test_half_precision_costs_are_measured_in_double():
    # In bfloat16 256 + 1 is 256 again.
    costs = torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16)
    true = torch.tensor([[256.0, 258.0]], dtype=torch.bfloat16)
    both = Enumeration(np.eye(2))
    assert regret(both, costs, true_costs=true).item() == 2.0
    assert regret(both, costs, true_costs=true).dtype == torch.float64


def test_true_costs_keep_their_precision_whatever_that_of_the_predictions():
    true = torch.tensor([[1e9, 1e9 + 1]], dtype=torch.float64)
    assert regret(Enumeration(simplex(2)), torch.tensor([[2.0, 1.0]]), true_costs=true).item() == 1


def test_unsigned_true_costs_of_a_solver_that_maximises_do_not_wrap():
    true = torch.tensor([[5, 0, 1]], dtype=torch.uint8)
    worst = torch.tensor([[1.0, 2.0, 3.0]])
    dearest = Enumeration(simplex(3))

    def maximizer(costs):
        return dearest(-costs)

    assert regret(maximizer, worst, true_costs=true, maximize=True).item() == 4


@pytest.mark.parametrize("on_failure", ["skip", "zero_grad"])
def test_failed_instances_are_counted_and_in_no_mean(on_failure):
    solver = Enumeration(simplex(3))

    def sometimes(costs):
        return None if costs[2] == 0 else solver(costs)

    metric = Regret(sometimes, on_failure=on_failure)
    metric.update(PREDICTED, true_costs=TRUE)
    assert metric.compute() == (sum(BY_HAND[:2]) / 2, sum(BY_HAND[:2]) / 3, 2, 1)
    each = regret(sometimes, PREDICTED, true_costs=TRUE, reduction="none", on_failure=on_failure)
    assert each[:2].tolist() == BY_HAND[:2]
    assert math.isnan(each[2])
    with pytest.raises(SolverError, match="instance 2"):
        regret(sometimes, PREDICTED, true_costs=TRUE)


def test_nothing_to_normalise_by_is_an_error():
    zeros = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="all optima are zero"):
        normalized_regret(Enumeration(simplex(3)), zeros, true_costs=zeros)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(sorted(POLYTOPES)), st.integers(0, 2**31 - 1))
def test_unambiguous_regret_is_that_of_the_worst_of_the_cheapest(name, seed):
    points = POLYTOPES[name]
    costs, true_costs = drawn_costs(points, 2 * seed + 1, 2)  # small integers, with many ties
    found = regret(
        Enumeration(points), costs.float(), true_costs=true_costs, unambiguous=True, reduction="none"
    )
    for value, predicted, true in zip(found.tolist(), costs.numpy(), true_costs.numpy(), strict=True):
        axes = tuple(range(1, points.ndim))
        looks, pays = (points * predicted).sum(axes), (points * true).sum(axes)
        assert value == pays[looks == looks.min()].max() - pays.min()


def test_unambiguous_regret_of_a_solver_that_maximises_and_of_a_data_set():
    dearest = Enumeration(simplex(3))
    tied, true = torch.tensor([[2.0, 2.0, 1.0]]), torch.tensor([[3.0, 1.0, 7.0]])
    arguments = {"unambiguous": True, "maximize": True}

    def maximizer(costs):
        return dearest(-costs)

    value, decision = regret(maximizer, tied, true_costs=true, return_solution=True, **arguments)
    assert (value.item(), decision.tolist(), decision.dtype) == (6.0, [[0, 1, 0]], torch.float32)
    assert normalized_regret(maximizer, tied, true_costs=true, **arguments) == 6 / 7
    metric = Regret(maximizer, **arguments)
    metric.update(tied, true_costs=true, true_solutions=torch.tensor([[0.0, 0, 1]]))
    assert metric.compute().mean == 6.0


def by_each_function(solver, costs, **arguments):
    yield lambda: regret(solver, costs, **arguments)
    yield lambda: normalized_regret(solver, costs, **arguments)
    yield lambda: Regret(solver, **{k: arguments.pop(k) for k in ("maximize",) if k in arguments}).update(
        costs, **arguments
    )


def test_a_negative_regret_warns_of_the_wrong_sense_where_it_was_called():
    solver = Enumeration(simplex(3))  # which minimizes
    for call in by_each_function(solver, PREDICTED, true_costs=TRUE, maximize=True):
        with pytest.warns(RuntimeWarning, match="Look at `maximize`") as warned:
            call()
        assert [warning.filename for warning in warned] == [__file__]


def test_solutions_that_are_not_the_best_warn_too():
    worst = torch.eye(3)[TRUE.argmax(1)]
    with pytest.warns(RuntimeWarning, match="add up to -7: decisions for predicted costs are better"):
        # The decisions cost 3, −1 and 7, and the worst ones 4, 5 and 7.
        regret(Enumeration(simplex(3)), PREDICTED, true_costs=TRUE, true_solutions=worst)


@pytest.mark.filterwarnings("error")
def test_rounding_and_a_few_lucky_instances_do_not_warn():
    # In float32 the costs 16 777 217 and 16 777 216 are equal, and item 0 comes first.
    true = torch.tensor([[2.0**24 + 1, 2.0**24]], dtype=torch.float64)
    solver = Enumeration(simplex(2))

    def in_single(costs):
        return solver(costs.astype(np.float32))

    assert regret(in_single, torch.tensor([[1.0, 0.0]]), true_costs=true).item() == -1
    # What is given as the best of the first instance is beaten by 1, those of the others win by 6 and 7.
    costs, true, best = PREDICTED[[0, 2, 2]], TRUE[[0, 2, 2]], torch.eye(3)[[2, 0, 1]]
    assert regret(Enumeration(simplex(3)), costs, true_costs=true, true_solutions=best) == 4


def test_regret_has_no_gradient_whatever_the_solver_returns():
    items = torch.eye(3, requires_grad=True)

    def solver(costs):
        return items[costs.argmin(1)]

    costs, true = PREDICTED.clone().requires_grad_(), TRUE.clone().requires_grad_()
    each, y = regret(solver, costs, true_costs=true, tensors=True, reduction="none", return_solution=True)
    assert each.tolist() == BY_HAND
    assert not each.requires_grad
    assert not y.requires_grad
