"""What `differentiate` gives every estimator and loss: torch.func, torch.compile, half precision."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

import difflayers
from difflayers.engine.autograd import COMPILED_WHOLE
from difflayers.losses import SolverLoss


def cheapest(costs):
    """One item of a vector, the cheapest."""
    return np.eye(len(costs))[costs.argmin()]


def cheapest_with_bonus(costs, bonus):
    return cheapest(costs - bonus)


def batch(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


class HingeLoss(SolverLoss):
    """max(0, <c, y*> − min <c, y>), as a small loss with a target: its gradient is y* − y."""

    def forward(self, costs, true_solutions):
        return self.compare(costs, true_solutions=true_solutions, return_solution=True)

    def solve(self, call):
        (solutions,) = call.solve()
        gap = call.targets["true_solutions"][0] - solutions
        call.save(gap)
        return [(call.costs[0] * gap).sum(1), solutions]


def wanted(batch_size, items=4):
    return torch.eye(items, dtype=torch.float64)[torch.arange(batch_size) % items]


def test_a_loss_has_the_gradient_that_it_states():
    costs = batch(6, 4).requires_grad_()
    loss, solutions = HingeLoss(cheapest)(costs, wanted(6))
    loss.backward()
    assert_close(loss.detach(), ((wanted(6) - solutions) * costs.detach()).sum(1).mean())
    assert_close(costs.grad, (wanted(6) - solutions) / 6)
    assert not solutions.requires_grad


def test_a_loss_of_half_costs_is_computed_in_float32_and_its_gradient_is_half():
    costs = batch(6, 4, dtype=torch.bfloat16).requires_grad_()
    loss, solutions = HingeLoss(cheapest)(costs, wanted(6))
    loss.backward()
    assert (loss.dtype, solutions.dtype, costs.grad.dtype) == (torch.float32, torch.bfloat16, torch.bfloat16)
    expected = ((wanted(6) - solutions.double()) * costs.detach().double()).sum(1).mean()
    assert_close(loss.detach().double(), expected, atol=1e-6, rtol=1e-6)


def test_maximising_costs_is_minimising_their_negative():
    costs, incoming = batch(8, 4).requires_grad_(), batch(8, 4, seed=1)
    maximum = difflayers.BlackboxLayer(lambda c: cheapest(-c), 2.0, maximize=True)(costs)
    minimum = difflayers.BlackboxLayer(cheapest, 2.0)(-costs)
    assert_close(maximum, minimum)
    (upper,) = torch.autograd.grad(maximum, costs, incoming)
    (lower,) = torch.autograd.grad(minimum, costs, incoming)
    assert upper.any()
    assert_close(upper, lower)


def test_func_grad_equals_autograd():
    costs, weights = batch(5, 4).requires_grad_(), batch(5, 4, seed=1)
    layer = difflayers.BlackboxLayer(cheapest, 3.0)

    def objective(c):
        return (layer(c) * weights).sum()

    (expected,) = torch.autograd.grad(objective(costs), costs)
    assert expected.any()
    assert_close(torch.func.grad(objective)(costs.detach()), expected)


def test_vmap_folds_into_the_batch():
    costs, weights = batch(3, 5, 4), batch(5, 4, seed=1)
    calls = []

    def solver(c):
        calls.append(len(c))
        return np.eye(4)[c.argmin(1)]

    layer = difflayers.BlackboxLayer(solver, 3.0, batched=True)

    def objective(c):
        return (layer(c) * weights).sum()

    each = [torch.func.grad(objective)(own) for own in costs]
    calls.clear()
    assert_close(torch.func.vmap(torch.func.grad(objective))(costs), torch.stack(each))
    assert calls == [15, 15]
    assert_close(
        torch.func.vmap(layer, in_dims=1, out_dims=1)(costs.movedim(0, 1).contiguous()).movedim(1, 0),
        layer(costs.flatten(0, 1)).view(3, 5, 4),
    )


def test_nested_vmap_and_vmap_over_one_of_several_costs():
    costs, weights = batch(2, 3, 5, 4), batch(5, 4, seed=1)
    layer = difflayers.BlackboxLayer(cheapest, 3.0)
    nested = torch.func.vmap(torch.func.vmap(layer))(costs)
    assert_close(nested, layer(costs.flatten(0, 2)).view(2, 3, 5, 4))
    pair = difflayers.BlackboxLayer(lambda a, b: (cheapest(a + b), cheapest(a - b)), 3.0)
    mapped = torch.func.vmap(pair, in_dims=(0, None))(costs[0], weights)
    for row in range(3):
        assert_close(tuple(part[row] for part in mapped), pair(costs[0, row], weights))


def test_vmap_keeps_each_instances_context():
    costs = batch(3, 2, 4)
    bonus = [np.array([9.0, 0, 0, 0]), np.array([0, 0, 0, 9.0])]
    layer = difflayers.BlackboxLayer(cheapest_with_bonus)
    mapped = torch.func.vmap(lambda c: layer(c, context=bonus))(costs)
    assert mapped.argmax(2).tolist() == [[0, 3]] * 3


def test_a_jacobian_is_mapped_over_gradients_of_one_forward_call():
    costs = batch(2, 3)
    layer = difflayers.BlackboxLayer(cheapest, 3.0)
    jacobian = torch.func.jacrev(layer)(costs)
    for row in range(2):
        for item in range(3):
            unit = torch.zeros(2, 3, dtype=torch.float64)
            unit[row, item] = 1
            own = costs.clone().requires_grad_()
            (expected,) = torch.autograd.grad(layer(own), own, unit)
            assert_close(jacobian[row, item], expected)


def test_second_derivatives_are_refused_in_every_form():
    costs = batch(2, 3)
    layer = difflayers.BlackboxLayer(cheapest, 3.0)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.func.grad(lambda c: torch.func.grad(lambda x: (layer(x) * c).sum())(c).sum())(costs)
    own = costs.clone().requires_grad_()
    loss, _ = HingeLoss(cheapest)(own, wanted(2, 3))
    (first,) = torch.autograd.grad(loss, own, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        first.sum().backward()


def test_costs_changed_between_forward_and_backward_are_noticed():
    costs = batch(2, 3).requires_grad_()
    moving = costs * 1
    y = difflayers.BlackboxLayer(cheapest, 3.0)(moving)
    with torch.no_grad():
        moving += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_the_backward_may_run_twice():
    costs, incoming = batch(4, 3).requires_grad_(), batch(4, 3, seed=2)
    y = difflayers.BlackboxLayer(cheapest, 3.0)(costs)
    first = torch.autograd.grad(y, costs, incoming, retain_graph=True)
    assert_close(torch.autograd.grad(y, costs, incoming), first)


def test_checkpointing_gives_the_same_gradient():
    costs, incoming = batch(4, 3).requires_grad_(), batch(4, 3, seed=2)
    layer = difflayers.BlackboxLayer(cheapest, 3.0)
    (expected,) = torch.autograd.grad(layer(costs), costs, incoming)
    y = torch.utils.checkpoint.checkpoint(lambda c: layer(c * 1), costs, use_reentrant=False)
    assert_close(torch.autograd.grad(y, costs, incoming)[0], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_model_trains_as_the_eager_one_in_one_graph_where_the_compiler_can(dtype):
    model = nn.Sequential(nn.Linear(3, 4), difflayers.BlackboxLayer(cheapest, 1.0), nn.Linear(4, 1)).to(dtype)
    twin = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=COMPILED_WHOLE, backend="aot_eager")
    x = batch(6, 3, dtype=dtype)
    for _ in range(3):
        for network, parameters in ((compiled, model), (twin, twin)):
            (network(x) ** 2).sum().backward()
            with torch.no_grad():
                for parameter in parameters.parameters():
                    parameter -= 0.1 * parameter.grad
                    parameter.grad = None
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_a_compiled_loss_and_a_compiled_function_of_several_layers_keep_them_apart():
    loss = HingeLoss(cheapest)
    costs = batch(6, 4).requires_grad_()
    compiled = torch.compile(lambda c: loss(c, wanted(6))[0], fullgraph=COMPILED_WHOLE, backend="aot_eager")
    assert_close(
        torch.autograd.grad(compiled(costs), costs), torch.autograd.grad(loss(costs, wanted(6))[0], costs)
    )

    layers = [
        difflayers.BlackboxLayer(lambda c, shift=shift: np.roll(cheapest(c), shift)) for shift in range(3)
    ]
    apply = torch.compile(lambda layer, c: layer(c), fullgraph=COMPILED_WHOLE, backend="eager")
    for layer in layers:
        assert_close(apply(layer, costs), layer(costs))
    for again in (layers[1], copy.deepcopy(layers[2])):
        assert_close(apply(again, costs), again(costs))


def test_saved_tensors_of_other_shapes_than_the_costs_are_named_to_who_compiles():
    class Mean(difflayers.SolverLayer):
        def solve(self, call):
            solutions = call.solve()
            call.save(*(solution.mean(1) for solution in solutions))
            return solutions

    layer = torch.compile(Mean(lambda costs: costs), backend="aot_eager")
    message = r"Mean.saved_like must return the shapes that solve saves, \[\(4,\)\], got \[\(4, 3\)\]"
    with pytest.raises(NotImplementedError, match=message):
        layer(torch.ones(4, 3, requires_grad=True))


def test_random_calls_are_not_merged_by_the_compiler():
    draws = []

    class Counted(difflayers.FixedScale):
        def draw(self):
            draws.append(1)
            return super().draw()

    layer = difflayers.BlackboxLayer(cheapest, Counted(1.0))
    costs = batch(6, 4).requires_grad_()
    both = torch.compile(lambda c: layer(c) + layer(c), fullgraph=COMPILED_WHOLE, backend="aot_eager")(costs)
    both.sum().backward()
    assert len(draws) == 2


def test_contexts_break_a_compiled_graph_and_are_refused_where_it_must_be_whole():
    layer = difflayers.BlackboxLayer(cheapest_with_bonus)
    costs, bonus = batch(2, 4), [np.array([9.0, 0, 0, 0]), np.array([0, 0, 0, 9.0])]

    def function(c):
        return layer(c, context=bonus) * 2

    assert torch.compile(function, backend="eager")(costs).argmax(1).tolist() == [0, 3]
    torch.compiler.reset()
    with pytest.raises(Exception, match="_outside_the_graph"):
        torch.compile(function, backend="eager", fullgraph=True)(costs)


@pytest.mark.skipif(not COMPILED_WHOLE, reason="before torch 2.13 no layer is an operator of the graph")
def test_a_compiled_graph_does_not_keep_its_layer_alive_and_says_when_it_is_gone():
    from difflayers.engine import compiled

    layer = difflayers.BlackboxLayer(cheapest)
    before = len(compiled._ESTIMATORS)
    torch.compile(layer, fullgraph=True, backend="aot_eager")(batch(2, 4)).sum()
    assert len(compiled._ESTIMATORS) == before + 1
    del layer
    torch._dynamo.reset()
    gc.collect()
    assert len(compiled._ESTIMATORS) == before
    with pytest.raises(RuntimeError, match="does not exist any more"):
        torch.ops.difflayers.solve(batch(2, 4), [], 1, "", False, "0")


def test_layers_are_not_kept_alive_by_having_been_used():
    layer = difflayers.BlackboxLayer(cheapest)
    layer(batch(2, 3).requires_grad_()).sum().backward()
    seen = weakref.ref(layer)
    del layer
    gc.collect()
    assert seen() is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_solvers_of_tensors_get_the_batch_where_it_is(dtype):
    def solver(costs):
        assert isinstance(costs, torch.Tensor)
        assert not costs.requires_grad
        return torch.nn.functional.one_hot(costs.argmin(1), costs.shape[1])

    costs, incoming = batch(6, 4, dtype=dtype).requires_grad_(), batch(6, 4, seed=1, dtype=dtype)
    outcome = []
    for layer in (
        difflayers.BlackboxLayer(solver, 4.0, tensors=True),
        difflayers.BlackboxLayer(cheapest, 4.0),
    ):
        y = layer(costs)
        outcome.append((y.detach(), *torch.autograd.grad(y, costs, incoming)))
    assert outcome[0][1].any()
    assert_close(outcome[0], outcome[1])


def test_solvers_of_tensors_are_checked_like_others():
    nan = torch.tensor([[1.0, 2.0], [torch.nan, 0.0]])
    for answer, text in (
        (lambda c: c.numpy(), "the batch: solution 0 must be a tensor, got one array"),
        (lambda c: c[0], r"solution 0 has shape \(2,\), but its costs have shape \(2, 2\)"),
        (lambda c: nan, "instance 1: solution 0 has a NaN"),
    ):
        with pytest.raises(difflayers.SolverError, match=text):
            difflayers.BlackboxLayer(answer, tensors=True)(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="n_jobs must be 1"):
        difflayers.BlackboxLayer(lambda c: c, tensors=True, n_jobs=2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_solvers_of_tensors_stay_on_the_gpu():
    def solver(costs):
        assert costs.is_cuda
        return torch.nn.functional.one_hot(costs.argmin(1), costs.shape[1])

    costs, incoming = batch(6, 4), batch(6, 4, seed=1)
    layer = difflayers.BlackboxLayer(cheapest, 4.0)
    own = costs.clone().requires_grad_()
    (expected,) = torch.autograd.grad(layer(own), own, incoming)
    there = costs.cuda().requires_grad_()
    y = difflayers.BlackboxLayer(solver, 4.0, tensors=True)(there)
    assert y.is_cuda
    assert_close(torch.autograd.grad(y, there, incoming.cuda())[0].cpu(), expected)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_losses_can_be_copied(copied):
    loss = HingeLoss(cheapest, n_jobs=2, pool=difflayers.SolutionPool())
    costs = batch(6, 4)
    assert_close(copied(loss)(costs, wanted(6)), loss(costs, wanted(6)))


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="unknown option 'jobs', expected one of batched, tensors, n_jobs"):
        difflayers.BlackboxLayer(cheapest, jobs=2)


def test_functional_forms_break_a_compiled_graph():
    costs = batch(6, 4)
    compiled = torch.compile(lambda c: difflayers.functional.blackbox(cheapest, c) * 2, backend="eager")
    assert_close(compiled(costs), 2 * difflayers.functional.blackbox(cheapest, costs))


@pytest.mark.parametrize("transform", [torch.func.jacfwd, torch.func.hessian])
def test_forward_mode_is_refused_with_what_to_do_instead(transform):
    layer, loss = difflayers.BlackboxLayer(cheapest), HingeLoss(cheapest)
    for function in (lambda costs: layer(costs).square().sum(), lambda costs: loss(costs, wanted(3))[0]):
        with pytest.raises(NotImplementedError, match="no forward-mode derivative: take backward, or"):
            transform(function)(batch(3, 4))
