"""Checkpoints that a kill at any moment cannot damage."""

import glob
import os
from pathlib import Path
from typing import Any

import torch

from examples.cops.run.processes import rank


class Checkpoint:
    """A file that holds one stage's progress; written whole or not at all.

    Args:
        path: the file.
        every: iterations between two writes, at least; a long run writes less often.
        about: settings and classes, from which a reader rebuilds the network; plain values only.
        events: a folder for TensorBoard's event files; they are written if tensorboard is installed.
    """

    def __init__(
        self, path: Path, every: int = 50, about: dict[str, Any] | None = None, events: Path | None = None
    ) -> None:
        self.path, self.every, self.about, self.events = path, every, about or {}, events

    def beside(self, suffix: str) -> Path | None:
        """Where a file belongs that tells of the same stage, such as `stage1.log` next to `stage1.pt`."""
        return self.path.with_suffix(suffix)

    def save(self, **state: Any) -> None:
        """Write the state in place of the last one; the first process alone does.

        Raises:
            FloatingPointError: if weights in `network` are NaN or infinite; the last state then stays.
        """
        if rank() == 0:
            self._write(self.path, state)

    def save_best(self, iteration: int, **state: Any) -> None:
        """Keep the state as the best so far, in a file such as `stage2.best-000100.pt`; as `save`."""
        if rank() == 0:
            best = self.path.with_suffix(f".best-{iteration:06d}.pt")
            self._write(best, state)
            for older in self.path.parent.glob(f"{glob.escape(self.path.stem)}.best-*.pt"):
                if older != best:
                    older.unlink()

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        for name, value in state.get("network", {}).items():
            if not value.isfinite().all():
                raise FloatingPointError(f"{path}: not written, since {name} holds NaN or infinite values")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        with partial.open("wb") as file:
            torch.save({"about": self.about, **state}, file)
            file.flush()
            os.fsync(file.fileno())  # the content is on disk before the name is
        os.replace(partial, path)  # atomic: a kill leaves the old file or the new one

    def load(self) -> dict[str, Any] | None:
        """The state that was last saved; None if there is none.

        Raises:
            ValueError: naming the file, if it is damaged or holds more than plain values and tensors.
        """
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged pickle can raise anything
            raise ValueError(
                f"{self.path}: refused, or not a checkpoint: {type(error).__name__} {error}"
            ) from error
        if not isinstance(state, dict):
            raise ValueError(f"{self.path}: not a checkpoint, holds a {type(state).__name__}")
        return state
