"""What a phase of training tells while it runs: a log with the time left, metrics, TensorBoard's events."""

import json
import math
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from examples.cops.run.checkpoint import Checkpoint
from examples.cops.run.processes import rank

Entry = dict[str, float]
LOG_SECONDS = 30.0  # between two lines of the log, at least
WINDOW = 20  # iterations that a bar and a line of the log take the mean of


class Progress:
    """Reports of one phase. Next to the checkpoint `stage1.pt` lie `stage1.log` and `stage1.metrics.jsonl`.

    Each line of the metrics is a JSON object with `stage`, `iteration` and the figures of that iteration, or
    with `held_out`, the qualities of an evaluation after it. A resumed run drops the lines of iterations that
    it repeats. The first process alone writes.

    Args:
        stage: its number.
        iterations: of the whole phase.
        log: the entries of the iterations that are done already.
        checkpoint: of the phase.
        bars: whether to show a bar.
    """

    def __init__(
        self, stage: int, iterations: int, log: list[Entry], checkpoint: Checkpoint, bars: bool
    ) -> None:
        self.stage, self.total, self.log, self.bars = stage, iterations, log, bars
        self.done_before, self.started, self.said = len(log), time.monotonic(), -math.inf
        writes = rank() == 0
        self.metrics = checkpoint.beside(".metrics.jsonl") if writes else None
        self.text = checkpoint.beside(".log") if writes else None
        self.events = _event_writer(checkpoint.events, len(log)) if writes else None
        if self.metrics is not None:
            _keep_until(self.metrics, len(log))

    def iterations(self) -> Iterator[int]:
        """The iterations that are left; at the end of each, `report` is to be called."""
        left = range(self.done_before, self.total)
        with tqdm(
            left,
            f"stage {self.stage}",
            self.total,
            initial=self.done_before,
            disable=not self.bars,
            mininterval=2,
        ) as bar:
            for iteration in bar:
                yield iteration
                bar.set_postfix({name: f"{value:.3f}" for name, value in self._recent().items()})
        if self.events is not None:
            self.events.close()

    def report(self, entry: Entry) -> None:
        """Tell of an iteration, whose entry is the last of the log."""
        self._write(entry)
        if self.events is not None:
            for name, value in figures_of(entry).items():
                self.events.add_scalar(f"stage {self.stage}/{name}", value, int(entry["iteration"]))
        done = int(entry["iteration"]) + 1
        if time.monotonic() - self.said >= LOG_SECONDS or done == self.total:
            self._say(done, ", ".join(f"{name} {value:.3f}" for name, value in self._recent().items()))

    def report_held_out(self, iteration: int, qualities: Entry) -> None:
        """Tell of an evaluation on held-out images after an iteration."""
        self._write({"stage": self.stage, "iteration": iteration, "held_out": qualities})
        if self.events is not None:
            for name, value in qualities.items():
                self.events.add_scalar(f"stage {self.stage}/held-out {name}", value, iteration)
        self._say(
            iteration + 1, "held-out images: " + ", ".join(f"{n} {100 * v:.1f}" for n, v in qualities.items())
        )

    def _recent(self) -> Entry:
        recent = [figures_of(entry) for entry in self.log[-WINDOW:]]
        return {name: float(np.mean([entry[name] for entry in recent])) for name in (recent or [{}])[-1]}

    def _write(self, line: dict[str, Any]) -> None:
        if self.metrics is not None:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(without_nan(line), allow_nan=False) + "\n")

    def _say(self, done: int, what: str) -> None:
        self.said = time.monotonic()
        if self.text is None:
            return
        each = (self.said - self.started) / max(1, done - self.done_before)
        left = timedelta(seconds=round(each * (self.total - done)))
        where = f"{datetime.now():%Y-%m-%d %H:%M:%S} stage {self.stage}, iteration {done} of {self.total}"
        with self.text.open("a", encoding="utf-8") as file:
            file.write(f"{where}: {what}; {each:.2f} s per iteration, {left} left\n")


def figures_of(entry: Entry) -> Entry:
    """An entry of the log without what says where it belongs."""
    return {name: value for name, value in entry.items() if name not in ("stage", "iteration")}


def without_nan(value: Any) -> Any:
    """The value with None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {name: without_nan(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _keep_until(path: Path, done: int) -> None:
    """Drop the lines of iterations that will be done again, and a line that a kill cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            if json.loads(line)["iteration"] < done:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    path.write_text("".join(kept), encoding="utf-8")


def _event_writer(folder: Path | None, done: int) -> Any:
    """A writer of TensorBoard's event files, which drops what a killed run wrote too much; or None."""
    if folder is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # tensorboard is optional
        return None
    return SummaryWriter(str(folder), purge_step=done)
