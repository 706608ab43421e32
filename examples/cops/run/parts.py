"""What a process sees of each iteration: its parts of the batch, and what the frozen layers make of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from examples.cops.config import Config
from examples.cops.data.batches import Batch, Crops, load_batches
from examples.cops.run.processes import rank, world
from examples.cops.steps import autocast


def own_parts(batch: int, config: Config) -> range:
    """The parts of a batch that this process takes, each with a backward pass of its own."""
    parts = world() * config.run.accumulation
    if batch % parts:
        raise ValueError(f"a batch of {batch} images cannot be split into {parts} equal parts")
    return range(rank() * config.run.accumulation, (rank() + 1) * config.run.accumulation)


def prepared_batches(
    network: Any, crops: Crops, iterations: range, parts: range, frozen_trunk: bool
) -> Iterator[tuple[Batch, Any]]:
    """This process's parts of the iterations, each with what a frozen trunk makes of it, or None."""
    device = next(network.parameters()).device
    batches = load_batches(crops, [(iteration, part) for iteration in iterations for part in parts], device)
    return ahead(batches, network, crops.config) if frozen_trunk else ((batch, None) for batch in batches)


def ahead(batches: Iterator[Batch], network: Any, config: Config) -> Iterator[tuple[Batch, Any]]:
    """Yield each batch with what the frozen trunk makes of it; the next is prepared while the solver works.

    The trunk does not change, so its output does not depend on when it runs. The solver releases the GIL and
    does not use the GPU, so a second thread with a stream of its own can use both.
    """
    network.eval()
    device = next(network.parameters()).device
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @torch.no_grad()
    def prepare() -> tuple[Batch, Any] | None:
        with torch.cuda.stream(stream) if stream is not None else nullcontext():
            batch = next(batches, None)
            if batch is None:
                return None
            with autocast(config, device):
                trunk = network.trunk(batch.images)
        if stream is not None:
            stream.synchronize()
        return batch, trunk

    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(prepare)
        while (prepared := following.result()) is not None:
            if config.run.overlap:
                following = pool.submit(prepare)
            if stream is not None:
                _record(prepared, torch.cuda.current_stream(device))
            yield prepared
            if not config.run.overlap:
                following = pool.submit(prepare)


def _record(value: Any, stream: torch.cuda.Stream) -> None:
    """Keep the memory of tensors from another stream until this one is done with them."""
    if isinstance(value, Tensor):
        value.record_stream(stream)
    elif isinstance(value, tuple | list):
        for entry in value:
            _record(entry, stream)
