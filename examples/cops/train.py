"""The training stages of COPS (paper, Section 4.2).

All that is random in an iteration is drawn from (seed, stage, iteration), so a run that was killed and
resumed continues exactly as it would have. Under torchrun each process takes a part of the batch.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from examples.cops.config import Config
from examples.cops.data.batches import Batch, Crops, load_batches
from examples.cops.network import CopsNetwork
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.run.processes import gathered, rank, world
from examples.cops.steps import CrossEntropyStep, SolverStep, autocast

STAGE_ONE, STAGE_TWO, SINGLE_STAGE = 1, 2, 3
POWER = 0.9  # of the polynomial decay (Panoptic-DeepLab)
#: What a checkpoint knows of how long training took.
CLOCKS = {"seconds": time.perf_counter, "cpu_seconds": time.process_time}
Log = list[dict[str, float]]


class Phase(NamedTuple):
    """What one phase of training does.

    Attributes:
        stage: its number in the log and in the seeds.
        iterations: how many optimisation steps.
        batch: images a step, over all processes and parts.
        warm_up: iterations in which the learning rate rises from 0.
        groups: of parameters, each with its learning rate, as the optimiser takes them.
        step: a module that turns a batch (and what the frozen trunk made of it) into loss and figures.
        frozen_trunk: whether the trunk stays as it is, so that it can see the next batch ahead of time.
        decay_iterations: after how many iterations the learning rate is 0; None: after all of them.
    """

    stage: int
    iterations: int
    batch: int
    warm_up: int
    groups: list[dict[str, Any]]
    step: nn.Module
    frozen_trunk: bool = False
    decay_iterations: int | None = None


def train_stage_one(
    network: CopsNetwork, data: Any, config: Config, checkpoint: Checkpoint, progress: bool = True
) -> Log:
    """Stage 1: top-k cross-entropies, Adam with polynomial decay. Returns the log."""
    network.requires_grad_(True)
    network.costs.requires_grad_(False)  # no loss of this stage sees it
    phase = Phase(
        STAGE_ONE,
        config.stage1.iterations,
        config.stage1.batch,
        config.stage1.warm_up,
        [{"params": list(network.parameters()), "lr": config.stage1.learning_rate}],
        CrossEntropyStep(network, config),
    )
    return train(network, data, config, phase, checkpoint, progress)


def train_stage_two(
    network: CopsNetwork,
    data: Any,
    config: Config,
    checkpoint: Checkpoint,
    progress: bool = True,
    step: nn.Module | None = None,
) -> Log:
    """Stage 2: soft PQ through the solver (or another step), trunk and batch norm frozen. Returns the log."""
    network.requires_grad_(False)
    groups = []
    for distance, parameters in enumerate(network.full_training_groups()):
        for parameter in parameters:
            parameter.requires_grad_(True)
        reduction = max(1.0, distance * config.stage2.rate_reduction)
        groups.append({"params": parameters, "lr": config.stage2.learning_rate / reduction})
    phase = Phase(
        STAGE_TWO,
        config.stage2.iterations,
        config.stage2.batch,
        config.stage2.warm_up,
        groups,
        step or SolverStep(network, data.is_thing, config, frozen_trunk=True),
        frozen_trunk=True,
        decay_iterations=config.stage2.decay_iterations,
    )
    return train(network, data, config, phase, checkpoint, progress)


def train_through_solver(
    network: CopsNetwork, data: Any, config: Config, checkpoint: Checkpoint, progress: bool = True
) -> Log:
    """The single stage after its warm-up: soft PQ through the solver, into all layers. Returns the log."""
    network.requires_grad_(True)
    phase = Phase(
        SINGLE_STAGE,
        config.single.iterations,
        config.single.batch,
        config.single.warm_up,
        [{"params": list(network.parameters()), "lr": config.single.learning_rate}],
        SolverStep(network, data.is_thing, config, frozen_trunk=False),
    )
    return train(network, data, config, phase, checkpoint, progress)


def train(
    network: Any, data: Any, config: Config, phase: Phase, checkpoint: Checkpoint, progress: bool
) -> Log:
    """Run a phase from where its checkpoint stands to its end, and return its log, an entry an iteration.

    The network is a module; one with a frozen trunk has `trunk(images)`.
    """
    device = next(network.parameters()).device
    optimizer = torch.optim.Adam(phase.groups)
    base = [group["lr"] for group in optimizer.param_groups]
    log: Log = []
    started = {name: clock() for name, clock in CLOCKS.items()}
    if (state := checkpoint.load()) is not None:
        network.load_state_dict(state["network"])
        log, base = state["log"], state["base_rates"]
        if len(log) < phase.iterations:  # what is finished loads whatever became of the parameter groups
            optimizer.load_state_dict(state["optimizer"])
        started = {name: begun - state.get(name, 0.0) for name, begun in started.items()}
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]

    # The batch is split into parts, over the processes and, within each, over its backward passes.
    parts = world() * config.run.accumulation
    if phase.batch % parts:
        raise ValueError(f"a batch of {phase.batch} images cannot be split into {parts} equal parts")
    own_parts = range(rank() * config.run.accumulation, (rank() + 1) * config.run.accumulation)
    left = range(len(log), phase.iterations)
    crops = Crops(data, config, phase.stage, phase.batch // parts, parts)
    batches = load_batches(crops, [(i, part) for i in left for part in own_parts], device)
    prepared = ahead(batches, network, config) if phase.frozen_trunk else ((batch, None) for batch in batches)
    step: Any = DistributedDataParallel(phase.step) if world() > 1 else phase.step

    writer = event_writer(checkpoint, len(log))
    bar = tqdm(
        left, f"stage {phase.stage}", phase.iterations, initial=len(log), disable=not progress, mininterval=2
    )
    for iteration in bar:
        for group, start in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = start * rate(iteration, phase)
        optimizer.zero_grad()
        entries = []
        for part in own_parts:
            batch, trunk = next(prepared)
            torch.manual_seed(batch.torch_seed)
            # DDP averages the gradients over the processes in the last backward pass only.
            with step.no_sync() if world() > 1 and part != own_parts[-1] else nullcontext():
                loss, figures = step(batch, trunk)
                (loss / config.run.accumulation).backward()
            entries.append({"loss": loss.item(), **figures})
        nn.utils.clip_grad_norm_(trained, config.training.gradient_norm)
        optimizer.step()
        entries = [entry for own in gathered(entries) for entry in own]
        figures = {name: float(np.mean([entry[name] for entry in entries])) for name in entries[0]}
        log.append({"stage": phase.stage, "iteration": iteration, **figures})
        bar.set_postfix({name: f"{_recent(log, name):.3f}" for name in figures})
        if writer is not None:
            for name, value in figures.items():
                writer.add_scalar(f"stage {phase.stage}/{name}", value, iteration)
        if saves(iteration + 1, phase.iterations, checkpoint.every):
            checkpoint.save(
                network=network.state_dict(),
                optimizer=optimizer.state_dict(),
                log=log,
                base_rates=base,
                **{name: clock() - started[name] for name, clock in CLOCKS.items()},
            )
    if writer is not None:
        writer.close()
    return log


def saves(done: int, iterations: int, every: int) -> bool:
    """Whether a checkpoint is written after this many iterations, about 500 times at most.

    A file of the authors' network and a log of 250 000 iterations takes seconds, which would add up.
    """
    return done % max(every, iterations // 500) == 0 or done == iterations


def rate(iteration: int, phase: Phase) -> float:
    """Polynomial decay, times a linear warm-up; a factor on the learning rate."""
    decay = max(0.0, 1 - iteration / (phase.decay_iterations or phase.iterations)) ** POWER
    return decay * min(1.0, (iteration + 1) / max(1, phase.warm_up))


def ahead(batches: Iterator[Batch], network: Any, config: Config) -> Iterator[tuple[Batch, Any]]:
    """Yield each batch with what the frozen trunk makes of it; the next is prepared while the solver works.

    The trunk does not change, so when it runs plays no role for what it gives. The solver releases the GIL
    and, on a GPU, leaves the device alone: a second thread, with a stream of its own, has both to itself.
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


def event_writer(checkpoint: Checkpoint, done: int) -> Any:
    """A writer of TensorBoard's event files, which drops what a killed run wrote too much; or None."""
    if checkpoint.events is None or rank() > 0:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # tensorboard is optional
        return None
    return SummaryWriter(str(checkpoint.events), purge_step=done)


def _record(value: Any, stream: torch.cuda.Stream) -> None:
    """Keep the memory of tensors from another stream until this one is done with them."""
    if isinstance(value, Tensor):
        value.record_stream(stream)
    elif isinstance(value, tuple | list):
        for entry in value:
            _record(entry, stream)


def _recent(log: Log, name: str, window: int = 20) -> float:
    return float(np.mean([entry[name] for entry in log[-window:]]))
