"""Contrastive losses by hand, and against enumeration where the pool has every feasible solution."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers.engine.pool import SolutionPool
from difflayers.functional import contrastive_loss
from difflayers.losses import ContrastiveLoss
from tests.losses.polytopes import POLYTOPES, Enumeration, drawn_costs, simplex

polytopes = st.sampled_from(sorted(POLYTOPES))
seeds = st.integers(0, 2**32 - 1)


def knowing_all(points, kind, **options):
    """A loss whose pool has every feasible solution, and that does not call the solver any more."""
    loss = ContrastiveLoss(Enumeration(points), kind, "none", pool=SolutionPool(0), **options)
    loss(torch.zeros(points.shape, dtype=torch.float64), true_solutions=torch.tensor(points))
    loss.solver.function.calls.clear()
    return loss


def evaluate(loss, costs, best):
    costs = costs.clone().requires_grad_()
    values, solutions = loss(costs, true_solutions=best, return_solution=True)
    (gradient,) = torch.autograd.grad(values.sum(), costs)
    return values.detach(), gradient, solutions


def test_by_hand():
    item = torch.eye(3)
    costs = torch.tensor([[3.0, 1.0, 2.0]])
    for kind, first, second in (
        # The pool has W(ĉ) = item 1 and y* = item 0, then y* = item 2 too.
        ("nce", (3 - (3 + 1) / 2, item[0] - (item[0] + item[1]) / 2), (0, item[2] - item.mean(0))),
        ("map", (3 - 1, item[0] - item[1]), (2 - 1, item[2] - item[1])),
    ):
        loss = ContrastiveLoss(Enumeration(simplex(3)), kind, "none", pool=SolutionPool(0))
        for wanted, (value, gradient) in zip((item[:1], item[2:]), (first, second), strict=True):
            values, gradients, solutions = evaluate(loss, costs, wanted)
            torch.testing.assert_close(values, torch.tensor([float(value)]))
            torch.testing.assert_close(gradients, gradient[None])
            torch.testing.assert_close(solutions, item[1:2])


@settings(deadline=None, max_examples=40)
@given(polytopes, seeds)
def test_values_and_gradients_over_all_feasible_solutions(name, seed):
    points = POLYTOPES[name]
    (costs,) = drawn_costs(points, seed, 1)
    best = torch.tensor(points[np.random.default_rng(seed).integers(len(points), size=len(costs))])
    scores = np.tensordot(costs.numpy().reshape(len(costs), -1), points.reshape(len(points), -1), (1, 1))
    target = (costs * best).flatten(1).sum(1).numpy()

    values, gradient, _ = evaluate(knowing_all(points, "nce"), costs, best)
    np.testing.assert_allclose(values, target - scores.mean(1), atol=1e-12)
    np.testing.assert_allclose(gradient, best.numpy() - points.mean(0), atol=1e-12)

    loss = knowing_all(points, "map")
    values, gradient, solutions = evaluate(loss, costs, best)
    np.testing.assert_allclose(values, target - scores.min(1), atol=1e-12)
    assert (values >= -1e-12).all()
    np.testing.assert_allclose((gradient * costs).flatten(1).sum(1), values, atol=1e-12)
    np.testing.assert_allclose(solutions, best.numpy() - gradient.numpy(), atol=1e-12)
    assert loss.solver.function.calls == []


def test_only_solutions_of_the_same_context_are_compared():
    points = simplex(4)
    masks = [np.array([True, True, False, False]), np.array([False, False, True, True])]
    costs = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    best = torch.eye(4)[[1, 3]]
    loss = ContrastiveLoss(Enumeration(points), "map", "none", pool=SolutionPool(0))
    values, gradient, solutions = evaluate(lambda c, **kw: loss(c, context=masks, **kw), costs, best)
    # Item 0 is cheaper than item 3, but not feasible there.
    assert values.tolist() == [2 - 1, 4 - 3]
    torch.testing.assert_close(gradient, best - torch.eye(4)[[0, 2]])
    assert solutions.argmax(1).tolist() == [0, 2]


@pytest.mark.parametrize("kind", ["nce", "map"])
def test_several_costs_are_scored_together(kind):
    paths, matchings = POLYTOPES["paths"], POLYTOPES["matchings"]

    def both(first, second):
        return Enumeration(paths)(first), Enumeration(matchings)(second)

    (firsts,), (seconds,) = drawn_costs(paths, 0, 1), drawn_costs(matchings, 0, 1)
    best = [torch.tensor(paths[:4]), torch.tensor(matchings[1:5])]
    joint = ContrastiveLoss(both, kind, "none", pool=SolutionPool(0))([firsts, seconds], true_solutions=best)

    def flat(first, second):
        return torch.cat([first.flatten(1), second.flatten(1)], 1)

    def cut(costs):
        first, second = both(costs[:12], costs[12:].reshape(3, 3))
        return np.concatenate([first, second.ravel()])

    one = ContrastiveLoss(cut, kind, "none", pool=SolutionPool(0))(
        flat(firsts, seconds), true_solutions=flat(*best)
    )
    torch.testing.assert_close(joint, one)


def test_a_function_needs_a_pool_that_is_kept():
    costs, best = torch.zeros(2, 4), torch.eye(4)[:2]
    with pytest.raises(TypeError, match="pool must be a SolutionPool that is kept from call to call"):
        contrastive_loss(Enumeration(simplex()), costs, true_solutions=best)


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match=r"kind must be one of .* got 'triplet'"):
        ContrastiveLoss(Enumeration(simplex()), "triplet")


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_a_negative_zero_makes_no_solution_new(zero):
    # The pool has items 0 and 1; the mean of ⟨ĉ, y* − v⟩ is −1/2, −1/2 and 1/2 for costs of 1 and 2.
    costs = torch.tensor([[1.0, 2, 4]] * 3)
    best = torch.tensor([[1.0, 0, 0], [1.0, zero, 0], [0.0, 1, 0]])
    loss = ContrastiveLoss(Enumeration(simplex(3)), kind="nce")
    assert loss(costs, true_solutions=best).item() == pytest.approx(-1 / 6)
