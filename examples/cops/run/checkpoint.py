"""Checkpoints that a kill at any moment cannot damage."""

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
        about: what a reader of the file needs to rebuild the network; plain values only.
        events: a folder for TensorBoard's event files; None, or a Python without tensorboard, writes none.
    """

    def __init__(
        self, path: Path, every: int = 50, about: dict[str, Any] | None = None, events: Path | None = None
    ) -> None:
        self.path, self.every, self.about, self.events = path, every, about or {}, events

    def save(self, **state: Any) -> None:
        """Write the state; the first process alone does."""
        if rank() > 0:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        with partial.open("wb") as file:
            torch.save({"about": self.about, **state}, file)
            file.flush()
            os.fsync(file.fileno())  # the content is on disk before the name is
        os.replace(partial, self.path)  # atomic: a kill leaves the old file or the new one

    def load(self) -> dict[str, Any] | None:
        """The state that was last saved; None where there is none.

        Raises ValueError naming the file where it is damaged, or holds more than plain values and tensors.
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
