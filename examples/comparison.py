"""What the small examples have in common: train a network by every loss, print a table, save a picture."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from difflayers.losses import hamming_loss

Network = TypeVar("Network", bound=nn.Module)
Loss = Callable[..., Tensor]  # (predicted costs, *targets) -> loss
Table = dict[str, list[tuple[float, ...]]]  # per method, its results: one row per seed


def train(
    network: Callable[[], Network],
    losses: Mapping[str, Loss],
    inputs: Sequence[Tensor],
    targets: Sequence[Tensor],
    *,
    seed: int,
    epochs: int,
    batch: int,
    rate: float,
) -> dict[str, Network]:
    """Train a network by each loss, from the same first weights.

    Args:
        network: makes a new network, from `inputs` to predicted costs.
        losses: by name, from predicted costs and `targets` to a number.
        inputs: tensors with one row per instance.
        targets: likewise.
        seed: of the first weights and the order of the instances.
        epochs: how often each instance is seen.
        batch: instances per step of the optimizer.
        rate: learning rate of Adam.

    Returns:
        The networks by the name of their loss, after one that is "untrained".
    """
    torch.manual_seed(seed)
    networks = {"untrained": network()}
    for name, loss in losses.items():
        torch.manual_seed(seed)
        networks[name] = model = network()
        optimizer = torch.optim.Adam(model.parameters(), rate)
        for _ in range(epochs):
            for rows in torch.randperm(len(targets[0])).split(batch):
                optimizer.zero_grad()
                costs = model(*(each[rows] for each in inputs))
                loss(costs, *(each[rows] for each in targets)).backward()
                optimizer.step()
    return networks


def hamming(layer: nn.Module) -> Loss:
    """The number of entries in which the layer's solutions differ from the wanted ones, over a batch."""
    return lambda costs, solutions: hamming_loss(layer(costs), solutions, reduction="sum")


def print_table(title: str, table: Table, digits: int = 3) -> None:
    """Print the mean of each result and, in brackets, its range over the seeds; one line per method."""
    print(title)
    for name, results in table.items():
        columns = np.transpose(results)
        cells = [f"{c.mean():.{digits}f} ({c.min():.{digits}f}–{c.max():.{digits}f})" for c in columns]
        print(f"{name:20}" + "   ".join(cells))


def save(picture: Figure, path: str) -> None:
    """Save a picture, and print where it is and the CPU time that the program has used."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, dpi=110)
    print(f"{time.process_time():.0f} s of CPU time; picture: {path}")
