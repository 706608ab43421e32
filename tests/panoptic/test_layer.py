"""PanopticLayer: forward is AMWC, backward is Algorithm 1 averaged over λ (Eq. 4)."""

import numpy as np
import pytest
import torch

import difflayers
from difflayers import amwc
from difflayers.graph.edges import grid_edges
from difflayers.panoptic import PanopticLabels, PanopticLayer, SoftPanopticQualityLoss
from difflayers.panoptic.lifted import lifted_backward

IS_THING = np.array([False, True])
SHAPE, DISTANCES = (3, 4), (1, 2)


def random_costs(seed: int, batch: int = 2) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
    generator = torch.Generator().manual_seed(seed)
    h, w = SHAPE
    node = torch.randn(batch, 2, h, w, generator=generator, dtype=torch.float64)
    edge = [
        (
            torch.randn(batch, h - d, w, generator=generator, dtype=torch.float64),
            torch.randn(batch, h, w - d, generator=generator, dtype=torch.float64),
        )
        for d in DISTANCES
    ]
    return node, edge


def target() -> PanopticLabels:
    segments = np.array([[0, 0, 1, 2], [0, 0, 1, 2], [0, 0, 0, 0]], np.int32)
    return PanopticLabels(segments, np.array([0, 1, 1]), np.zeros(3, bool))


def exact_layer(**options: object) -> PanopticLayer:
    return PanopticLayer(
        IS_THING,
        DISTANCES,
        solver=amwc.solve_exact,
        lifted_solver=lambda problem, start: amwc.solve_exact(problem),
        **options,
    )


def flat_problem(node: torch.Tensor, edge: list, image: int) -> amwc.AMWC:
    edge_costs = torch.cat([side[image].flatten() for pair in edge for side in pair]).numpy()
    return amwc.AMWC(node[image].flatten(1).T.numpy(), grid_edges(SHAPE, DISTANCES), edge_costs, IS_THING)


def test_forward_is_the_amwc_optimum_of_each_image() -> None:
    node, edge = random_costs(0)
    output = exact_layer()(node, edge)
    for image in range(2):
        optimum = amwc.solve_exact(flat_problem(node, edge, image))
        assert output.labels[image].segments.ravel().tolist() == optimum.segments.tolist()
        assert output.labels[image].semantic().ravel().tolist() == optimum.labels.tolist()


def test_masks_are_the_indicators_of_the_segments() -> None:
    node, edge = random_costs(1)
    output = exact_layer()(node, edge, [target(), target()])
    for masks, labels in zip(output.masks, output.labels, strict=True):
        assert torch.equal(masks.masks.argmax(0), torch.as_tensor(labels.segments).long())
        assert (masks.masks.sum(0) == 1).all()
        assert masks.classes[: len(labels.classes)].tolist() == labels.classes.tolist()


def test_gradient_is_algorithm_1_averaged_over_the_scales() -> None:
    node, edge = random_costs(2)
    node.requires_grad_()
    for side in (side for pair in edge for side in pair):
        side.requires_grad_()
    scales = difflayers.UniformScales(1.0, 20.0, samples=3, seed=5)
    output = exact_layer(scales=scales)(node, edge, [target(), target()])
    weights = [torch.randn_like(masks.masks) for masks in output.masks]
    sum((w * masks.masks).sum() for w, masks in zip(weights, output.masks, strict=True)).backward()
    drawn = difflayers.UniformScales(1.0, 20.0, samples=3, seed=5).draw()
    for image in range(2):
        problem = flat_problem(node.detach(), [(v.detach(), h.detach()) for v, h in edge], image)
        forward = difflayers.panoptic.lifted.Forward(
            problem, amwc.solve_exact(problem), output.masks[image].classes.numpy()
        )
        estimates = [
            lifted_backward(
                forward, weights[image].flatten(1).numpy(), scale, lambda p, start: amwc.solve_exact(p)
            )
            for scale in drawn
        ]
        expected_node = np.mean([estimate[0] for estimate in estimates], 0)
        expected_edge = np.mean([estimate[1] for estimate in estimates], 0)
        np.testing.assert_allclose(node.grad[image].flatten(1).T.numpy(), expected_node, atol=1e-12)
        found = torch.cat([side.grad[image].flatten() for pair in edge for side in pair]).numpy()
        np.testing.assert_allclose(found, expected_edge, atol=1e-12)


def test_soft_pq_gives_gradients_to_node_and_edge_costs_that_lower_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = target()
    semantic = torch.as_tensor(truth.semantic())
    node = 0.5 * (semantic != torch.arange(2).view(2, 1, 1)).float()[None]
    node = (node + 0.4 * torch.randn(node.shape, generator=generator)).requires_grad_()
    edge = [
        (torch.ones(1, 3 - d, 4, requires_grad=True), torch.ones(1, 3, 4 - d, requires_grad=True))
        for d in (1, 2)
    ]
    leaves = [node, *(side for pair in edge for side in pair)]
    layer = PanopticLayer(
        IS_THING, DISTANCES, scales=difflayers.UniformScales(50.0, 500.0, samples=5, seed=0)
    )
    loss = SoftPanopticQualityLoss(IS_THING, thing_area=0.0, stuff_area=0.0)
    optimizer = torch.optim.Adam(leaves, 0.1)
    history = []
    for _ in range(40):
        optimizer.zero_grad()
        value = loss(layer(node, edge, [truth]).masks, [truth])
        value.backward()
        optimizer.step()
        history.append(value.item())
    assert history[0] > 0.3
    assert min(history) < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masks_and_gradients_keep_the_costs_dtype(dtype: torch.dtype) -> None:
    node, edge = random_costs(3)
    node = node.to(dtype).requires_grad_()
    output = PanopticLayer(IS_THING, DISTANCES, scales=10.0)(
        node, [(v.to(dtype), h.to(dtype)) for v, h in edge]
    )
    assert output.masks[0].masks.dtype == dtype
    sum(masks.masks[0].sum() for masks in output.masks).backward()
    assert node.grad.dtype == dtype
    assert node.grad.abs().sum() > 0


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    gradients = []
    for n_jobs in (1, 2):
        node, edge = random_costs(4, batch=3)
        node.requires_grad_()
        layer = PanopticLayer(
            IS_THING, DISTANCES, difflayers.UniformScales(1, 9, samples=4, seed=0), n_jobs=n_jobs
        )
        output = layer(node, edge, [target()] * 3)
        sum(masks.masks[0].sum() for masks in output.masks).backward()
        gradients.append(node.grad)
    assert torch.equal(*gradients)


def test_a_distance_wider_than_the_image_has_no_edges() -> None:
    node = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    edge = [(torch.zeros(1, 0, 2), torch.full((1, 1, 1), 5.0)), (torch.zeros(1, 0, 2), torch.zeros(1, 1, 0))]
    assert PanopticLayer(IS_THING, (1, 8))(node, edge).labels[0].segments.tolist() == [[0, 0]]


def test_shapes_that_do_not_fit_are_named() -> None:
    node, edge = random_costs(5)
    layer = PanopticLayer(IS_THING, DISTANCES)
    with pytest.raises(ValueError, match=r"K = 2 classes, but has shape \(2, 1, 3, 4\)"):
        layer(node[:, :1], edge)
    with pytest.raises(ValueError, match="distance 2 must be vertical"):
        layer(node, [edge[0], edge[0]])
    with pytest.raises(ValueError, match=r"distances \(1, 2\), but holds 1"):
        layer(node, edge[:1])
    with pytest.raises(ValueError, match="targets has 1 labellings, but node_costs has 2"):
        layer(node, edge, [target()])
