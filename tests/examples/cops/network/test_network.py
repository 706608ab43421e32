"""The two networks behind one interface, and the authors' checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from difflayers.panoptic import PanopticLayer
from examples.cops.network import (
    DeepLabCops,
    EfficientNetLite0,
    Logits,
    ResNet50,
    SmallCops,
    Widths,
    make_network,
)
from examples.cops.network.deeplab import AffinityHead, boundary
from examples.cops.network.published import load_published

CLASSES, DISTANCES, CROP = 5, (1, 4, 16), (64, 96)
NARROW = Widths(aspp=16, decoder=16, project_res3=8, project_res2=8, dilations=(2, 4, 6))


def deeplab(backbone: nn.Module | None = None, distances: tuple[int, ...] = DISTANCES) -> DeepLabCops:
    return DeepLabCops(backbone or EfficientNetLite0(pretrained=False), CLASSES, distances, NARROW, CROP)


def images(height: int = 64, width: int = 96) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


# ---- one interface


@pytest.mark.parametrize("heads", ["small", "deeplab"])
@pytest.mark.parametrize("kind", [lambda: EfficientNetLite0(pretrained=False), ResNet50])
def test_every_backbone_takes_every_heads_and_forward_is_heads_of_trunk(heads: str, kind) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    network = make_network(kind(), heads, CLASSES, DISTANCES, NARROW, CROP).eval()
    with torch.no_grad():
        whole, parts = network(images()), network.heads(network.trunk(images()))
        costs = network.costs(whole)
    assert torch.equal(whole.semantic, parts.semantic)
    assert costs.node.shape == (2, CLASSES, 16, 24)
    for d, (vertical, horizontal) in zip(DISTANCES, costs.edge, strict=True):
        assert vertical.shape == (2, 16 - d if d < 16 else 0, 24)
        assert horizontal.shape == (2, 16, 24 - d)


@pytest.mark.parametrize("heads", ["small", "deeplab"])
def test_stage_two_trains_nothing_of_the_trunk_and_no_batch_norm(heads: str) -> None:
    network = make_network(EfficientNetLite0(pretrained=False), heads, CLASSES, DISTANCES, NARROW, CROP)
    trained = {id(p) for group in network.full_training_groups() for p in group}
    names = {name for name, p in network.named_parameters() if id(p) in trained}
    norms = {
        f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)
    }
    assert not names & norms
    network.requires_grad_(False)
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    trunk = network.trunk(images())
    flat = [t for part in trunk for t in ((part,) if isinstance(part, Tensor) else part)]
    assert not any(tensor.requires_grad for tensor in flat)
    assert {"costs.node_scale", "costs.edge_scale", "costs.edge_offset"} <= names


def test_the_affinity_branch_cannot_change_the_classes() -> None:
    for network in (deeplab(), SmallCops(EfficientNetLite0(pretrained=False), CLASSES, DISTANCES, NARROW)):
        logits = network(images())
        sum(side.sum() for pair in logits.boundary for side in pair).backward()  # type: ignore[union-attr]
        predictor = (
            network.semantic.predictor if isinstance(network, DeepLabCops) else network.semantic_predictor
        )
        assert predictor.weight.grad is None


# ---- where an edge lives


class Reader(nn.Module):
    """A classifier that passes on channel 0 of the rows and of the columns."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, [0, x.shape[1] // 2]] if x.shape[1] > 1 else x.repeat(1, 2, 1, 1)


@pytest.mark.parametrize("distance", [2, 4, 6])
def test_a_long_edge_has_the_difference_of_its_ends(distance: int) -> None:
    x = torch.randn(1, 1, 12, 14, generator=torch.Generator().manual_seed(1))
    vertical, horizontal = boundary(x, Reader(), distance)
    assert torch.equal(vertical, x[:, 0, distance:] - x[:, 0, :-distance])
    assert torch.equal(horizontal, x[:, 0, :, distance:] - x[:, 0, :, :-distance])


class Position(nn.Module):
    """A classifier whose answer is the pixel that its map holds it at: row and column."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        return torch.stack([rows, columns])[None].float()


@pytest.mark.parametrize(("distance", "offset"), [(1, 0), (4, 2), (16, 8)])
def test_the_pair_i_minus_half_d_and_i_plus_half_d_is_held_at_i(distance: int, offset: int) -> None:
    vertical, horizontal = boundary(torch.zeros(1, 1, 20, 24), Position(), distance)
    # The pair whose upper (left) end is pixel p is read at p + d/2; at p for d = 1.
    assert vertical[0, :, 0].tolist() == [p + offset for p in range(20 - distance)]
    assert horizontal[0, 0].tolist() == [p + offset for p in range(24 - distance)]


@pytest.mark.parametrize("size", [(3, 24), (20, 5), (16, 16), (2, 2)])
def test_a_map_shorter_than_the_distance_has_no_pair_that_way(size: tuple[int, int]) -> None:
    vertical, horizontal = boundary(torch.randn(1, 1, *size), Reader(), 16)
    assert vertical.shape == (1, max(0, size[0] - 16), size[1])
    assert horizontal.shape == (1, size[0], max(0, size[1] - 16))


def test_image_pooling_sees_windows_of_the_size_of_a_crop() -> None:
    pool = deeplab().semantic.decoder.res5["project_conv"].convs[-1][0]
    crop, larger = torch.randn(1, 3, 4, 6), torch.randn(1, 3, 8, 12)
    assert torch.allclose(pool(crop)[..., 0, 0], crop.mean((2, 3)))
    assert torch.allclose(pool(larger), F.avg_pool2d(larger, (4, 6), 1))
    assert pool(torch.randn(1, 3, 2, 9)).shape == (1, 3, 1, 4)


# ---- the authors' checkpoints


def published(network: DeepLabCops, seed: int = 0) -> dict[str, Tensor]:
    """A checkpoint with values of its own, in the naming that the authors' modules give.

    Their heads are detectron2's: `decoder.<stage>.project_conv`, `.fuse_conv.depthwise`, `.pointwise`, norms
    inside convolutions, `head`, `predictor`; the image pooling is the fifth of the ASPP's `convs`.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    tensors: dict[str, Tensor] = {}

    def draw(name: str, *shape: int) -> None:
        tensors[name] = torch.rand(shape, generator=generator) + 0.1

    def conv(name: str, *shape: int) -> None:
        draw(f"{name}.weight", *shape)
        for part in ("weight", "bias", "running_mean", "running_var"):
            draw(f"{name}.norm.{part}", shape[0])

    def separable(name: str, channels_in: int, channels_out: int, kernel: int) -> None:
        conv(f"{name}.depthwise", channels_in, 1, kernel, kernel)
        conv(f"{name}.pointwise", channels_out, channels_in, 1, 1)

    for name, shape in shapes.items():
        if name.startswith("backbone.") and not name.endswith("num_batches_tracked"):
            draw(name, *shape)
    res2, res3, res5 = 256, 512, 2048
    for head in ("sem_seg_head", "AFF_EMBED_head"):
        for stage, channels in (("res2", res2), ("res3", res3)):
            conv(f"{head}.decoder.{stage}.project_conv", 8, channels, 1, 1)
            separable(f"{head}.decoder.{stage}.fuse_conv", 8 + 16, 16, 5)
        aspp = f"{head}.decoder.res5.project_conv"
        conv(f"{aspp}.convs.0", 16, res5, 1, 1)
        for index in (1, 2, 3):
            separable(f"{aspp}.convs.{index}", res5, 16, 3)
        draw(f"{aspp}.convs.4.1.weight", 16, res5, 1, 1)
        draw(f"{aspp}.convs.4.1.bias", 16)
        conv(f"{aspp}.project", 16, 5 * 16, 1, 1)
    for index in (0, 1):
        conv(f"sem_seg_head.head.{index}", 16, 16, 3, 3)
        conv(f"AFF_EMBED_head.affinity_head.{index}", 16, 16 if index else 16 + CLASSES, 3, 3)
    draw("sem_seg_head.predictor.weight", CLASSES, 16, 1, 1)
    draw("sem_seg_head.predictor.bias", CLASSES)
    for index, distance in enumerate(DISTANCES):
        factor = 1 if distance == 1 else 2
        conv(f"AFF_EMBED_head.classifiers.{index}.0", factor * 4, 16, 3, 3)
        conv(f"AFF_EMBED_head.classifiers.{index}.1", factor * 2, 4, 3, 3)
        draw(f"AFF_EMBED_head.classifiers.{index}.2.weight", 2, factor * 2, 1, 1)
        draw(f"AFF_EMBED_head.classifiers.{index}.2.bias", 2)
        draw(f"amwc_layer.edge_costs_weights.{2 * index}", 1)
        draw(f"amwc_layer.edge_costs_weights.{2 * index + 1}", 1)
    draw("amwc_layer.seg_cost_weights.0", 1)
    draw("amwc_layer.seg_cost_weights.1", 1)
    draw("amwc_layer.training_per_class_areas", CLASSES)
    draw("pixel_mean", 3, 1, 1)
    draw("pixel_std", 3, 1, 1)
    return tensors


@pytest.fixture(scope="module")
def network() -> DeepLabCops:
    return deeplab(ResNet50())


def test_every_tensor_of_a_published_checkpoint_has_its_place(network: DeepLabCops, tmp_path: Path) -> None:
    tensors = published(network)
    torch.save({"model": tensors, "iteration": 3000}, tmp_path / "model.pth")
    placement = load_published(network, tmp_path / "model.pth")
    assert placement.missing == ()
    assert set(placement.left_over) == {"pixel_mean", "pixel_std", "amwc_layer.training_per_class_areas"}
    own = network.state_dict()
    for theirs, ours in (
        ("backbone.res4.5.conv2.norm.running_var", "backbone.res4.5.conv2.norm.running_var"),
        ("sem_seg_head.predictor.weight", "semantic.predictor.weight"),
        (
            "AFF_EMBED_head.decoder.res5.project_conv.convs.2.depthwise.norm.bias",
            "affinity.decoder.res5.project_conv.convs.2.depthwise.norm.bias",
        ),
    ):
        assert torch.equal(own[ours], tensors[theirs])
    copied = sum(tensor.numel() for name, tensor in tensors.items() if name not in placement.left_over)
    held = sum(t.numel() for name, t in own.items() if not name.endswith("num_batches_tracked"))
    assert copied == held


def test_published_cost_scales_make_the_costs_of_their_formula(network: DeepLabCops, tmp_path: Path) -> None:
    tensors = published(network, seed=1)
    tensors["amwc_layer.edge_costs_weights.2"] *= -1  # a scale counts by its absolute value
    torch.save(tensors, tmp_path / "model.pth")
    load_published(network, tmp_path / "model.pth")
    generator = torch.Generator().manual_seed(0)
    pairs = [torch.randn(2, 2, 4, 4, generator=generator).unbind(1) for _ in DISTANCES]
    logits = Logits(torch.randn(2, CLASSES, 8, 8, generator=generator), [(v, h) for v, h in pairs])
    costs = network.costs(logits)
    node = tensors["amwc_layer.seg_cost_weights.0"], tensors["amwc_layer.seg_cost_weights.1"]
    assert torch.allclose(costs.node, -logits.semantic * node[0] + node[1])
    for index, (sides, boundaries) in enumerate(zip(costs.edge, logits.boundary, strict=True)):
        scale = tensors[f"amwc_layer.edge_costs_weights.{2 * index}"].abs()
        offset = tensors[f"amwc_layer.edge_costs_weights.{2 * index + 1}"]
        for cost, logit in zip(sides, boundaries, strict=True):
            assert torch.allclose(cost, -logit * scale + offset)


def test_one_offset_of_all_node_costs_changes_no_solution() -> None:
    """As in the authors' solver input; one per class would change classes at the full learning rate."""
    costs = deeplab().costs
    assert [tuple(parameter.shape) for parameter in costs.parameters()] == [(), (), (3,), (3,)]
    generator = torch.Generator().manual_seed(0)
    logits = Logits(
        torch.randn(1, CLASSES, 6, 7, generator=generator),
        [
            (
                torch.randn(1, max(6 - d, 0), 7, generator=generator),
                torch.randn(1, 6, max(7 - d, 0), generator=generator),
            )
            for d in DISTANCES
        ],
    )
    layer = PanopticLayer([False, True, True, False, True], DISTANCES)
    with torch.no_grad():
        before = layer(*costs(logits)).labels[0]
        costs.node_offset += 2.5
        after = layer(*costs(logits)).labels[0]
    assert np.array_equal(before.segments, after.segments)
    assert np.array_equal(before.classes, after.classes)


def test_a_checkpoint_of_other_classes_says_which_tensors_do_not_fit(
    network: DeepLabCops, tmp_path: Path
) -> None:
    tensors = published(network)
    tensors["sem_seg_head.predictor.bias"] = torch.zeros(19)
    tensors["sem_seg_head.extra"] = torch.zeros(2)
    torch.save(tensors, tmp_path / "model.pth")
    before = network.semantic.predictor.weight.clone()
    with pytest.raises(ValueError, match="does not fill the network") as caught:
        load_published(network, tmp_path / "model.pth")
    assert "semantic.predictor.bias" in str(caught.value)
    assert "has shape (19,), semantic.predictor.bias needs (5,)" in str(caught.value)
    assert "sem_seg_head.extra (no such tensor in the network)" in str(caught.value)
    assert torch.equal(before, network.semantic.predictor.weight)


def test_a_cost_scale_that_is_no_single_number_is_named(network: DeepLabCops, tmp_path: Path) -> None:
    tensors = published(network)
    tensors["amwc_layer.edge_costs_weights.2"] = torch.ones(3)
    torch.save(tensors, tmp_path / "model.pth")
    with pytest.raises(
        ValueError, match=r"model\.pth: does not fill the network.*\n.*costs\.edge_scale"
    ) as caught:
        load_published(network, tmp_path / "model.pth")
    assert "amwc_layer.edge_costs_weights.2 (has shape (3,), expected a single number)" in str(caught.value)


def test_the_paper_sized_network_has_the_width_of_the_authors() -> None:
    with torch.device("meta"):
        network = DeepLabCops(ResNet50(), 19, (1, 4, 16, 32, 64, 128), Widths(), (512, 1024))
        affinity = network.affinity
    assert isinstance(affinity, AffinityHead)
    first, second, last = affinity.classifiers[1]
    assert (first.in_channels, first.out_channels, first.groups) == (512, 128, 2)
    assert (second.out_channels, second.groups, last.out_channels, last.groups) == (64, 2, 2, 1)
    total = sum(parameter.numel() for parameter in network.parameters())
    assert np.isclose(total / 1e6, 33, atol=4), total
