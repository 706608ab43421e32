"""Blocks of a volume, and the way to run a task for each of them on dask."""

import importlib
import itertools
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from difflayers._files import replacing

Box = tuple[slice, ...]
Arrays = dict[str, np.ndarray]
Progress = Callable[[str, int, int], None]
Task = tuple[Callable[..., Arrays], tuple[Any, ...]]
# Tasks per worker that are given to dask at once. Results are stored and progress is reported in between.
_AHEAD = 4


class Piece(NamedTuple):
    """A box of an array of zarr, h5py or the like, which the task that needs it reads by itself."""

    array: Any
    box: Box

    def read(self) -> np.ndarray:
        """The values in the box."""
        return np.asarray(self.array[self.box])


class Readable:
    """An array of zarr, h5py or the like, whose boxes are read by the tasks."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __getitem__(self, box: Box) -> Piece:
        return Piece(self.array, box)


def sliceable(array: Any) -> Any:
    """An array whose boxes can be handed to tasks: of NumPy, of dask, or any other to be read there."""
    return array if isinstance(array, np.ndarray | dask_array().Array) else Readable(array)


def values_of(piece: Any) -> np.ndarray:
    """A box of an array of any kind, as a NumPy array."""
    return piece.read() if isinstance(piece, Piece) else np.asarray(piece)


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


def checksum(*arrays: np.ndarray) -> int:
    """A number that tells arrays of other values, types or shapes apart, most likely."""
    value = 0
    for array in arrays:
        value = zlib.crc32(f"{array.dtype.str} {array.shape}".encode(), value)
        value = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, value) if array.size else value
    return value


class Store:
    """Results of blocks in a folder, so that a run that was killed goes on where it was.

    Args:
        folder: where the results are; None keeps none.
        run: name of the file that holds the arguments.
        arguments: of the run. A folder is for runs of the same arguments only.

    Raises:
        ValueError: if the folder holds a run of other arguments.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, run: str, arguments: dict[str, Any]) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path, text = self.folder / f"{run}.json", json.dumps(arguments, indent=1)
        if not path.exists():
            with replacing(path) as new:
                new.write_text(text, encoding="utf-8")
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
            with replacing(path) as new:
                np.savez(new, **arrays)  # type: ignore[arg-type]  # its stub takes arrays for a flag

    def _path(self, step: str, number: int) -> Path | None:
        return None if self.folder is None else self.folder / f"{step}-{number:06}.npz"


def run(
    step: str,
    names: Sequence[str],
    task: Callable[[int], Task],
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
    results = {i: found for i in range(len(names)) if (found := store.load(step, i)) is not None}
    open_blocks = [i for i in range(len(names)) if i not in results]
    for round_of_results in _computed(open_blocks, names, task):
        for i, arrays in round_of_results:
            store.save(step, i, arrays)
            results[i] = arrays
        if progress is not None:
            progress(step, len(results), len(names))
    return [results[i] for i in range(len(names))]


def run_once(step: str, compute: Callable[[], Arrays], store: Store, progress: Progress | None) -> Arrays:
    """The result of a step that has no blocks, computed here unless it is stored."""
    found = store.load(step, 0)
    if found is None:
        found = compute()
        store.save(step, 0, found)
        if progress is not None:
            progress(step, 1, 1)
    return found


def _computed(
    numbers: Sequence[int], names: Sequence[str], task: Callable[[int], Task]
) -> Iterator[list[tuple[int, Arrays]]]:
    """Numbers and results of blocks, as they come."""
    dask_array()
    import dask

    def call(i: int) -> Any:
        function, arguments = task(i)
        return dask.delayed(_guarded, pure=False, traverse=False)(names[i], function, *arguments)

    client = _client()
    if client is not None:
        yield from _on_cluster(client, numbers, names, call)
        return
    size = _AHEAD * int(dask.config.get("num_workers", None) or os.cpu_count() or 1)
    for start in range(0, len(numbers), size):
        chosen = numbers[start : start + size]
        calls = [call(i) for i in chosen]
        try:
            results = dask.compute(*calls)
        except BlockError:
            raise
        except Exception:
            # An array of dask cannot be computed. One by one, to name the block.
            results = tuple(_named(names[i], call(i).compute) for i in chosen)
        yield list(zip(chosen, results, strict=True))


def _client() -> Any:
    """The `distributed.Client` that dask computes on, None if it computes by itself."""
    import dask

    distributed = sys.modules.get("distributed")
    wanted = dask.config.get("scheduler", "distributed")
    if distributed is None or wanted not in ("distributed", "dask.distributed"):
        return None
    try:
        return distributed.default_client()
    except ValueError:
        return None


def _on_cluster(
    client: Any, numbers: Sequence[int], names: Sequence[str], call: Callable[[int], Any]
) -> Iterator[list[tuple[int, Arrays]]]:
    """A new task is sent whenever one is done, so that no worker waits for the slowest of a round."""
    import distributed

    waiting = iter(numbers)
    ahead = _AHEAD * max(1, sum(client.nthreads().values()))
    number_of = {client.compute(call(i)): i for i in itertools.islice(waiting, ahead)}
    order = distributed.as_completed(number_of)
    for future in order:
        i = number_of.pop(future)
        yield [(i, _named(names[i], future.result))]
        for following in itertools.islice(waiting, 1):
            new = client.compute(call(following))
            number_of[new] = following
            order.add(new)


def _guarded(name: str, function: Callable[..., Arrays], *arguments: Any) -> Arrays:
    """The result of a task, whose arguments are read here."""
    return _named(name, lambda: function(*(a.read() if isinstance(a, Piece) else a for a in arguments)))


def _named(name: str, call: Callable[[], Any]) -> Any:
    """The result of a call; raises BlockError naming the block if it raises."""
    try:
        return call()
    except BlockError:
        raise
    except Exception as error:
        raise BlockError(f"{name}: {type(error).__name__}: {error}") from error
