"""The training stages of COPS (paper, Section 4.2).

All that is random in an iteration is drawn from (seed, stage, iteration), so a run that was killed and
resumed continues exactly as it would have. Under torchrun each process takes a part of the batch.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from examples.cops.config import Config
from examples.cops.data.batches import Batch, Crops
from examples.cops.network import CopsNetwork
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.run.parts import own_parts, prepared_batches
from examples.cops.run.processes import gathered, world
from examples.cops.run.progress import Progress
from examples.cops.steps import CrossEntropyStep, SolverStep

STAGE_ONE, STAGE_TWO, SINGLE_STAGE = 1, 2, 3
POWER = 0.9  # of the polynomial decay (Panoptic-DeepLab)
#: The clocks whose time a checkpoint holds.
CLOCKS = {"seconds": time.perf_counter, "cpu_seconds": time.process_time}
Log = list[dict[str, float]]
Evaluate = Callable[[], dict[str, float]]


class Phase(NamedTuple):
    """What one phase of training does.

    Attributes:
        stage: its number in the log and in the seeds.
        iterations: how many optimization steps.
        batch: images per step, over all processes and parts.
        warm_up: iterations in which the learning rate rises from 0.
        groups: of parameters, each with its learning rate, as the optimizer takes them.
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
    network: CopsNetwork,
    data: Any,
    config: Config,
    checkpoint: Checkpoint,
    progress: bool = True,
    evaluate: Evaluate | None = None,
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
    return train(network, data, config, phase, checkpoint, progress, evaluate)


def train_stage_two(
    network: CopsNetwork,
    data: Any,
    config: Config,
    checkpoint: Checkpoint,
    progress: bool = True,
    step: nn.Module | None = None,
    evaluate: Evaluate | None = None,
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
    return train(network, data, config, phase, checkpoint, progress, evaluate)


def train_through_solver(
    network: CopsNetwork,
    data: Any,
    config: Config,
    checkpoint: Checkpoint,
    progress: bool = True,
    evaluate: Evaluate | None = None,
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
    return train(network, data, config, phase, checkpoint, progress, evaluate)


def train(
    network: Any,
    data: Any,
    config: Config,
    phase: Phase,
    checkpoint: Checkpoint,
    progress: bool,
    evaluate: Evaluate | None = None,
) -> Log:
    """Run a phase from where its checkpoint stands to its end, and return its log, an entry per iteration.

    Args:
        network: a module; one with a frozen trunk has `trunk(images)`.
        data: the training images.
        config: the settings.
        phase: what to do.
        checkpoint: holds the last good state, and the best one if there is an evaluation.
        progress: whether to show a bar.
        evaluate: the qualities of the network on held-out images, "PQ" among them; called every
            `run.evaluate_every` iterations.

    Raises:
        FloatingPointError: naming iteration and image files, if costs, loss or gradient are not finite. The
            weights and the checkpoint are then as they were after the iteration before.
    """
    optimizer = torch.optim.Adam(phase.groups)
    base = [group["lr"] for group in optimizer.param_groups]
    log: Log = []
    best = -math.inf
    started = {name: clock() for name, clock in CLOCKS.items()}
    if (state := checkpoint.load()) is not None:
        network.load_state_dict(state["network"])
        log, base, best = state["log"], state["base_rates"], state.get("best", best)
        if (place := state.get("solver_place")) is not None:  # measured once, so that a run stays as it began
            phase.step.place = place
        if len(log) < phase.iterations:  # what is finished loads whatever became of the parameter groups
            optimizer.load_state_dict(state["optimizer"])
        started = {name: begun - state.get(name, 0.0) for name, begun in started.items()}
    parts = own_parts(phase.batch, config)
    crops = Crops(data, config, phase.stage, phase.batch // (world() * len(parts)))
    left = range(len(log), phase.iterations)
    prepared = prepared_batches(network, crops, left, parts, phase.frozen_trunk)
    step: Any = DistributedDataParallel(phase.step) if world() > 1 else phase.step
    reports = Progress(phase.stage, phase.iterations, log, checkpoint, progress)
    for iteration in reports.iterations():
        for group, start in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = start * rate(iteration, phase)
        optimizer.zero_grad()
        figures = backward(step, prepared, len(parts), optimizer, config, phase, iteration)
        optimizer.step()
        log.append({"stage": phase.stage, "iteration": iteration, **figures})
        reports.report(log[-1])
        if evaluate is not None and is_time(iteration + 1, config.run.evaluate_every):
            qualities = evaluate()
            reports.report_held_out(iteration, qualities)
            if qualities["PQ"] > best:  # never, if it is NaN
                best = qualities["PQ"]
                checkpoint.save_best(iteration + 1, network=network.state_dict(), held_out=qualities)
        if saves(iteration + 1, phase.iterations, checkpoint.every):
            checkpoint.save(
                network=network.state_dict(),
                optimizer=optimizer.state_dict(),
                log=log,
                base_rates=base,
                best=best,
                solver_place=getattr(phase.step, "place", None),
                **{name: clock() - started[name] for name, clock in CLOCKS.items()},
            )
    return log


def backward(
    step: Any,
    prepared: Iterator[tuple[Batch, Any]],
    parts: int,
    optimizer: torch.optim.Optimizer,
    config: Config,
    phase: Phase,
    iteration: int,
) -> dict[str, float]:
    """Leave the clipped gradient of an iteration in the parameters; return the mean of all figures."""
    own: list[tuple[dict[str, float], list[str]]] = []
    for batch, trunk in islice(prepared, parts):
        torch.manual_seed(batch.seeds[0])
        # DDP averages the gradients over the processes in the last backward pass only.
        last = len(own) + 1 == parts
        with step.no_sync() if world() > 1 and not last else nullcontext():
            try:
                loss, figures = step(batch, trunk)
            except FloatingPointError as error:
                raise not_finite(str(error), phase, iteration, batch.files) from error
            (loss / config.run.accumulation).backward()
        own.append(({"loss": loss.item(), **figures}, batch.files))
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    norm = float(nn.utils.clip_grad_norm_(trained, config.training.gradient_norm))
    everyone = [pair for process in gathered(own) for pair in process]
    for entry, files in everyone:
        if not math.isfinite(entry["loss"]):
            raise not_finite(f"the loss is {entry['loss']}", phase, iteration, files)
    if not math.isfinite(norm):
        files = [file for _, of_part in everyone for file in of_part]
        raise not_finite(f"the norm of the gradient is {norm}", phase, iteration, files)
    return {name: float(np.mean([entry[name] for entry, _ in everyone])) for name in own[0][0]}


def not_finite(what: str, phase: Phase, iteration: int, files: list[str]) -> FloatingPointError:
    """An error that says where it happened, and what became of the weights."""
    return FloatingPointError(
        f"stage {phase.stage}, iteration {iteration}: {what}; the images are {', '.join(files)}. "
        "No step was taken, and the checkpoint is as it was"
    )


def is_time(done: int, every: int) -> bool:
    """Whether it is the turn of what happens after every so many iterations; 0 means never."""
    return every > 0 and done % every == 0


def saves(done: int, iterations: int, every: int) -> bool:
    """Whether a checkpoint is written after this many iterations, about 500 times at most.

    Writing the authors' network with a log of 250 000 iterations takes seconds, and that would add up.
    """
    return done % max(every, iterations // 500) == 0 or done == iterations


def rate(iteration: int, phase: Phase) -> float:
    """Polynomial decay, times a linear warm-up; a factor on the learning rate."""
    decay = max(0.0, 1 - iteration / (phase.decay_iterations or phase.iterations)) ** POWER
    return decay * min(1.0, (iteration + 1) / max(1, phase.warm_up))
