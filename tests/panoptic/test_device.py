"""The passes on tensors do what the passes on arrays do, given the same solver."""

import numpy as np
import pytest
import torch

import difflayers
from difflayers import amwc
from difflayers.amwc import device
from difflayers.panoptic import PanopticLabels, PanopticLayer, SoftPanopticQualityLoss
from tests.panoptic.test_layer import DISTANCES, IS_THING, random_costs, target


def solve_arrays(problem, start=None):
    """The solver on tensors as one on arrays, of AMWC and MWC."""
    partitionable = getattr(problem, "partitionable", np.zeros(problem.node_costs.shape[1], bool))
    arrays = (problem.node_costs, problem.edges, problem.edge_costs, partitionable)
    start = None if start is None else torch.as_tensor(start)
    found = device.solve(*map(torch.as_tensor, arrays), "fast", start=start)
    return amwc.Solution(*(part.numpy() for part in found[:3]), found.cost.item())


def run(layer: PanopticLayer, dtype: torch.dtype, seed: int, targets: list[PanopticLabels] | None):
    """Output of the layer and the gradients of a random loss."""
    node, edge = random_costs(seed)
    node = node.to(dtype).requires_grad_()
    edge = [tuple(side.to(dtype).requires_grad_() for side in pair) for pair in edge]
    output = layer(node, edge, targets)
    generator = torch.Generator().manual_seed(seed)
    loss = sum((m.masks * torch.randn(m.masks.shape, generator=generator)).sum() for m in output.masks)
    loss.backward()
    return output, [node.grad, *(side.grad for pair in edge for side in pair)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("with_targets", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_output_and_gradients_are_those_of_the_passes_on_arrays_with_the_same_solver(
    seed, with_targets, dtype
):
    targets = [target(), target()] if with_targets else None
    scales = [difflayers.UniformScales(1.0, 20.0, samples=3, seed=seed) for _ in range(2)]
    on_device, gradients = run(
        PanopticLayer(IS_THING, DISTANCES, scales[0], on_device=True), dtype, seed, targets
    )
    on_arrays, expected = run(
        PanopticLayer(IS_THING, DISTANCES, scales[1], solve_arrays, solve_arrays), dtype, seed, targets
    )
    for ours, theirs in zip(on_device.masks, on_arrays.masks, strict=True):
        assert torch.equal(ours.masks, theirs.masks)
        assert torch.equal(ours.classes, theirs.classes)
    for ours, theirs in zip(on_device.labels, on_arrays.labels, strict=True):
        assert (ours.segments == theirs.segments).all()
        assert (ours.classes == theirs.classes).all()
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert any(gradient.any() for gradient in gradients)


def test_no_gradient_in_gives_no_gradient_out():
    node, edge = random_costs(0)
    node.requires_grad_()
    output = PanopticLayer(IS_THING, DISTANCES, on_device=True)(node, edge)
    sum((masks.masks * 0).sum() for masks in output.masks).backward()
    assert not node.grad.any()


def test_costs_on_a_cpu_and_solvers_of_ones_own_go_through_arrays():
    asked = []

    def solver(problem):
        asked.append(problem)
        return amwc.solve(problem)

    node, edge = random_costs(1)
    PanopticLayer(IS_THING, DISTANCES, solver=solver)(node, edge)
    assert len(asked) == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_costs_on_a_gpu_stay_there_and_lower_the_loss_as_on_a_cpu():
    truth = target()
    loss = SoftPanopticQualityLoss(IS_THING, thing_area=0.0, stuff_area=0.0)
    gradients = []
    for where, on_device in (("cuda", None), ("cpu", True)):
        node, edge = random_costs(2)
        node = node.to(where).requires_grad_()
        edge = [tuple(side.to(where) for side in pair) for pair in edge]
        output = PanopticLayer(IS_THING, DISTANCES, 20.0, on_device=on_device)(node, edge, [truth, truth])
        assert output.masks[0].masks.device == node.device
        loss(output.masks, [truth, truth]).backward()
        gradients.append(node.grad.cpu())
    torch.testing.assert_close(*gradients)
