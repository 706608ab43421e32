"""Weights of a ResNet from a file: read without running what is in it, renamed, put where they fit."""

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

#: torchvision's names to detectron2's. The stem of three convolutions is a Sequential in that naming: its
#: convolutions are conv1.0, conv1.3 and conv1.6, with the norms conv1.1, conv1.4 and bn1.
TORCHVISION = (
    (r"^conv1\.0\.", "stem.conv1."),
    (r"^conv1\.1\.", "stem.conv1.norm."),
    (r"^conv1\.3\.", "stem.conv2."),
    (r"^conv1\.4\.", "stem.conv2.norm."),
    (r"^conv1\.6\.", "stem.conv3."),
    (r"^conv1\.", "stem.conv1."),
    (r"^layer([1-4])\.", lambda match: f"res{int(match[1]) + 1}."),
    (r"\.bn([1-3])\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
)


class Placement(NamedTuple):
    """What became of a file's tensors.

    Attributes:
        loaded: names in the network that were filled from the file.
        missing: names in the network that the file had nothing for; they stay as they were.
        left_over: names in the file without a place, each with the reason.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors loaded"]
        if self.missing:
            lines.append(f"not in the file, left as they were: {', '.join(self.missing)}")
        if self.left_over:
            named = (f"{name} ({reason})" for name, reason in self.left_over.items())
            lines.append(f"in the file, without a place: {', '.join(named)}")
        return "\n".join(lines)


def load_backbone(network: nn.Module, path: Path) -> Placement:
    """Fill a network whose tensors have detectron2's names from a file; see `ResNet50.load_imagenet`."""
    path = Path(path)
    tensors = read_tensors(path)
    placement = place(network, tensors)
    if not placement.loaded:
        raise ValueError(
            f"{path}: none of its {len(tensors)} tensors fits (the first are {', '.join([*tensors][:3])}); "
            "expected torchvision's names (layer1.0.conv1.weight) or detectron2's (res2.0.conv1.weight)"
        )
    if placement.missing:
        warnings.warn(f"{path}: {placement}", stacklevel=3)
    return placement


def place(network: nn.Module, tensors: Mapping[str, Tensor]) -> Placement:
    """Copy tensors to where name and shape agree.

    Args:
        network: its own tensors have detectron2's names.
        tensors: from a file, in torchvision's or detectron2's names. Where some begin with "backbone.", as in
            a whole model's checkpoint, only those are used.

    Returns:
        What was copied and what was not. Counters of batch norm (`num_batches_tracked`) are never missing:
        detectron2's files lack them and nothing reads them.
    """
    own = network.state_dict()
    whole_model = any(_bare(name).startswith("backbone.") for name in tensors)
    three_convolutions = "conv1.6.weight" in map(_bare, tensors)
    fitting: dict[str, Tensor] = {}
    came_from: dict[str, str] = {}
    left_over: dict[str, str] = {}
    for name, tensor in tensors.items():
        target = detectron2_name(name, three_convolutions)
        if whole_model and not _bare(name).startswith("backbone."):
            left_over[name] = "not of the backbone"
        elif target not in own:
            left_over[name] = "no such tensor in the network"
        elif target in fitting:
            left_over[name] = f"another tensor of the file is {target} too"
        elif own[target].shape != tensor.shape:
            left_over[name] = f"has shape {tuple(tensor.shape)}, {target} needs {tuple(own[target].shape)}"
        else:
            fitting[target], came_from[target] = tensor, name
    # The norm of a 7x7 stem would fit the first 3x3 convolution, but belongs to other features.
    for target in [name for name in fitting if ".norm." in name]:
        if target.split(".norm.")[0] + ".weight" not in fitting:
            del fitting[target]
            left_over[came_from[target]] = "its convolution has no place"
    network.load_state_dict(fitting, strict=False)
    wanted = [name for name in own if not name.endswith("num_batches_tracked")]
    return Placement(tuple(fitting), tuple(name for name in wanted if name not in fitting), left_over)


def detectron2_name(name: str, three_convolutions: bool) -> str:
    """Translate a tensor's name; detectron2's own names stay.

    Args:
        name: in torchvision's or detectron2's naming, with or without "module." or "backbone." in front.
        three_convolutions: whether the file's stem has three; its "bn1" then belongs to the third.
    """
    name = _bare(name).removeprefix("backbone.")
    name = re.sub(r"^bn1\.", "stem.conv3.norm." if three_convolutions else "stem.conv1.norm.", name)
    for pattern, replacement in TORCHVISION:
        name = re.sub(pattern, replacement, name)
    return name


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the named tensors of a file, running no code that it may hold.

    Args:
        path: a .pkl is read as a pickle of NumPy arrays; anything else as a file of torch.save. The tensors
            may lie under "model" or "state_dict"; entries there that are no tensors are passed over.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read, holds other objects, or holds no tensor.
    """
    try:
        if path.suffix == ".pkl":
            with path.open("rb") as file:
                # latin1: the arrays in detectron2's older files were pickled by Python 2.
                content = ArrayUnpickler(file, encoding="latin1").load()
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(
            f"{path}: refused, or not a file of weights: {type(error).__name__} {error}"
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {}
    if isinstance(content, Mapping):
        tensors = {name: tensor for name, value in content.items() if (tensor := _tensor(value)) is not None}
    if not tensors:
        raise ValueError(f"{path}: holds no named tensors")
    return tensors


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that reads NumPy arrays and builtin containers, and refuses every other name.

    Not even NumPy's own code runs on what the file states: arrays come out as `PickledArray`.
    """

    def find_class(self, module: str, name: str) -> Any:
        # NumPy 1 and 2, and Python 2 and 3, name the same module differently; a file may come from each.
        module = module.replace("numpy.core.", "numpy._core.").replace("__builtin__", "builtins")
        if (module, name) in STAND_INS:
            return STAND_INS[module, name]
        raise pickle.UnpicklingError(
            f"the pickle asks for {module}.{name}; only NumPy arrays and builtin containers are allowed"
        )


class PickledDType:
    """Stands in for numpy.dtype; numbers only."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        self.dtype = np.dtype(code)
        if self.dtype.kind not in "fiub":
            raise pickle.UnpicklingError(f"the pickle holds an array of dtype {self.dtype}, expected numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])  # the other entries describe records


class PickledArray:
    """Stands in for numpy.ndarray; `values` is the array."""

    values: np.ndarray

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, content = state
        # Python 2 pickled bytes as text.
        content = content.encode("latin1") if isinstance(content, str) else content
        self.values = np.frombuffer(content, dtype.dtype).reshape(shape, order="F" if is_fortran else "C")


def _reconstruct(subtype: type, shape: tuple[int, ...], code: bytes) -> PickledArray:
    """An empty array; its state follows in the pickle."""
    return PickledArray()


def _from_buffer(content: bytes, dtype: PickledDType, shape: tuple[int, ...], order: str) -> PickledArray:
    """How protocol 5 writes an array."""
    array = PickledArray()
    array.__setstate__((1, shape, dtype, order == "F", content))
    return array


def _scalar(dtype: PickledDType, content: bytes) -> PickledArray:
    return _from_buffer(content, dtype, (), "C")


def _latin1(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the pickle encodes bytes as {encoding!r}, expected latin1")
    return text.encode("latin1")


STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): PickledDType,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "bytes"): bytes,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
}


def _bare(name: str) -> str:
    return name.removeprefix("module.")


def _tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, PickledArray):
        # A copy in this machine's byte order: torch knows no other, and the file's bytes are read-only.
        return torch.from_numpy(value.values.astype(value.values.dtype.newbyteorder("=")))
    return None
