"""The authors' published COPS checkpoints (detectron2's naming), tensor by tensor.

Their network is `DeepLabCops` with `ResNet50`. Its affinity map of distance d > 1 holds at pixel i the pair
(i − d/2, i + d/2); `deeplab.boundary` reads it there, so the weights mean the same here.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from examples.cops.network.deeplab import DeepLabCops
from examples.cops.network.weights import Placement, read_tensors

PREFIXES = (("sem_seg_head.", "semantic."), ("AFF_EMBED_head.", "affinity."), ("backbone.", "backbone."))

#: Tensors of theirs that are no weights, and where the same is set here.
SETTINGS = {
    "pixel_mean": "the images' mean, in data/samples.py",
    "pixel_std": "the images' deviation, in data/samples.py",
    "amwc_layer.training_per_class_areas": "the area thresholds, in the settings",
}


def load_published(network: DeepLabCops, path: Path) -> Placement:
    """Fill a network from a checkpoint of the authors.

    Args:
        network: of as many classes and distances as the checkpoint.
        path: a .pth (tensors only) or a .pkl (NumPy arrays only).

    Returns:
        What was loaded, what the file lacked, and what in the file found no place, with the reason.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read safely, or the network would be left incomplete: the message
            lists every tensor concerned.
    """
    found, left_over = match_published(network, read_tensors(Path(path)))
    missing = [name for name in network.state_dict() if name not in found and not _is_counter(name)]
    placement = Placement(tuple(found), tuple(missing), left_over)
    if missing:
        raise ValueError(f"{path}: does not fill the network; {placement}")
    network.load_state_dict(found, strict=False)
    return placement


def match_published(
    network: DeepLabCops, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Find the places of the tensors of a file of the authors.

    Returns:
        The tensors that fit, by their names in the network; the names in the file without a place, each with
        the reason.
    """
    own = network.state_dict()
    sources = cost_sources(len(network.affinity.distances))
    found = {
        target: torch.cat([tensors[name].reshape(1) for name in names]).reshape(own[target].shape)
        for target, names in sources.items()
        if all(name in tensors and tensors[name].numel() == 1 for name in names)
    }
    cost_names = {name for names in sources.values() for name in names}
    left_over: dict[str, str] = {}
    for name, tensor in tensors.items():
        target = own_name(name)
        if name in SETTINGS:
            left_over[name] = SETTINGS[name]
        elif target in own and own[target].shape == tensor.shape:
            found[target] = tensor
        elif target in own:
            left_over[name] = f"has shape {tuple(tensor.shape)}, {target} needs {tuple(own[target].shape)}"
        elif name not in cost_names:
            left_over[name] = "no such tensor in the network"
        elif tensor.numel() != 1:
            left_over[name] = f"has shape {tuple(tensor.shape)}, expected a single number"
    return found, left_over


def own_name(name: str) -> str:
    """Translate a tensor's name; one without a counterpart stays."""
    for theirs, ours in PREFIXES:
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def cost_sources(num_distances: int) -> dict[str, list[str]]:
    """Which of their tensors make up each tensor of `CostScaling`.

    Theirs are lists of single numbers: scale and offset in turn.
    """
    node, edge = "amwc_layer.seg_cost_weights", "amwc_layer.edge_costs_weights"
    return {
        "costs.node_scale": [f"{node}.0"],
        "costs.node_offset": [f"{node}.1"],
        "costs.edge_scale": [f"{edge}.{2 * index}" for index in range(num_distances)],
        "costs.edge_offset": [f"{edge}.{2 * index + 1}" for index in range(num_distances)],
    }


def _is_counter(name: str) -> bool:
    """Whether nothing reads the tensor and the authors' files may lack it."""
    return name.endswith("num_batches_tracked")
