"""What torch's own machinery does to a layer: export, checkpoints, memory budgets, traces."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

import difflayers
from difflayers import BlackboxLayer
from difflayers.engine.autograd import COMPILED_WHOLE

whole = pytest.mark.skipif(
    not COMPILED_WHOLE, reason="before torch 2.13 no layer is an operator of the graph"
)


def cheapest(costs):
    return np.eye(len(costs))[costs.argmin()]


class Model(torch.nn.Module):
    """Weights in front of a layer, with a loss behind it."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(4, 3, generator=generator, dtype=torch.float64))
        self.layer = BlackboxLayer(cheapest, 2.0)

    def forward(self, x):
        return (self.layer(torch.sin(x @ self.weight) * 2) * torch.arange(3.0)).sum()


def gradient(model, function):
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (found,) = torch.autograd.grad(function(x), model.weight)
    return found


@pytest.mark.parametrize("strict", [True, False])
def test_an_export_is_refused_by_name(strict):
    model = Model()
    with pytest.raises(Exception, match="BlackboxLayer cannot be exported"):
        torch.export.export(model, (torch.rand(5, 4, dtype=torch.float64),), strict=strict)


@whole
def test_a_memory_budget_of_the_compiler_changes_no_gradient():
    model = Model()
    expected = gradient(model, model)
    assert expected.any()
    with torch._functorch.config.patch(activation_memory_budget=0.5):
        compiled = torch.compile(model, backend="aot_eager_decomp_partition", fullgraph=True)
        assert_close(gradient(model, compiled), expected)


def test_a_reentrant_checkpoint_changes_no_gradient():
    model = Model()
    expected = gradient(model, model)
    x = torch.rand(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
    checkpoint(model, x, use_reentrant=True).backward()
    assert_close(model.weight.grad, expected)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=whole)])
def test_a_checkpoint_changes_no_gradient(compiled):
    model = Model()

    def function(x):
        return checkpoint(model, x, use_reentrant=False)

    found = gradient(model, torch.compile(function, backend="aot_eager") if compiled else function)
    assert_close(found, gradient(model, model))


def test_a_trace_keeps_calls_apart():
    layer = BlackboxLayer(cheapest, 1.0)
    with pytest.warns(torch.jit.TracerWarning):
        traced = torch.jit.trace(layer, torch.rand(1, 3), check_trace=False)
    first, second = (torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True) for _ in range(2))
    y, _ = traced(first), traced(torch.tensor([[1.0, 2.0, 3.0]]))
    y.backward(torch.tensor([[0.0, 5.0, 0.0]]))
    layer(second).backward(torch.tensor([[0.0, 5.0, 0.0]]))
    assert first.grad.tolist() == second.grad.tolist() == [[0, -1, 1]]


def test_a_layer_that_draws_draws_anew_in_a_checkpoint_as_the_documents_say():
    noise = difflayers.gaussian_noise(seed=0)
    draws = []
    noise.draw = lambda shape, draw=noise.draw: draws.append(draw(shape)) or draws[-1]
    layer = difflayers.PerturbedLayer(cheapest, samples=2, noise=noise)
    costs = torch.rand(2, 3, requires_grad=True)
    checkpoint(layer, costs, use_reentrant=False).sum().backward()
    assert len(draws) == 2
    assert not np.array_equal(*draws)


def test_a_forward_call_of_a_blackbox_layer_makes_few_calls():
    layer = BlackboxLayer(lambda c: (c == c.min(1, keepdims=True)) * 1.0, batched=True)
    costs = torch.rand(4, 3, requires_grad=True)
    layer(costs)
    package, calls = str(Path(difflayers.__file__).parent), []

    def count(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(package):
            calls.append(frame.f_code.co_qualname)

    sys.setprofile(count)
    try:
        layer(costs)
    finally:
        sys.setprofile(None)
    assert 10 < len(calls) <= 20, calls
