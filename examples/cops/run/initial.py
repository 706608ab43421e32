"""Weights to begin with: a checkpoint of ours or of the authors, for the same classes or for others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from difflayers.panoptic.files import Category
from examples.cops.config import Config
from examples.cops.network import BACKBONES, CopsNetwork, DeepLabCops, EfficientNetLite0, make_network
from examples.cops.network.published import match_published
from examples.cops.network.weights import Placement, read_tensors
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.run.resume import differences
from examples.cops.run.settings import read_about


def initialize(network: CopsNetwork, path: Path, config: Config, categories: Sequence[Category]) -> Placement:
    """Fill a network from a checkpoint; if the classes are others, what depends on them stays as it is.

    Args:
        network: of the settings and the classes.
        path: of `train`, or the authors'.
        config: the settings of the network.
        categories: its classes. The authors' files do not name theirs: those are taken for the same if their
            number is.

    Returns:
        What was loaded, what stays as it was, and what in the file found no place.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: naming the file, if it cannot be read, is of another network, or lacks a tensor that does
            not depend on the classes.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    state = None if path.suffix == ".pkl" else Checkpoint(path).load()
    of_classes = class_tensors(config, len(categories))
    if state is not None and "about" in state:
        found, left_over = _ours(path, state, config, categories, of_classes)
    else:
        if not isinstance(network, DeepLabCops):
            raise ValueError(
                f"{path}: has no settings, as the authors' files; their network has deeplab heads"
            )
        found, left_over = match_published(network, read_tensors(path))
    own = network.state_dict()
    missing = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
    placement = Placement(tuple(found), tuple(missing), left_over)
    if lacking := [name for name in missing if name not in of_classes]:
        raise ValueError(f"{path}: lacks {', '.join(lacking)}; {placement}")
    network.load_state_dict(found, strict=False)
    return placement


def class_tensors(config: Config, num_classes: int) -> set[str]:
    """Names of the tensors whose shape depends on the number of classes."""

    def shapes(count: int) -> dict[str, Any]:
        with torch.device("meta"):
            kind = BACKBONES[config.network.backbone]
            backbone = EfficientNetLite0(pretrained=False) if kind is EfficientNetLite0 else kind()
            table = config.network
            network = make_network(
                backbone, table.heads, count, table.distances, table.widths, config.data.size
            )
        return {name: tensor.shape for name, tensor in network.state_dict().items()}

    one, more = shapes(num_classes), shapes(num_classes + 1)
    return {name for name, shape in one.items() if more[name] != shape}


def _ours(
    path: Path, state: dict[str, Any], config: Config, categories: Sequence[Category], of_classes: set[str]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a checkpoint of `train` that have a place, and the others with the reason."""
    before, then = read_about(path, state)
    if other := differences(before, config, "network"):
        raise ValueError(f"{path}: is of another network: {', '.join(other)}")
    same = [category[:3] for category in then] == [category[:3] for category in categories]
    left_over = {} if same else dict.fromkeys(of_classes, "belongs to other classes")
    found = {name: tensor for name, tensor in state["network"].items() if name not in left_over}
    return found, left_over
