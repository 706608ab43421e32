"""One training of the arena, and the protocol: which trainings there are, and how settings are chosen."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from examples.arena.field import Part, field, model, parts
from examples.arena.methods import METHODS, Surroundings


@dataclass(frozen=True)
class Job:
    """A training: everything that its result depends on."""

    task: str
    method: str
    setting: float
    rate: float  # the learning rate of Adam
    seed: int
    epochs: int
    batch: int = 32


@dataclass(frozen=True)
class Result:
    """What a training gave: normalized regrets, and the processor time of an epoch without evaluation."""

    job: Job
    validation: float
    test: float
    seconds_per_epoch: float

    def line(self) -> str:
        """Return the result as a line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @staticmethod
    def parse(line: str) -> "Result":
        """Return what `line` made a line of."""
        values = json.loads(line)
        return Result(Job(**values.pop("job")), **values)


def run(job: Job, energy: str | None = None) -> Result:
    """Train a model by one method from the first weights of its seed, and measure the last model."""
    torch.set_num_threads(1)
    training, validation, test = parts(job.task, job.seed, energy)
    size = float(training.truth.parameters.std())
    loss = METHODS[job.method].make(Surroundings(training.task, size, job.seed), job.setting)
    torch.manual_seed(job.seed)
    network = model(training)
    optimizer = torch.optim.Adam(network.parameters(), job.rate)
    began = time.process_time()
    for _ in range(job.epochs):
        for rows in torch.randperm(len(training.features)).split(job.batch):
            features, truth = training.batch(rows)
            optimizer.zero_grad()
            loss(network(features), truth).backward()
            optimizer.step()
    seconds = (time.process_time() - began) / job.epochs
    return Result(job, regret(network, validation), regret(network, test), seconds)


@torch.no_grad()
def regret(network: nn.Module, part: Part) -> float:
    """Return the normalized regret of a model on part of a task."""
    return part.task.normalized_regret(network(part.features).numpy().astype(np.float64))


@dataclass(frozen=True)
class Protocol:
    """Settings and learning rates are tuned on the validation data of seed 0; other seeds take the best.

    Seed 0 tunes and counts too: its test data play no part in the choice.
    """

    tasks: Sequence[str]
    methods: Sequence[str]
    seeds: int = 5
    epochs: int = 20
    rates: tuple[float, ...] = (0.01, 0.1)
    energy: str | None = None  # the file of the task "energy"

    def tuning(self) -> Iterator[Job]:
        """Return the trainings that tune."""
        for task in self.tasks:
            for method in self.methods:
                if self.fits(task, method):
                    for setting in METHODS[method].settings:
                        for rate in self.rates:
                            yield Job(task, method, setting, rate, 0, self.epochs)

    def fits(self, task: str, method: str) -> bool:
        """Whether a method can train on a task."""
        if not field(task, self.energy).costs:
            return METHODS[method].anywhere
        if METHODS[method].decisions == "any":
            return True
        decisions = parts(task, 0, self.energy)[0].truth.decisions
        return bool(((decisions == 0) | (decisions == 1)).all())

    def chosen(self, results: Iterable[Result]) -> dict[tuple[str, str], Job]:
        """Return the tuned training with the least regret on validation data, per task and method."""
        wanted = set(self.tuning())
        best: dict[tuple[str, str], Result] = {}
        for result in results:
            job = result.job
            if job in wanted:
                key = job.task, job.method
                if key not in best or (result.validation, job.rate) < (
                    best[key].validation,
                    best[key].job.rate,
                ):
                    best[key] = result
        return {key: result.job for key, result in best.items()}

    def testing(self, results: Iterable[Result]) -> Iterator[Job]:
        """Return the trainings that count: the chosen ones with every seed."""
        for job in self.chosen(results).values():
            for seed in range(self.seeds):
                yield replace(job, seed=seed)


class Record:
    """The results so far, in a file of JSON lines: what is there is not run again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.results: dict[Job, Result] = {}
        if path.exists():
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):  # the last line of a killed run may be cut
                    result = Result.parse(line)
                    self.results[result.job] = result
            path.write_text("".join(result.line() + "\n" for result in self.results.values()))

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """Return those jobs that have no result yet, each once."""
        return [job for job in dict.fromkeys(jobs) if job not in self.results]

    def add(self, result: Result) -> None:
        """Take in a result, and write it down."""
        self.results[result.job] = result
        with self.path.open("a") as file:
            file.write(result.line() + "\n")
