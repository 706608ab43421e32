"""SPO+ against its definition, over every feasible solution of small polytopes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers import SolverError
from difflayers.functional import regret
from difflayers.losses import SPOPlusLoss
from difflayers.solvers import ShortestPath
from tests.losses.polytopes import POLYTOPES, Enumeration, drawn_costs

polytopes = st.sampled_from(sorted(POLYTOPES))
seeds = st.integers(0, 2**32 - 1)


def by_definition(points, predicted, true):
    """max_y ⟨c − 2ĉ, y⟩ + 2 ⟨ĉ, y*⟩ − ⟨c, y*⟩ (Elmachtoub and Grigas, Definition 3), an instance."""
    best = points[np.argmin([(true * y).sum() for y in points])]
    largest = max(((true - 2 * predicted) * y).sum() for y in points)
    return largest + 2 * (predicted * best).sum() - (true * best).sum()


@settings(deadline=None, max_examples=60)
@given(polytopes, seeds, st.booleans())
def test_value_is_the_definition_with_and_without_given_solutions(name, seed, given_solutions):
    points = POLYTOPES[name]
    costs, true_costs = drawn_costs(points, seed, 2)
    solver = Enumeration(points, batched=True)
    best = torch.tensor(solver(true_costs.numpy())) if given_solutions else None
    loss = SPOPlusLoss(solver, "none", batched=True)
    values = loss(costs, true_costs=true_costs, true_solutions=best)
    expected = [by_definition(points, *pair) for pair in zip(costs.numpy(), true_costs.numpy(), strict=True)]
    np.testing.assert_allclose(values, expected, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(polytopes, seeds)
def test_bounds_the_regret_from_above_and_is_zero_at_the_true_costs(name, seed):
    solver = Enumeration(POLYTOPES[name])
    costs, true_costs = drawn_costs(POLYTOPES[name], seed, 2)
    loss = SPOPlusLoss(solver, "none")
    regrets = regret(solver, costs, true_costs=true_costs, reduction="none")
    assert (loss(costs, true_costs=true_costs) >= regrets - 1e-9).all()
    assert (loss(true_costs, true_costs=true_costs) == 0).all()


@settings(deadline=None, max_examples=60)
@given(polytopes, seeds)
def test_is_convex_and_its_gradient_a_subgradient(name, seed):
    loss = SPOPlusLoss(Enumeration(POLYTOPES[name]), "none")
    here, there, true_costs = drawn_costs(POLYTOPES[name], seed, 3)
    here.requires_grad_()
    at_here, at_there = loss(here, true_costs=true_costs), loss(there, true_costs=true_costs)
    middle = loss((here + there) / 2, true_costs=true_costs)
    assert (middle <= (at_here + at_there) / 2 + 1e-9).all()

    (gradient,) = torch.autograd.grad(at_here.sum(), here)
    assert (at_there >= at_here + (gradient * (there - here)).flatten(1).sum(1) - 1e-9).all()


@settings(deadline=None, max_examples=30)
@given(polytopes, seeds)
def test_gradient_is_twice_the_difference_of_the_two_solutions(name, seed):
    points = POLYTOPES[name]
    solver = Enumeration(points, batched=True)
    costs, true_costs = drawn_costs(points, seed, 2)
    costs.requires_grad_()
    loss, solutions = SPOPlusLoss(solver, "sum", batched=True)(
        costs, true_costs=true_costs, return_solution=True
    )
    loss.backward()
    reflected = solver((2 * costs.detach() - true_costs).numpy())
    assert (solutions.numpy() == reflected).all()
    assert (costs.grad.numpy() == 2 * (solver(true_costs.numpy()) - reflected)).all()


@pytest.mark.parametrize("solutions_given", [True, False])
def test_one_call_of_a_batched_solver_does_it_all(solutions_given):
    solver = Enumeration(POLYTOPES["paths"], batched=True)
    costs, true_costs = drawn_costs(POLYTOPES["paths"], 0, 2)
    best = torch.tensor(solver(true_costs.numpy())) if solutions_given else None
    solver.calls.clear()
    SPOPlusLoss(solver, batched=True)(costs, true_costs=true_costs, true_solutions=best)
    assert solver.calls == [4 if solutions_given else 8]


def test_several_costs_add_up():
    paths = Enumeration(POLYTOPES["paths"])
    matchings = Enumeration(POLYTOPES["matchings"])

    def both(first, second):
        return paths(first), matchings(second)

    firsts, seconds = drawn_costs(POLYTOPES["paths"], 2, 2), drawn_costs(POLYTOPES["matchings"], 4, 2)
    joint, solutions = SPOPlusLoss(both, "none")(
        [firsts[0], seconds[0]], true_costs=[firsts[1], seconds[1]], return_solution=True
    )
    apart = SPOPlusLoss(paths, "none")(firsts[0], true_costs=firsts[1])
    apart = apart + SPOPlusLoss(matchings, "none")(seconds[0], true_costs=seconds[1])
    torch.testing.assert_close(joint, apart)
    assert [solution.shape for solution in solutions] == [firsts[0].shape, seconds[0].shape]


def test_clipped_costs_break_the_bound_and_no_message_recommends_them():
    # 2ĉ − c adds up to −5 + 1 along the better path, clipped 1, and to 0.2 + 0.2 along the other.
    edges = [[0, 1], [1, 3], [0, 2], [2, 3]]
    costs, true = torch.tensor([[0.5, 1, 2.1, 2.1]]), torch.tensor([[6.0, 1, 4, 4]])
    exact = SPOPlusLoss(ShortestPath(4, edges), batched=True)
    assert exact(costs, true_costs=true) == 0
    clipped = SPOPlusLoss(ShortestPath(4, edges, directed=False, clip_negative=True), batched=True)
    assert clipped(costs, true_costs=true).item() == pytest.approx(-4.4)
    refusing = SPOPlusLoss(ShortestPath(4, edges, directed=False), batched=True)
    with pytest.raises(SolverError, match=r"negative value -5 .* Do not clip under SPOPlusLoss"):
        refusing(costs, true_costs=true)
