"""The solution pool: what it may answer, and that it never mixes with the solver in one step."""

import collections
import copy
import itertools
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

import difflayers
from difflayers.engine.pool import Shelf, SolutionPool

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
    (key,) = pool.keys([torch.zeros(1, 3)], None)
    seen = pool.seen(key).numpy()
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
    (key,) = pool.keys([torch.zeros(1, 4)], None)
    pool.add([key] * 5, rows[[0, 0, 1, 0, 2]])
    assert len(pool) == 2
    assert pool.best([key], torch.tensor([[-9.0, -5.0, -4.0, -3.0]])).tolist() == [[0, 1, 0, 0]]


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


def test_rows_of_a_loaders_tensor_are_the_same_contexts_in_every_epoch():
    solver = Counting()
    layer = difflayers.BlackboxLayer(solver, pool=SolutionPool(solve_ratio=0))
    items = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    for seed in range(5):  # as a DataLoader does, which stacks and shuffles
        order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
        layer(batch(8, seed), context=list(items[order][:, None]))
    assert solver.calls == 8  # those of the first epoch, in which no context had been seen
    assert len(layer.solver.pool.state_dict()["contexts"]) == 3


ROW = np.array([1.0, 0.0, 2.5])
Budget = collections.namedtuple("Budget", ["mask", "limit"])


@dataclass
class Shop:
    """A context of the user's own class."""

    name: str
    mask: torch.Tensor


EQUAL = {
    "row of a tensor": (torch.from_numpy(np.stack([ROW, ROW + 1]))[0], torch.from_numpy(ROW.copy())),
    "strided": (torch.from_numpy(np.stack([ROW, ROW + 1], 1))[:, 0], torch.from_numpy(ROW.copy())),
    "tensor and array": (torch.from_numpy(ROW), ROW),
    "requires grad": (torch.from_numpy(ROW).requires_grad_(), torch.from_numpy(ROW)),
    "part of an array": (np.stack([ROW, ROW])[1], ROW),
    "read-only": (np.broadcast_to(ROW, (2, 3)), np.stack([ROW, ROW])),
    "Fortran order": (np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(6.0).reshape(2, 3)),
    "other byte order": (ROW.astype(">f8"), ROW),
    "minus zero": (torch.tensor([-0.0, 1.0]), torch.tensor([0.0, 1.0])),
    "bfloat16": (torch.ones(4, dtype=torch.bfloat16)[1:3], torch.ones(2, dtype=torch.bfloat16)),
    "negated view": (torch.tensor([1 - 2j]).conj().imag, torch.tensor([2.0])),
    "numbers": ([1, 2.0, True, np.float32(0.5)], [np.int64(1), 2, 1, 0.5]),
    "minus zeros": (-0.0, 0),
    "dict in another order": ({"a": ROW, "b": 1}, {"b": 1, "a": torch.from_numpy(ROW)}),
    "set": ({"x", "y", "zeta"}, {"zeta", "y", "x"}),
    "nested": ([{"m": (torch.eye(3)[1], None)}], [{"m": (torch.tensor([0.0, 1, 0]), None)}]),
    "one object twice": ([ROW, ROW], [ROW, ROW.copy()]),
    "named tuple": (Budget(torch.eye(3)[0], 5), Budget(torch.tensor([1.0, 0, 0]), 5)),
    "own class": (Shop("no. 1", torch.eye(3)[0]), Shop("".join(["no", ". 1"]), torch.tensor([1.0, 0, 0]))),
    "objects": (np.array([ROW, "x"], dtype=object), np.array([ROW.copy(), "x"], dtype=object)),
}
DIFFERENT = {
    "values": (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0])),
    "shapes": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "dimensions": (np.zeros(()), np.zeros(1)),
    "dtypes": (np.zeros(2, np.float32), np.zeros(1, np.float64)),
    "places": ([1, [2]], [[1], 2]),
    "borders": (["ab", "c"], ["a", "bc"]),
    "text and bytes": ("ab", b"ab"),
    "keys": ({"a": 1}, {"b": 1}),
    "list and set": ([1, 2], {1, 2}),
    "own class": (Shop("a", torch.eye(3)[0]), Shop("a", torch.eye(3)[1])),
    "nothing": (None, 0),
    "large": (2**53 + 1, float(2**53)),
}


@pytest.mark.parametrize("pair", EQUAL.values(), ids=EQUAL)
def test_contexts_of_equal_content_are_one(pair):
    pool = SolutionPool()
    first, second = pool.keys([torch.zeros(2, 3)], list(pair))
    assert first is second
    assert pool.keys([torch.zeros(1, 3)], copy.deepcopy([pair[1]])) == [first]


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_contexts_of_other_content_are_kept_apart(pair):
    first, second = SolutionPool().keys([torch.zeros(2, 3)], list(pair))
    assert first is not second


def test_a_context_that_holds_itself_is_recognised():
    def ring():
        shop = Shop("a", torch.eye(3)[0])
        shop.next = Shop("b", torch.eye(3)[1])
        shop.next.next = shop
        return shop

    pool = SolutionPool()
    (key,) = pool.keys([torch.zeros(1, 3)], [ring()])
    assert pool.keys([torch.zeros(1, 3)], [ring()]) == [key]


def test_beyond_the_number_of_contexts_the_one_unused_for_longest_goes():
    solver = Counting()
    layer = difflayers.BlackboxLayer(solver, pool=SolutionPool(solve_ratio=0, contexts=2))

    def solved(*items):
        solver.calls = 0
        layer(batch(len(items)), context=[np.array([item]) for item in items])
        return solver.calls

    assert solved(0, 1) == 2
    assert solved(0) == 0
    assert solved(2) == 1  # in place of 1
    assert solved(0, 2) == 0
    assert solved(1) == 1
    assert len(layer.solver.pool.state_dict()["contexts"]) == 2


def test_a_step_keeps_its_solutions_to_its_end_when_the_pool_drops_them():
    solver = Counting()
    layer = difflayers.BlackboxLayer(solver, 5.0, pool=SolutionPool(solve_ratio=0, contexts=1))
    context, incoming = [np.array([0])] * 6, batch(seed=9).detach()
    costs = batch()
    torch.autograd.grad(layer(costs, context=context), costs, incoming)
    (expected,) = torch.autograd.grad(layer(costs, context=context), costs, incoming)
    y = layer(costs, context=context)
    layer(batch(seed=1), context=[np.array([1])] * 6)
    solver.calls = 0
    (gradient,) = torch.autograd.grad(y, costs, incoming)
    assert solver.calls == 0
    assert expected.abs().sum() > 0
    assert_close(gradient, expected)


@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_solutions_that_are_equal_are_one(zero, dtype):
    pool = SolutionPool()
    (key,) = pool.keys([torch.zeros(1, 2)], None)
    pool.add([key], torch.tensor([[1.0, 0.0]]))
    pool.add([key], torch.tensor([[1.0, zero]], dtype=dtype))
    assert pool.seen(key).tolist() == [[1.0, 0.0]]
    assert not pool.seen(key).signbit().any()


def test_a_state_is_tensors_only_and_restores_any_pool():
    pool = SolutionPool(solve_ratio=0.5, size=3, seed=4)
    one, two, empty = pool.keys([torch.zeros(3, 2, 2)], ["a", "b", "c"])
    (wide,) = pool.keys([torch.zeros(1, 5)], None)
    pool.add([one, two, one], torch.eye(4)[:3])
    pool.add([wide], torch.full((1, 5), 0.1, dtype=torch.float64))
    state = pool.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert all(not value.is_floating_point() for value in state.values())  # no average of weights takes them
    resumed = SolutionPool(solve_ratio=0.5, size=3)
    resumed.load_state_dict(state)
    keys = resumed.keys([torch.zeros(3, 2, 2)], ["a", "b", "c"])
    for new, old in zip(keys, [one, two, empty], strict=True):
        assert new.rows == old.rows
    assert resumed.seen(*resumed.keys([torch.zeros(1, 5)], None)).tolist() == [[0.1] * 5]
    decisions = [bool(pool.cached([one])[0]) for _ in range(20)]
    assert [bool(resumed.cached([one])[0]) for _ in range(20)] == decisions


def test_an_empty_pool_has_a_state():
    pool = SolutionPool()
    pool.load_state_dict(SolutionPool(seed=3).state_dict())
    assert len(pool) == 0
    assert [bool(pool.cached([Shelf()])[0]) for _ in range(3)] == [False] * 3


def test_the_state_of_something_else_is_refused():
    with pytest.raises(ValueError, match=r"the state of a SolutionPool must hold 'contexts', .* got 'value'"):
        SolutionPool().load_state_dict(difflayers.AdaptiveScale().state_dict())


def test_wrong_arguments_are_refused():
    for arguments, text in (
        ({"solve_ratio": 1.5}, "solve_ratio must be from 0 to 1"),
        ({"size": 0}, "size must be an integer of at least 1"),
        ({"contexts": 0}, "contexts must be an integer of at least 1"),
    ):
        with pytest.raises(ValueError, match=text):
            SolutionPool(**arguments)
    with pytest.raises(TypeError, match="pool must be a SolutionPool"):
        difflayers.BlackboxLayer(Counting(), pool=True)
    layer = difflayers.BlackboxLayer(Counting(), pool=SolutionPool())
    with pytest.raises(TypeError, match="a context must be picklable for a SolutionPool"):
        layer(batch(1), context=[lambda: 0])
