"""The solution pool: what it may answer, and that it never mixes with the solver in one step."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import difflayers
from difflayers.engine.pool import SolutionPool

SUBSETS = np.array(list(itertools.product([0.0, 1.0], repeat=3)))[1:]


class Counting:
    """The cheapest non-empty subset of three items, without the context's; counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, costs, forbidden=None):
        self.calls += 1
        feasible = SUBSETS if forbidden is None else SUBSETS[SUBSETS[:, int(forbidden[0])] == 0]
        return feasible[np.argmin(feasible @ costs)]


def batch(size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 3, generator=generator, dtype=torch.float64).requires_grad_()


def train(layer, costs, **options):
    y = layer(costs, **options)
    (gradient,) = torch.autograd.grad(y, costs, batch(len(costs), seed=9).detach())
    return y.detach(), gradient


def test_without_seen_solutions_everything_is_solved():
    plain, pooled = Counting(), Counting()
    expected = train(difflayers.BlackboxLayer(plain), batch())
    layer = difflayers.BlackboxLayer(pooled, pool=SolutionPool(solve_ratio=0))
    assert_close(train(layer, batch()), expected)
    assert pooled.calls == plain.calls == 12


def test_answers_are_the_cheapest_of_the_seen_solutions_in_forward_and_backward():
    solver, pool = Counting(), SolutionPool(solve_ratio=0)
    layer = difflayers.BlackboxLayer(solver, 2.0, pool=pool)
    train(layer, batch(2))
    seen = next(iter(pool._seen.values()))
    seen = torch.stack(list(seen.values())).numpy()
    assert 1 < len(seen) < len(SUBSETS)
    solver.calls = 0

    costs = batch(20, seed=3)
    y, gradient = train(layer, costs)
    assert solver.calls == 0

    def best(c):
        return torch.tensor(seen[np.argmin(c @ seen.T, axis=1)])

    incoming = batch(20, seed=9).detach()
    assert_close(y, best(costs.detach().numpy()))
    assert_close(gradient, (best((costs + 2 * incoming).detach().numpy()) - y) / 2)


@settings(max_examples=30, deadline=None)
@given(ratio=st.floats(0, 1), seed=st.integers(0, 1000))
def test_no_step_takes_one_side_of_a_difference_from_the_pool_and_the_other_from_the_solver(ratio, seed):
    solver = Counting()
    layer = difflayers.BlackboxLayer(solver, pool=SolutionPool(ratio, seed=seed))
    costs = batch()
    for step in range(5):
        solver.calls = 0
        y = layer(costs)
        forward = solver.calls
        y.backward(batch(seed=step).detach())
        assert (forward, solver.calls) in ((0, 0), (6, 12))


def test_the_ratio_is_how_often_a_step_solves():
    solver = Counting()
    layer = difflayers.BlackboxLayer(solver, pool=SolutionPool(solve_ratio=0.25))
    costs = batch(1)
    layer(costs)
    solver.calls = 0
    for _ in range(400):
        layer(costs)
    assert 60 < solver.calls < 140  # 100 ± 4.6 standard deviations


def test_a_changed_context_cannot_hit_even_when_changed_in_place():
    solver = Counting()
    layer = difflayers.BlackboxLayer(solver, pool=SolutionPool(solve_ratio=0))
    context = np.array([0])
    costs = torch.tensor([[-5.0, -1.0, 1.0]])
    assert layer(costs, context=[context]).tolist() == [[0, 1, 0]]
    assert layer(costs, context=[context.copy()]).tolist() == [[0, 1, 0]]
    assert solver.calls == 1
    context[0] = 1
    assert layer(costs, context=[context]).tolist() == [[1, 0, 0]]
    assert layer(costs).tolist() == [[1, 1, 0]]
    assert solver.calls == 3


def test_shapes_are_kept_apart():
    layer = difflayers.BlackboxLayer(lambda c: np.eye(len(c))[c.argmin()], pool=SolutionPool(solve_ratio=0))
    assert layer(torch.tensor([[3.0, 1.0]])).tolist() == [[0, 1]]
    assert layer(torch.tensor([[3.0, 1.0, 0.0]])).tolist() == [[0, 0, 1]]


def test_infinite_costs_are_avoided_and_their_absence_costs_nothing():
    pool = SolutionPool(solve_ratio=0)
    layer = difflayers.BlackboxLayer(lambda c: np.eye(3)[c.argmin()], pool=pool)
    layer(-torch.eye(3)[:2])  # now the pool knows items 0 and 1
    assert layer(torch.tensor([[torch.inf, 9.0, 0.0]])).tolist() == [[0, 1, 0]]
    assert layer(torch.tensor([[5.0, -torch.inf, 0.0]])).tolist() == [[0, 1, 0]]


def test_maximising_layers_take_the_dearest():
    layer = difflayers.BlackboxLayer(
        lambda c: np.eye(3)[c.argmax()], maximize=True, pool=SolutionPool(solve_ratio=0)
    )
    layer(torch.eye(3)[:2])
    assert layer(torch.tensor([[1.0, 4.0, 9.0]])).tolist() == [[0, 1, 0]]


def test_several_outputs_stay_together():
    def pair(a, b):
        return np.eye(2)[a.argmin()], np.eye(3)[b.argmin()]

    layer = difflayers.BlackboxLayer(pair, pool=SolutionPool(solve_ratio=0))
    layer(torch.tensor([[0.0, 1], [1, 0]]), torch.tensor([[0.0, 1, 1], [1, 1, 0]]))
    # Apart the best would be items 0 and 2, but only (0, 0) and (1, 2) have been seen.
    y, z = layer(torch.tensor([[0.0, 1]]), torch.tensor([[5.0, 5, 0]]))
    assert (y.tolist(), z.tolist()) == ([[0, 1]], [[0, 0, 1]])


def test_the_oldest_solutions_go_first_and_none_is_kept_twice():
    pool = SolutionPool(size=2)
    rows = torch.eye(4)
    pool.add(["a"] * 5, rows[[0, 0, 1, 0, 2]])
    assert len(pool) == 2
    assert pool.best(["a"], torch.tensor([[-9.0, -5.0, -4.0, -3.0]])).tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_decide_as_the_original_would_have(copied):
    layer = difflayers.BlackboxLayer(Counting(), pool=SolutionPool(solve_ratio=0.5))
    train(layer, batch())
    twin = copied(layer)
    for step in range(5):
        assert_close(train(twin, batch(seed=step)), train(layer, batch(seed=step)))
        assert twin.solver.function.calls == layer.solver.function.calls


def test_state_dict_carries_solutions_and_generator(tmp_path):
    layer = difflayers.BlackboxLayer(Counting(), pool=SolutionPool(solve_ratio=0.5))
    train(layer, batch())
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    resumed = difflayers.BlackboxLayer(Counting(), pool=SolutionPool(solve_ratio=0.5, seed=99))
    resumed.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    for step in range(5):
        layer.solver.function.calls = resumed.solver.function.calls = 0
        assert_close(train(resumed, batch(seed=step)), train(layer, batch(seed=step)))
        assert resumed.solver.function.calls == layer.solver.function.calls


def test_failed_instances_add_nothing():
    def picky(costs):
        return None if costs[0] > 0 else np.eye(3)[costs.argmin()]

    pool = SolutionPool()
    layer = difflayers.BlackboxLayer(picky, pool=pool, on_failure="zero_grad")
    layer(torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]))
    assert len(pool) == 1


def test_wrong_arguments_are_refused():
    for arguments, text in (
        ({"solve_ratio": 1.5}, "solve_ratio must be from 0 to 1"),
        ({"size": 0}, "size must be an integer of at least 1"),
    ):
        with pytest.raises(ValueError, match=text):
            SolutionPool(**arguments)
    with pytest.raises(TypeError, match="pool must be a SolutionPool"):
        difflayers.BlackboxLayer(Counting(), pool=True)
    layer = difflayers.BlackboxLayer(Counting(), pool=SolutionPool())
    with pytest.raises(TypeError, match="a context must be picklable for a SolutionPool"):
        layer(batch(1), context=[lambda: 0])
