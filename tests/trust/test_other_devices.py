"""On a device that refuses tensors of the CPU, all answers are there and are those of the CPU."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import difflayers
from difflayers import functional, losses
from difflayers.panoptic import PanopticLabels, PanopticLayer, SoftPanopticQualityLoss
from tests.elsewhere import DEVICE, elsewhere
from tests.layers.test_estimators import ESTIMATORS
from tests.panoptic.test_layer import DISTANCES, IS_THING, random_costs, target
from tests.trust.test_torch_modes import SOLVERS, every_estimator, every_loss, every_solver, near, random

CPU = torch.device("cpu")


def on(device):
    """Inside, `device` can be used."""
    return nullcontext() if device == CPU else elsewhere()


def test_tensors_elsewhere_refuse_those_of_the_cpu_and_numpy():
    with elsewhere() as device:
        there, here = torch.ones(3, device=device), torch.ones(3)
        for mixed in (lambda: there + here, lambda: torch.cat([there, here]), lambda: here[there.long()]):
            with pytest.raises(RuntimeError, match="same device"):
                mixed()
        for arrays in (there.numpy, lambda: np.asarray(there)):
            with pytest.raises(TypeError, match="can't convert meta device type tensor to numpy"):
                arrays()
        doubled = (2 * there.requires_grad_()).sum()
        doubled.backward()
        assert doubled.item() == 6.0
        assert there.grad.device == device
        assert there.grad.tolist() == [2.0, 2.0, 2.0]


@every_estimator
@every_solver
def test_a_layer_answers_where_its_costs_are(name, solver):
    function, _, options = SOLVERS[solver]
    results = []
    for device in (CPU, DEVICE):
        layer = ESTIMATORS[name][0](function, **options())
        with on(device):
            for seed in range(2):
                costs = near(seed, 6, 5).to(device).requires_grad_()
                y = layer(costs)
                (gradient,) = torch.autograd.grad(y, costs, random(seed + 10, 6, 5).to(device))
                assert (y.device, gradient.device) == (device, device)
                results += [y.detach().cpu(), gradient.cpu()]
    assert any(gradient.any() for gradient in results[1:4:2])
    assert_close(results[4:], results[:4], atol=0, rtol=0)


@every_loss
@every_solver
def test_a_loss_answers_where_its_costs_are(case, solver):
    _, function, options = SOLVERS[solver]
    results = []
    for device in (CPU, DEVICE):
        loss = case.make(function, **(options() if case.solves else {}))
        with on(device):
            for seed in range(2):
                given = case.target(near(seed + 10, 5, 3, 3))
                given = {n: v.to(device) if isinstance(v, torch.Tensor) else v for n, v in given.items()}
                costs = near(seed, 5, 3, 3).to(device).requires_grad_()
                value = loss(costs, **given)
                (gradient,) = torch.autograd.grad(value, costs)
                assert (value.device, gradient.device) == (device, device)
                results += [value.detach().cpu(), gradient.cpu()]
    assert any(gradient.any() for gradient in results[1:4:2])
    assert_close(results[4:], results[:4], atol=0, rtol=0)


@every_solver
def test_regret_and_losses_on_solutions_answer_where_their_costs_are(solver):
    layer_solver, loss_solver, options = SOLVERS[solver]
    results = []
    for device in (CPU, DEVICE):
        layer = difflayers.BlackboxLayer(layer_solver, 2.0, **options())
        ranks = difflayers.BlackboxLayer(lambda c: (-c).argsort().argsort() + 1.0, scales=1.0)
        with on(device):
            costs = near(0, 6, 5).to(device).requires_grad_()
            solved, truth = (near(seed, 5, 3, 3).to(device) for seed in (1, 2))
            value = losses.hamming_loss(layer(costs), (random(1, 6, 5) > 0).float().to(device))
            value = value + losses.recall_loss(ranks, costs[:, :2], costs[:, 2:], margin=0.1)
            (gradient,) = torch.autograd.grad(value, costs)
            regret = functional.regret(loss_solver, solved, true_costs=truth, reduction="none", **options())
            metric = losses.Regret(loss_solver, **options())
            metric.update(solved, true_costs=truth)
            assert {value.device, gradient.device, regret.device} == {device}
            results.append([value.detach().cpu(), gradient.cpu(), regret.cpu(), metric.compute().mean])
    assert results[0][1].any()
    assert_close(results[1], results[0], atol=0, rtol=0)


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_panoptic_layer_and_loss_answer_where_the_costs_are(on_device, dtype):
    segments = target().segments.copy()
    segments[0, 0] = -1  # a void pixel
    truth = PanopticLabels(segments, [0, 1, 1])
    results = []
    for device in (CPU, DEVICE):
        rule = difflayers.UniformScales(20.0, 200.0, samples=3, seed=0)
        layer = PanopticLayer(IS_THING, DISTANCES, rule, on_device=on_device)
        loss = SoftPanopticQualityLoss(IS_THING, thing_area=0.0, stuff_area=0.0)
        with on(device):
            node, edge = random_costs(0, batch=4)
            node = node.to(dtype).to(device).requires_grad_()
            edge = [tuple(side.to(dtype).to(device).requires_grad_() for side in pair) for pair in edge]
            output = layer(node, edge, 4 * [truth])
            value = loss(output.masks, 4 * [truth])
            value.backward()
            gradients = [node.grad, *(side.grad for pair in edge for side in pair)]
            assert {part.device for part in (*gradients, value, output.masks[0].masks)} == {device}
            results.append([value.detach().cpu(), *(gradient.cpu() for gradient in gradients)])
    assert results[0][1].any()
    assert_close(results[1], results[0], atol=1e-6, rtol=1e-5)
