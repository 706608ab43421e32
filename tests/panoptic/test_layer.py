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


def gradients(layer, node, edge, targets, weights):
    """Gradients of the costs, node first, for a loss that is linear in the masks."""
    leaves = [
        node.clone().requires_grad_(),
        *(side.clone().requires_grad_() for pair in edge for side in pair),
    ]
    pairs = [(leaves[1 + 2 * i], leaves[2 + 2 * i]) for i in range(len(edge))]
    output = layer(leaves[0], pairs, targets)
    total = sum((w(m.masks) * m.masks).sum() for w, m in zip(weights, output.masks, strict=True))
    return torch.autograd.grad(total, leaves)


def noise(seed):
    return lambda masks: torch.randn(masks.shape, generator=torch.Generator().manual_seed(seed)).to(masks)


@pytest.mark.parametrize("on_device", [False, True])
def test_pixels_and_edges_of_unknown_truth_get_no_gradient_and_the_others_stay(on_device):
    truth = target()
    unknown = np.zeros(SHAPE, bool)
    unknown[0, 2:], unknown[2, 0] = True, True
    segments = np.where(unknown, -1, truth.segments)
    segments[2, 0] = 3
    void = PanopticLabels(segments, [0, 1, 1, 0], [False, False, False, True])  # segment 3 is a crowd
    found = 0
    for seed in range(4):
        node, edge = random_costs(seed)
        layer = PanopticLayer(IS_THING, DISTANCES, 5.0, on_device=on_device)
        weights = [noise(seed), noise(seed + 1)]
        # Void changes which segments are unmatched, so both calls get the same targets but for the mask.
        masked = gradients(layer, node, edge, [void, void], weights)
        free = _without_mask(layer, node, edge, [void, void], weights)
        known = torch.from_numpy(~unknown)
        assert torch.equal(masked[0], free[0] * known)
        for d, vertical, horizontal, all_vertical, all_horizontal in zip(
            DISTANCES, masked[1::2], masked[2::2], free[1::2], free[2::2], strict=True
        ):
            assert torch.equal(vertical, all_vertical * (known[d:] & known[:-d]))
            assert torch.equal(horizontal, all_horizontal * (known[:, d:] & known[:, :-d]))
        found += sum(int((a != b).sum()) for a, b in zip(masked, free, strict=True))
    assert found > 0


def _without_mask(layer, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("difflayers.panoptic.layer._known", lambda *_: None)
        return gradients(layer, *arguments)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of the anomaly mode
@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_an_incoming_gradient_that_is_not_finite_passes_as_nan_for_its_image_alone(value, on_device):
    node, edge = random_costs(2)
    layer = PanopticLayer(IS_THING, DISTANCES, 5.0, on_device=on_device)
    spoiled = [lambda masks: noise(0)(masks).index_fill(0, torch.tensor([0]), value), noise(1)]
    found = gradients(layer, node, edge, [target(), target()], spoiled)
    good = gradients(layer, node, edge, [target(), target()], [noise(0), noise(1)])
    for part, expected in zip(found, good, strict=True):
        assert part[0].isnan().all()
        assert torch.equal(part[1], expected[1])
    with (
        torch.autograd.detect_anomaly(check_nan=False),
        pytest.raises(ValueError, match="infinite value in image 0"),
    ):
        gradients(layer, node, edge, [target(), target()], spoiled)


@pytest.mark.parametrize("on_device", [False, True])
def test_nan_costs_wrong_classes_and_other_devices_are_refused_by_name(on_device):
    node, edge = random_costs(0)
    layer = PanopticLayer(IS_THING, DISTANCES, on_device=on_device)
    with pytest.raises(ValueError, match="node_costs must hold no NaN, got NaN in image 1"):
        layer(node.index_fill(0, torch.tensor([1]), torch.nan), edge)
    broken = [(edge[0][0], edge[0][1].clone()), edge[1]]
    broken[0][1][1, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="edge_costs must hold no NaN, got NaN in image 1"):
        layer(node, broken)
    foreign = PanopticLabels(target().segments, [0, 1, 2])
    with pytest.raises(ValueError, match=r"targets\[1\] has class 2, but there are 2 classes"):
        layer(node, edge, [target(), foreign])
    with pytest.raises(TypeError, match=r"targets\[0\] must be PanopticLabels, got ndarray"):
        layer(node, edge, [target().segments] * 2)
    with pytest.raises(ValueError, match="distance 1 must be on cpu, got meta"):
        layer(node, [(edge[0][0].to("meta"), edge[0][1]), edge[1]])
    with pytest.raises(ValueError, match="at least one pixel"):
        layer(torch.zeros(1, 2, 0, 4), [(torch.zeros(1, 0, 4), torch.zeros(1, 0, 4 - d)) for d in DISTANCES])


@pytest.mark.parametrize("on_device", [False, True])
def test_a_batch_of_no_images_has_no_outputs(on_device):
    node, edge = random_costs(0)
    layer = PanopticLayer(IS_THING, DISTANCES, on_device=on_device)
    for targets in (None, []):
        assert layer(node[:0], [(v[:0], h[:0]) for v, h in edge], targets) == ([], [])


def test_draws_continue_after_loading_and_a_fixed_scale_adds_no_key():
    node, edge = random_costs(3)

    def step(layer):
        return gradients(layer, node, edge, [target(), target()], [noise(0), noise(1)])

    def new(seed):
        return PanopticLayer(IS_THING, DISTANCES, difflayers.UniformScales(1, 20, samples=2, seed=seed))

    layer, resumed = new(0), new(1)
    step(layer)
    state = torch.nn.Sequential(layer).state_dict()
    assert list(state) == ["0.scales.generator"]
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    torch.nn.Sequential(resumed).load_state_dict(state)
    for ours, theirs in zip(step(layer), step(resumed), strict=True):
        assert torch.equal(ours, theirs)
    fixed = PanopticLayer(IS_THING, DISTANCES, 5.0)
    assert fixed.state_dict() == {}
    fixed.load_state_dict({})
    with pytest.raises(RuntimeError, match=r"Missing key.*scales.generator"):
        layer.load_state_dict({})
    with pytest.raises(RuntimeError, match=r"scales .FixedScale.* cannot take the stored state"):
        fixed.load_state_dict(layer.state_dict())


@pytest.mark.parametrize("on_device", [False, True])
def test_an_adaptive_scale_sees_the_share_of_images_that_it_changed(on_device):
    class Recorded(difflayers.AdaptiveScale):
        def observe(self, changed):
            seen.append(changed.tolist())
            super().observe(changed)

    seen: list[list[float]] = []
    node, edge = random_costs(2)
    layer = PanopticLayer(IS_THING, DISTANCES, Recorded(start=5.0), on_device=on_device)
    found = gradients(layer, node, edge, [target(), target()], [noise(0), noise(1)])
    moved = [any(bool(part[image].any()) for part in found) for image in range(2)]
    assert seen == [[np.mean(moved)]]
    # An image without an incoming gradient does not count, and without any there is nothing to see.
    gradients(layer, node, edge, [target(), target()], [noise(0), torch.zeros_like])
    gradients(layer, node, edge, [target(), target()], [torch.zeros_like, torch.zeros_like])
    assert len(seen) == 2
    assert seen[1] in ([0.0], [1.0])
    before = layer.scales.value
    layer.load_state_dict(layer.state_dict())
    assert layer.scales.value == before != 5.0


@pytest.mark.parametrize("on_device", [False, True])
def test_a_relative_rule_is_scaled_by_the_norms_of_each_image_and_told_how_much_changed(on_device):
    node, edge = random_costs(2)
    node[1] *= 3
    rule = difflayers.AdaptiveTarget(alpha=0.5, decay=0.0)
    weights = [noise(0), noise(1)]
    layer = PanopticLayer(IS_THING, DISTANCES, rule, on_device=on_device)
    found = gradients(layer, node, edge, [target(), target()], weights)
    entries = []
    for image in range(2):
        one_node, one_edge = (
            node[image : image + 1],
            [(v[image : image + 1], h[image : image + 1]) for v, h in edge],
        )
        masks = layer(one_node, one_edge, [target()]).masks[0].masks
        scale = float(0.5 * one_node.norm() / weights[image](masks).norm())
        alone = PanopticLayer(IS_THING, DISTANCES, scale, on_device=on_device)
        expected = gradients(alone, one_node, one_edge, [target()], [weights[image]])
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours[image : image + 1], theirs)
        entries.append(sum(int(part.count_nonzero()) for part in expected))
    assert rule.average == np.mean(entries)
    assert rule.alpha == 0.5 + (1e-3 if np.mean(entries) < 1 else -1e-3)
    # A λ of 0 changes nothing, and has nothing to tell.
    none = PanopticLayer(IS_THING, DISTANCES, difflayers.AdaptiveTarget(alpha=0.0), on_device=on_device)
    assert not any(part.any() for part in gradients(none, node, edge, [target(), target()], weights))


@pytest.mark.parametrize("on_device", [False, True])
def test_a_scaled_loss_scales_the_gradients_and_nothing_else(on_device):
    node, edge = random_costs(2)
    arguments = node, edge, [target(), target()]
    plain = gradients(
        PanopticLayer(IS_THING, DISTANCES, 5.0, on_device=on_device), *arguments, [noise(0), noise(1)]
    )
    layer = PanopticLayer(IS_THING, DISTANCES, 5.0, on_device=on_device, loss_scale=lambda: 65536.0)
    large = [lambda masks, seed=seed: 65536.0 * noise(seed)(masks) for seed in range(2)]
    for ours, expected in zip(gradients(layer, *arguments, large), plain, strict=True):
        assert torch.equal(ours, 65536.0 * expected)
    assert any(part.any() for part in plain)


@pytest.mark.parametrize("on_device", [False, True])
def test_costs_may_change_between_the_passes(on_device):
    node, edge = random_costs(0)
    node = node[:, :1]  # of one class, where rows of nodes are rows of the tensor
    layer = PanopticLayer([True], DISTANCES, 5.0, on_device=on_device)
    things = PanopticLabels(target().segments, [0, 0, 0])
    expected = gradients(layer, node, edge, [things, things], [noise(0), noise(1)])
    leaf, sides = (
        node.clone().requires_grad_(),
        [side.clone().requires_grad_() for pair in edge for side in pair],
    )
    output = layer(leaf, [(sides[0], sides[1]), (sides[2], sides[3])], [things, things])
    total = sum((noise(i)(m.masks) * m.masks).sum() for i, m in enumerate(output.masks))
    with torch.no_grad():
        for part in (leaf, *sides):
            part.add_(torch.randn(part.shape) * 100)
    for found, part in zip(torch.autograd.grad(total, [leaf, *sides]), expected, strict=True):
        assert torch.equal(found, part)
    assert any(part.any() for part in expected)


@pytest.mark.parametrize("on_device", [False, True])
def test_neither_autocast_nor_a_default_device_changes_anything(on_device):
    node, edge = (random_costs(2)[0].float() * 100, [(v.float(), h.float()) for v, h in random_costs(2)[1]])
    layer = PanopticLayer(IS_THING, DISTANCES, 500.0, on_device=on_device)
    loss = SoftPanopticQualityLoss(IS_THING, thing_area=0.0, stuff_area=0.0)

    def step():
        leaf = node.clone().requires_grad_()
        output = layer(leaf, edge, [target(), target()])
        loss(output.masks, [target(), target()]).backward()
        return [labels.segments.tolist() for labels in output.labels], leaf.grad

    expected = step()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = step()
    torch.set_default_device("meta")
    try:
        elsewhere = step()
    finally:
        torch.set_default_device(None)
    for labels, gradient in (cast, elsewhere):
        assert labels == expected[0]
        assert torch.equal(gradient, expected[1])


def test_shapes_that_do_not_fit_are_named() -> None:
    node, edge = random_costs(5)
    layer = PanopticLayer(IS_THING, DISTANCES)
    with pytest.raises(ValueError, match=r"K = 2 classes, got \(2, 1, 3, 4\)"):
        layer(node[:, :1], edge)
    with pytest.raises(ValueError, match="distance 2 must be vertical"):
        layer(node, [edge[0], edge[0]])
    with pytest.raises(ValueError, match=r"one pair per distance of \(1, 2\), got 1"):
        layer(node, edge[:1])
    with pytest.raises(ValueError, match="one labeling per image, got 1 for 2"):
        layer(node, edge, [target()])
