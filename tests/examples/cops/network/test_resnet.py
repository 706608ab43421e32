"""ResNet-50 with the DeepLab stem, and loading its weights from files of others."""

import pickle
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from examples.cops.network.resnet import ResNet50
from examples.cops.network.weights import read_tensors

# Where torchvision's naming (as timm's resnet50s has it, with a stem of three convolutions) departs from
# detectron2's; written out here by hand, whole layers, to check the regular expressions of weights.py.
TORCHVISION_LAYERS = {
    "stem.conv1": "conv1.0",
    "stem.conv1.norm": "conv1.1",
    "stem.conv2": "conv1.3",
    "stem.conv2.norm": "conv1.4",
    "stem.conv3": "conv1.6",
    "stem.conv3.norm": "bn1",
    "res2.0.conv1": "layer1.0.conv1",
    "res2.0.conv1.norm": "layer1.0.bn1",
    "res2.0.shortcut": "layer1.0.downsample.0",
    "res2.0.shortcut.norm": "layer1.0.downsample.1",
    "res5.2.conv3.norm": "layer4.2.bn3",
}
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def in_torchvision_naming(layer: str) -> str:
    if layer.startswith("stem"):
        return TORCHVISION_LAYERS[layer]
    stage, block, unit, *norm = layer.split(".")
    unit = {"shortcut": f"downsample.{len(norm)}"}.get(unit, unit.replace("conv", "bn") if norm else unit)
    return f"layer{int(stage[3]) - 1}.{block}.{unit}"


@pytest.fixture(scope="module")
def source() -> dict[str, Tensor]:
    """The tensors of a network, each with values of its own, in detectron2's naming."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(tensor.shape, generator=generator)
        if tensor.is_floating_point()
        else torch.tensor(7)
        for name, tensor in ResNet50().state_dict().items()
    }


@pytest.fixture(scope="module")
def network() -> ResNet50:
    return ResNet50()


@pytest.fixture(autouse=True)
def _empty(network: ResNet50) -> None:
    """Every test loads into zeros."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()


def torchvision(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        ".".join([in_torchvision_naming(name.rpartition(".")[0]), name.rpartition(".")[2]]): tensor
        for name, tensor in tensors.items()
    }


def write_pickle(path: Path, tensors: dict[str, Tensor], protocol: int = 4) -> Path:
    """As detectron2's converters write them: arrays under "model"."""
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    content = {"model": arrays, "__author__": "somebody", "matching_heuristics": True}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def assert_holds(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name


# ---- the network


def test_features_have_the_strides_and_channels_of_the_paper() -> None:
    backbone = ResNet50().eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)))
    for feature, stride, channels in zip(features, (4, 8, 16), backbone.channels, strict=True):
        assert feature.shape == (1, channels, 64 // stride, 96 // stride)
        assert feature.isfinite().all()
        assert feature.std() > 0


def test_parameters_are_a_resnet_50_whose_stem_alone_differs() -> None:
    # 23 508 032 without the classifier and with the 7x7 stem (9 536 with its norm), as torchvision's; the new
    # stem has 112 192, and res2 sees 64 channels more in a reduction to 64 and a projection to 256.
    stem = 3 * 64 * 9 + 64 * 64 * 9 + 64 * 128 * 9 + 2 * (64 + 64 + 128)
    expected = 23_508_032 - 9_536 + stem + 64 * (64 + 256)
    assert sum(parameter.numel() for parameter in ResNet50().parameters()) == expected


def test_res5_is_dilated_by_two_times_the_multi_grid_and_does_not_stride() -> None:
    backbone = ResNet50()
    convolutions = {name: m for name, m in backbone.named_modules() if isinstance(m, nn.Conv2d)}
    dilated = {name: m.dilation for name, m in convolutions.items() if m.dilation != (1, 1)}
    assert dilated == {"res5.0.conv2": (2, 2), "res5.1.conv2": (4, 4), "res5.2.conv2": (8, 8)}
    strided = {name for name, m in convolutions.items() if m.stride != (1, 1)}
    assert strided == {"stem.conv1"} | {
        f"{stage}.0.{unit}" for stage in ("res3", "res4") for unit in ("conv2", "shortcut")
    }


@pytest.mark.parametrize("size", [(33, 50), (65, 31)])
def test_odd_sizes_round_up_at_every_stride(size: tuple[int, int]) -> None:
    with torch.no_grad():
        features = ResNet50().eval()(torch.zeros(1, 3, *size))
    for feature, stride in zip(features, (4, 8, 16), strict=True):
        assert tuple(feature.shape[2:]) == tuple(-(-side // stride) for side in size)


# ---- weights


def test_names_of_torchvision_are_those_of_whole_layers_written_by_hand() -> None:
    assert {layer: in_torchvision_naming(layer) for layer in TORCHVISION_LAYERS} == TORCHVISION_LAYERS


@pytest.mark.parametrize("naming", ["torchvision", "detectron2", "whole model", "distributed"])
def test_a_pth_fills_every_tensor_in_any_naming(
    tmp_path: Path, source: dict[str, Tensor], network: ResNet50, naming: str
) -> None:
    extra = {"fc.weight": torch.zeros(1000, 2048)}
    content: dict[str, object] = {
        "torchvision": lambda: torchvision(source) | extra,
        "detectron2": lambda: {"model": source | extra, "iteration": 5},
        "whole model": lambda: {"model": {f"backbone.{name}": t for name, t in source.items()} | extra},
        "distributed": lambda: {"state_dict": {f"module.{name}": t for name, t in source.items()} | extra},
    }[naming]()
    torch.save(content, tmp_path / "weights.pth")
    placement = network.load_imagenet(tmp_path / "weights.pth")
    assert_holds(network, source)
    assert set(placement.loaded) == set(source)
    assert placement.missing == ()
    assert list(placement.left_over) == ["fc.weight"]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_of_arrays_fills_every_tensor(
    tmp_path: Path, source: dict[str, Tensor], network: ResNet50, protocol: int
) -> None:
    placement = network.load_imagenet(write_pickle(tmp_path / "R-52.pkl", source, protocol))
    assert_holds(network, source)
    assert (placement.missing, placement.left_over) == ((), {})


def test_a_plain_stem_is_named_as_left_over_and_the_deeplab_stem_as_missing(
    tmp_path: Path, source: dict[str, Tensor], network: ResNet50
) -> None:
    plain = {name: tensor for name, tensor in torchvision(source).items() if name.startswith("layer")}
    plain |= {"conv1.weight": torch.ones(64, 3, 7, 7)}
    plain |= {f"bn1.{part}": torch.ones(64) for part in NORM[:4]} | {
        "bn1.num_batches_tracked": torch.tensor(1)
    }
    plain["layer1.0.conv1.weight"] = torch.ones(64, 64, 1, 1)  # the plain stem puts out 64 channels
    plain["layer1.0.downsample.0.weight"] = torch.ones(256, 64, 1, 1)
    torch.save(plain, tmp_path / "resnet50.pth")
    with pytest.warns(
        UserWarning, match=r"resnet50\.pth: (?s:.*)left as they were: stem\.conv1\.weight"
    ) as caught:
        placement = network.load_imagenet(tmp_path / "resnet50.pth")
    assert caught[0].filename == __file__
    assert placement.left_over == {
        "conv1.weight": "has shape (64, 3, 7, 7), stem.conv1.weight needs (64, 3, 3, 3)",
        "layer1.0.conv1.weight": "has shape (64, 64, 1, 1), res2.0.conv1.weight needs (64, 128, 1, 1)",
        "layer1.0.downsample.0.weight": (
            "has shape (256, 64, 1, 1), res2.0.shortcut.weight needs (256, 128, 1, 1)"
        ),
        # These norms would fit, but each belongs to a convolution that does not.
        **{
            f"{norm}.{part}": "its convolution has no place"
            for norm in ("bn1", "layer1.0.bn1", "layer1.0.downsample.1")
            for part in NORM
        },
    }
    stem = {f"stem.{layer}" for layer in ("conv1", "conv2", "conv3")}
    replaced = stem | {"res2.0.conv1", "res2.0.shortcut"}
    parts = ["weight", *(f"norm.{part}" for part in NORM[:4])]
    assert set(placement.missing) == {f"{layer}.{part}" for layer in replaced for part in parts}
    assert torch.equal(network.res4[5].conv2.weight, source["res4.5.conv2.weight"])
    assert (network.stem.conv1.weight == 0).all()


def test_names_of_neither_kind_are_an_error_that_shows_some(tmp_path: Path, network: ResNet50) -> None:
    caffe2 = {"conv1_w": torch.ones(64, 3, 7, 7), "res2_0_branch2a_w": torch.ones(64, 64, 1, 1)}
    with pytest.raises(
        ValueError, match=r"R-50\.pkl: none of its 2 tensors fits.*conv1_w, res2_0_branch2a_w"
    ):
        network.load_imagenet(write_pickle(tmp_path / "R-50.pkl", caffe2))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float16", ">f4", "int64"])
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickled_arrays_come_out_as_they_went_in(
    tmp_path: Path, protocol: int, dtype: str, order: str
) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype, order=order)  # type: ignore[call-overload]
    content = OrderedDict(a=array, scalar=np.float32(2.5), empty=np.zeros((0, 3)), note="text")
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    tensors = read_tensors(path)
    assert set(tensors) == {"a", "scalar", "empty"}
    assert (tensors["a"].numpy() == array).all()
    assert tensors["a"].shape == (2, 3, 4)
    assert (tensors["scalar"].item(), tensors["empty"].shape) == (2.5, (0, 3))


def test_numpy_1_names_its_modules_otherwise_and_python_2_pickled_bytes_as_text(tmp_path: Path) -> None:
    # An array as Python 2 wrote it: a byte string (S) where Python 3 has bytes, and numpy.core.
    path = tmp_path / "old.pkl"
    path.write_bytes(
        b"(dS'a'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
        b"I00\nS'\\x07\\xff'\ntbs."
    )
    assert read_tensors(path)["a"].tolist() == [7, 255]


class Attack:
    """Pickles as a call of `eval`, whose side effect a test can see."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, (self.code,)


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
def test_a_tampered_file_is_refused_before_anything_in_it_runs(
    tmp_path: Path, source: dict[str, Tensor], network: ResNet50, suffix: str
) -> None:
    trace, path = tmp_path / "trace", tmp_path / f"R-52{suffix}"
    content = {"model": {"stem.conv1.weight": np.ones(3), "x": Attack(f"open({str(trace)!r}, 'w')")}}
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=re.escape(f"{path}: refused") + r"(?s:.*)(eval|numpy)"):
        network.load_imagenet(path)
    assert not trace.exists()
    if suffix == ".pkl":
        pickle.loads(path.read_bytes())  # the attack is real: the ordinary unpickler falls for it
        assert trace.exists()


@pytest.mark.parametrize(
    "value", [np.array([{}], dtype=object), np.zeros(2, dtype="f4,f4"), nn.ReLU, np.load]
)
def test_pickles_of_anything_but_numbers_and_builtin_containers_are_refused(
    tmp_path: Path, value: object
) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"a": np.zeros(1), "b": value}, protocol=2))
    with pytest.raises(ValueError, match=r"a\.pkl: refused.*(asks for|holds an array of dtype)"):
        read_tensors(path)


@pytest.mark.parametrize("suffix", [".pkl", ".pth"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02]q\x00."])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"weights\{suffix}: (refused, or not a file|holds no named tensors)"
    ):
        read_tensors(path)


def test_a_missing_file_is_named(tmp_path: Path, network: ResNet50) -> None:
    for suffix in (".pkl", ".pth"):
        with pytest.raises(FileNotFoundError, match=r"none\.p.*: no such file"):
            network.load_imagenet(tmp_path / f"none{suffix}")
