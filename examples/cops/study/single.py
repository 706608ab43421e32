"""The single stage, trained for as long as stage 1 and stage 2 together.

Without a GPU, the time is the CPU time of this process, which other work on the machine changes little; all
phases use the same cores. (Set OMP_NUM_THREADS=1: torch's threads would otherwise wait for each other, and
waiting counts.) With a GPU, it is the time that passes. The time per iteration is measured anew on the
network of stage 1, so that stages of an earlier run can be compared.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from examples.cops.config import Config
from examples.cops.data import open_dataset
from examples.cops.network import CopsNetwork
from examples.cops.run import runs
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.train import CLOCKS, Log, train_stage_one, train_stage_two, train_through_solver

CLOCK = "seconds" if runs.DEVICE.type == "cuda" else "cpu_seconds"  # of `train`'s
PHASES: dict[str, Callable[..., Log]] = {
    "stage 1": train_stage_one,
    "stage 2": train_stage_two,
    "single stage": train_through_solver,
}
ROUNDS = 3  # through the phases, after one that compiles
TIMED = 20 if CLOCK == "seconds" else 2  # iterations of each; processes that read need some to get going


def single_stage(data: Path | None, out: Path, config: Config) -> dict[str, float]:
    """Train and measure the single stage for as long as both stages of the run in `out`.

    What was measured and decided is kept in `single/time.json`, so that a repeated run goes on as it began.

    Returns:
        PQ, PQ_th and PQ_st on the held-out images.
    """
    if CLOCK == "cpu_seconds":
        config = config.change(run={"workers": 0})  # the CPU time of other processes would not be counted
    folder = out / "single"
    plan = folder / "time.json"
    if not plan.exists():
        network, _, _ = runs.load_network(out / "stage1.pt")
        seconds = seconds_an_iteration(network, open_dataset(data, "train", config.training.seed), config)
        content = {"seconds": seconds, "iterations": iterations_as_long(config, seconds)}
        folder.mkdir(exist_ok=True)
        plan.write_text(json.dumps(content))
    measured = json.loads(plan.read_text())
    iterations: int = measured["iterations"]
    print(
        f"{CLOCK} per iteration: "
        + ", ".join(f"{name} {seconds:.2f}" for name, seconds in measured["seconds"].items())
        + f"; the single stage gets {config.single.warm_iterations} + {iterations} iterations",
        flush=True,
    )
    settings = config.change(
        single={"iterations": iterations, "warm_up": min(config.single.warm_up, iterations)}
    )
    figures = runs.run(data, folder, settings, progress=False, schedule="single")
    taken = sum(json.loads((folder / "figures.json").read_text())[CLOCK].values())
    print(f"single stage: {taken:.0f} {CLOCK} of {budget(config, measured['seconds']):.0f}", flush=True)
    return figures["single stage"]


def seconds_an_iteration(network: CopsNetwork, data: Any, config: Config) -> dict[str, float]:
    """Measure the median seconds per iteration of each phase; the phases take turns.

    Args:
        network: of stage 1, for costs as a solver meets them; only its batch norms' statistics change.
        data: the training images.
        config: of the run.
    """
    no_change = {"iterations": TIMED, "learning_rate": 0.0}
    still = config.change(stage1=no_change, stage2=no_change, single=no_change)
    taken: dict[str, list[float]] = {name: [] for name in PHASES}
    for turn in range(1 + ROUNDS):
        for name, train in PHASES.items():
            started = CLOCKS[CLOCK]()
            turned = still.change(training={"seed": config.training.seed + turn})
            train(network, data, turned, Unkept(), progress=False)
            taken[name].append((CLOCKS[CLOCK]() - started) / TIMED)
    return {name: float(np.median(seconds[1:])) for name, seconds in taken.items()}


def budget(config: Config, seconds: dict[str, float]) -> float:
    """Seconds of stage 1 and stage 2."""
    return config.stage1.iterations * seconds["stage 1"] + config.stage2.iterations * seconds["stage 2"]


def iterations_as_long(config: Config, seconds: dict[str, float]) -> int:
    """Iterations through the solver that, after the warm-up, fit into the time of both stages."""
    total, warm = budget(config, seconds), config.single.warm_iterations * seconds["stage 1"]
    iterations = int((total - warm) / seconds["single stage"])
    if iterations < 1:
        raise SystemExit(f"the warm-up alone takes {warm:.0f} of {total:.0f} s")
    return iterations


class Unkept(Checkpoint):
    """A checkpoint of a run that is thrown away."""

    def __init__(self) -> None:
        super().__init__(Path("unkept"))

    def beside(self, suffix: str) -> None:
        return None

    def load(self) -> None:
        return None

    def save(self, **state: Any) -> None:
        pass
