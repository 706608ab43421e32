"""Blocks of a volume, and the way to run a task for each of them on dask."""

import importlib
import itertools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

Box = tuple[slice, ...]
Arrays = dict[str, np.ndarray]
Progress = Callable[[str, int, int], None]
# Tasks that are given to dask at once. Between two rounds results are stored and progress is reported.
_ROUND = 16


class BlockError(RuntimeError):
    """What went wrong in a block; the message names the block, the cause is the error itself.

    Examples:
        >>> raise BlockError("block (0, 1): ValueError: costs have a NaN")
        Traceback (most recent call last):
            ...
        difflayers.blockwise.blocks.BlockError: block (0, 1): ValueError: costs have a NaN
    """


def dask_array() -> ModuleType:
    """The module `dask.array`; raises ImportError saying what to install if it is not there."""
    try:
        return importlib.import_module("dask.array")
    except ImportError as error:
        raise ImportError("blockwise needs dask: pip install 'torch-difflayers[volumes]'") from error


def boxes(shape: tuple[int, ...], block_shape: tuple[int, ...]) -> list[Box]:
    """The boxes of all blocks in row-major order; the last ones along an axis may be smaller."""
    axes = [
        [slice(start, min(start + step, size)) for start in range(0, size, step)]
        for size, step in zip(shape, block_shape, strict=True)
    ]
    return list(itertools.product(*axes))


def grown(box: Box, before: Sequence[int], after: Sequence[int], shape: tuple[int, ...]) -> Box:
    """A box with more voxels on both sides of each axis, as far as the volume reaches."""
    return tuple(
        slice(max(0, s.start - b), min(n, s.stop + a))
        for s, b, a, n in zip(box, before, after, shape, strict=True)
    )


def name_of(number: int, box: Box) -> str:
    """What messages call a block."""
    return f"block {number} ({', '.join(f'{s.start}:{s.stop}' for s in box)})"


class Store:
    """Results of blocks in a folder, so that a run that was killed goes on where it was.

    Args:
        folder: where the results are; None keeps none.
        arguments: of the run. A folder is for runs of the same arguments only.

    Raises:
        ValueError: if the folder holds a run of other arguments.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, arguments: dict[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path, text = self.folder / "run.json", json.dumps(arguments, indent=1)
        if not path.exists():
            path.write_text(text, encoding="utf-8")
        stored, wanted = json.loads(path.read_text(encoding="utf-8")), json.loads(text)
        for name in wanted:
            if stored.get(name) != wanted[name]:
                raise ValueError(
                    f"folder {str(self.folder)!r} holds a run with {name}={stored.get(name)}, "
                    f"not {wanted[name]}: take another folder, or remove it"
                )

    def load(self, step: str, number: int) -> Arrays | None:
        """The result of a step for a block, None if there is none."""
        path = self._path(step, number)
        if path is None or not path.exists():
            return None
        with np.load(path) as arrays:
            return dict(arrays)

    def save(self, step: str, number: int, arrays: Arrays) -> None:
        """Keep the result of a step for a block; a run that is killed meanwhile leaves no half of a file."""
        path = self._path(step, number)
        if path is not None:
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, **arrays)  # type: ignore[arg-type]  # its stub takes arrays for a flag
            partial.replace(path)

    def _path(self, step: str, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"{step}-{number:06}.npz"


def run(
    step: str,
    names: Sequence[str],
    task: Callable[[int], tuple[Callable[..., Arrays], tuple[Any, ...]]],
    store: Store,
    progress: Progress | None,
) -> list[Arrays]:
    """Results of a step for every block, computed on dask's scheduler unless they are stored.

    Args:
        step: name of the step.
        names: what messages call the blocks.
        task: function and arguments for a block, by its number. Arguments that are dask arrays come as
            NumPy arrays to the function.
        store: where results are kept.
        progress: is called with the step, the number of blocks that are done, and that of all blocks.

    Raises:
        BlockError: if a function raises; it names the block.
    """
    dask_array()
    import dask

    results = {i: found for i in range(len(names)) if (found := store.load(step, i)) is not None}
    open_blocks = [i for i in range(len(names)) if i not in results]
    for start in range(0, len(open_blocks), _ROUND):
        numbers = open_blocks[start : start + _ROUND]
        calls = []
        for i in numbers:
            function, arguments = task(i)
            calls.append(dask.delayed(_guarded, pure=False, traverse=False)(names[i], function, *arguments))
        for i, arrays in zip(numbers, dask.compute(*calls), strict=True):
            store.save(step, i, arrays)
            results[i] = arrays
        if progress is not None:
            progress(step, len(results), len(names))
    return [results[i] for i in range(len(names))]


def _guarded(name: str, function: Callable[..., Arrays], *arguments: Any) -> Arrays:
    try:
        return function(*arguments)
    except Exception as error:
        raise BlockError(f"{name}: {type(error).__name__}: {error}") from error
