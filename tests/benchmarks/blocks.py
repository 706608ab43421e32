"""Multicut of made volumes block by block: against the whole, against its rivals, and over workers.

    python -m tests.benchmarks.blocks [--voxels 4e6] [--block 64] [--cell 12] [--noise 0.3 2.5] [--only ...]
    python -m tests.benchmarks.blocks --workers 1 2 [--voxels 4e6] [--repeats 3]

The volume lies in files, as one in zarr would. Its supervoxels are warped bricks of about 12³ voxels. About a
hundred of them are an object. The boundary map shows the borders of the objects behind noise that is constant
in cubes of half a brick's side, so that it does not average out on a border. At noise 0.3 nearly every border
is seen right; at 2.5 many are wrong, and the multicut is hard.

The first form prints a row per method: the cost, how far it is above the bound of the blocks (a bound of the
whole problem), seconds elapsed and of processor time, and the most memory that all processes took together.
Each method runs in a process of its own. Those of bioimage-cpp and elf build the region graph, the features
and the costs by themselves; their costs are those of their segments in our problem.

- "blocks": `blockwise.multicut`, in one thread; "blocks, best" with that method.
- "whole": `graph.region_graph`, `boundary_features`, `multicut.solve`; "whole, best" with that method.
- "bioimage-cpp": the same by bioimage-cpp, greedy and Kernighan-Lin.
- "elf, blocks": elf's `blockwise_multicut`, if python-elf is installed, with the same blocks and halo.

Then it says how much of the processor time of "blocks" is spent in tasks and how much by the caller alone,
and what follows for more workers. Load does not touch these figures.

The second form runs `blockwise.multicut` on a `distributed.LocalCluster` and on dask's threads with each
number of workers, in turns, and prints medians.
"""

import argparse
import heapq
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from difflayers import multicut

OBJECT = 100
METHODS = ("blocks, bound", "blocks", "blocks, best", "whole", "whole, best", "bioimage-cpp", "elf, blocks")


class Stored:
    """A volume in a file, of which slices are read, as of a zarr array."""

    def __init__(self, path: Path, dtype: Any, shape: tuple[int, ...], block: int) -> None:
        self.path, self.dtype, self.shape, self.ndim = path, np.dtype(dtype), shape, len(shape)
        self.chunks = (block,) * len(shape)

    def __getitem__(self, box: Any) -> np.ndarray:
        return np.array(self._open("r")[box])

    def write(self, box: Any, values: np.ndarray) -> None:
        volume = self._open("r+" if self.path.exists() else "w+")
        volume[box] = values

    def _open(self, mode: Any) -> np.memmap:
        return np.memmap(self.path, self.dtype, mode, shape=self.shape)


def volumes(folder: Path, side: int, block: int) -> tuple[Stored, Stored]:
    """The label volume and the boundary map in a folder."""
    shape = (side,) * 3
    return Stored(folder / "labels", np.uint32, shape, block), Stored(
        folder / "map", np.float32, shape, block
    )


def make(folder: Path, side: int, block: int, noise: float, cell: int = 12) -> None:
    """Write the volume, slab by slab."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(0)
    cells = np.array([side // cell + 3] * 3)
    centres = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), axis=-1).reshape(-1, 3)
    seeds = rng.random((len(centres) // OBJECT + 2, 3)) * cells
    objects = cKDTree(seeds).query(centres)[1].astype(np.int32)
    lattice = rng.normal(size=(side // (cell // 2) + 2,) * 3).astype(np.float32)
    labels, boundary_map = volumes(folder, side, block)
    for start in range(0, side, block):
        stop = min(start + block, side)
        # One voxel more on each side, for the neighbours of the first and the last.
        grown = bricks(np.arange(start - 1, stop + 1), side, cells, cell)
        truth = objects[grown]
        border = np.zeros(truth.shape, bool)
        for axis in range(3):
            first, second = np.moveaxis(border, axis, 0)[:-1], np.moveaxis(border, axis, 0)[1:]
            differ = np.diff(np.moveaxis(truth, axis, 0), axis=0) != 0
            first |= differ
            second |= differ
        cubes = [np.arange(*ends) // (cell // 2) for ends in ((start, stop), (side,), (side,))]
        logits = np.where(border[1:-1, 1:-1, 1:-1], 1.0, -1.0) + noise * lattice[np.ix_(*cubes)]
        labels.write(slice(start, stop), grown[1:-1, 1:-1, 1:-1])
        boundary_map.write(slice(start, stop), 1 / (1 + np.exp(-2 * logits)))


def bricks(z: np.ndarray, side: int, cells: np.ndarray, cell: int) -> np.ndarray:
    """Number of the warped brick of every voxel of a slab, with a margin of one voxel."""
    # In units of bricks, beginning with 1, so that no number is negative.
    along = np.arange(-1, side + 1)
    z, y, x = np.ix_(*(1 + places.astype(np.float32) / cell for places in (z, along, along)))
    i = (z + np.sin(1.7 * y) / 4 + np.sin(1.1 * x) / 6).astype(np.int32)
    j = (y + np.sin(1.5 * x) / 4 + 0.5 * (i % 2)).astype(np.int32)
    k = (x + np.sin(2 * z) / 6 + 0.25 * (i % 2) + 0.5 * (j % 2)).astype(np.int32)
    return (i * cells[1] + j) * cells[2] + k


def blocks(
    folder: Path, side: int, block: int, method: str = "default", bound: bool = False
) -> dict[str, Any]:
    """Block by block in one thread, with the processor time of every task."""
    import dask

    from difflayers import blockwise
    from difflayers.blockwise import blocks as module

    tasks: dict[str, list[float]] = {}
    guarded = module._guarded

    def measured(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        start = time.process_time()
        result = guarded(name, function, *arguments)
        tasks.setdefault(function.__name__, []).append(time.process_time() - start)
        return result

    module._guarded = measured
    try:
        with dask.config.set(scheduler="synchronous"):
            start = time.process_time()
            stored = volumes(folder, side, block)
            found = blockwise.multicut(*stored, (block,) * 3, method=method, bound=bound)
            took = time.process_time() - start
    finally:
        module._guarded = guarded
    np.savez(folder / "problem", edges=found.problem.edges, costs=found.problem.edge_costs)
    return {
        "segments": found.solution.segments,
        "bound": found.solution.lower_bound,
        "total": took,
        "tasks": tasks,
    }


def whole(folder: Path, side: int, block: int, method: str = "default") -> dict[str, Any]:
    """The whole volume at once."""
    from difflayers import graph

    labels, boundary_map = (stored[:] for stored in volumes(folder, side, block))
    regions = graph.region_graph(labels)
    features = graph.boundary_features(regions, boundary_map)
    costs = graph.edge_costs(features.mean, sizes=features.count)
    problem = multicut.Multicut(regions.num_nodes, regions.edges, costs)
    return {"segments": multicut.solve(problem, method).segments}


def bioimage_cpp(folder: Path, side: int, block: int, solver: Any = None) -> dict[str, Any]:
    """The whole volume by bioimage-cpp, or its graph for another solver of (graph, costs, labels)."""
    import bioimage_cpp.graph as theirs
    from bioimage_cpp.graph.multicut import (
        ChainedMulticutSolvers,
        GreedyAdditiveMulticut,
        KernighanLinMulticut,
        MulticutObjective,
    )

    labels, boundary_map = (stored[:] for stored in volumes(folder, side, block))
    labels = np.unique(labels, return_inverse=True)[1]  # their nodes are the labels from 0 on
    labels = labels.reshape((side,) * 3).astype(np.uint32)
    rag = theirs.region_adjacency_graph(labels, number_of_threads=1)
    features = theirs.features.edge_map_features(rag, labels, boundary_map, number_of_threads=1)
    means, sizes = np.clip(features[:, 0], 1e-6, 1 - 1e-6), features[:, -1]
    costs = np.log((1 - means) / means) * sizes / sizes.max()
    if solver is not None:
        return {"segments": np.asarray(solver(rag, costs, labels))}
    chained = ChainedMulticutSolvers([GreedyAdditiveMulticut(), KernighanLinMulticut()])
    return {"segments": np.asarray(chained.optimize(MulticutObjective(rag, costs)))}


def elf_blocks(folder: Path, side: int, block: int) -> dict[str, Any]:
    """Block by block by elf."""
    from elf.segmentation.multicut import blockwise_multicut

    halo = [-(-block // 8)] * 3
    return bioimage_cpp(
        folder,
        side,
        block,
        lambda rag, costs, labels: blockwise_multicut(
            rag, costs, labels, "kernighan-lin", [block] * 3, n_threads=1, halo=halo
        ),
    )


CALLS: dict[str, Callable[[Path, int, int], dict[str, Any]]] = {
    "blocks, bound": lambda *arguments: blocks(*arguments, bound=True),
    "blocks": blocks,
    "blocks, best": lambda *arguments: blocks(*arguments, method="best"),
    "whole": whole,
    "whole, best": lambda *arguments: whole(*arguments, method="best"),
    "bioimage-cpp": bioimage_cpp,
    "elf, blocks": elf_blocks,
}


def on_workers(folder: Path, side: int, block: int, scheduler: str, workers: int) -> float:
    """Seconds of `blockwise.multicut` with so many workers."""
    import dask
    import distributed

    from difflayers import blockwise

    settings: Any = nullcontext()
    if scheduler == "threads":
        settings = dask.config.set(scheduler="threads", num_workers=workers)
    with settings, cluster(distributed, workers) if scheduler == "LocalCluster" else nullcontext():
        small = np.arange(4**3).reshape(4, 4, 4).repeat(8, 0).astype(np.uint32)
        blockwise.multicut(small, np.zeros(small.shape), (1, 4, 4))  # compiles, in every worker
        start = time.monotonic()
        blockwise.multicut(*volumes(folder, side, block), (block,) * 3)
        return time.monotonic() - start


@contextmanager
def cluster(distributed: Any, workers: int) -> Iterator[None]:
    """A cluster of so many processes."""
    options = {"threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(n_workers=workers, **options) as made, distributed.Client(made):
        yield


def run_one(arguments: argparse.Namespace) -> None:
    """Run one method in this process, and print what it took as JSON."""
    folder, side, block = Path(arguments.folder), arguments.side, arguments.block
    if arguments.one in ("LocalCluster", "threads"):
        print(json.dumps({"elapsed": on_workers(folder, side, block, arguments.one, arguments.workers[0])}))
        return
    made_small = folder / "small"
    made_small.mkdir(exist_ok=True)
    make(made_small, 24, 24, 1.0, 6)
    CALLS[arguments.one](made_small, 24, 24)  # compiles
    start, begin = time.monotonic(), time.process_time()
    found = CALLS[arguments.one](folder, side, block)
    took = {"elapsed": time.monotonic() - start, "processor": time.process_time() - begin}
    np.save(folder / "segments.npy", found.pop("segments"))
    print(json.dumps({**found, **took}))


def in_process(arguments: list[str]) -> tuple[dict[str, Any] | None, int]:
    """What a method takes in a process of its own, and the most memory in bytes of it and its children."""
    import psutil

    command = [sys.executable, "-m", "tests.benchmarks.blocks", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    most, done = [0], threading.Event()

    def watch() -> None:
        tree = psutil.Process(process.pid)
        while not done.wait(0.05):
            total = 0
            try:
                for member in [tree, *tree.children(recursive=True)]:
                    total += member.memory_info().rss
            except psutil.Error:
                continue
            most[0] = max(most[0], total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    done.set()
    watcher.join()
    return (None if process.returncode else json.loads(output.splitlines()[-1])), most[0]


def compare(folder: Path, side: int, block: int, noise: float, names: list[str]) -> None:
    """Print a row per method."""
    given = ["--folder", str(folder), "--side", str(side), "--block", str(block)]
    bound, split = -np.inf, None
    print(f"\n{side}³ = {side**3:,} voxels, blocks of {block}³, noise {noise}, load {os.getloadavg()[0]:.1f}")
    for name in names:
        took, memory = in_process(["--one", name, *given])
        if took is None:
            print(f"{name:<14} failed")
            continue
        with np.load(folder / "problem.npz") as problem:
            edges, costs = problem["edges"], problem["costs"]
        if name == "blocks":
            split = took
        if name == "blocks, bound":
            bound = took["bound"]
            print(f"{edges.max() + 1:,} regions, {len(edges):,} edges, bound {bound:.6g}", end="")
            if "whole" in names:
                whole_bound = multicut.lower_bound(multicut.Multicut(int(edges.max()) + 1, edges, costs))
                print(f", that of the whole {whole_bound:.6g}", end="")
            print()
            print(f"{'':<14} {'cost':>14} {'above bound':>12} {'elapsed':>9} {'processor':>9} {'memory':>9}")
        segments = np.load(folder / "segments.npy")
        cost = costs[segments[edges[:, 0]] != segments[edges[:, 1]]].sum()
        gap = f"{100 * (cost - bound) / abs(bound):.4f} %"
        times = f"{took['elapsed']:>7.1f} s {took['processor']:>7.1f} s"
        print(f"{name:<14} {cost:>14.6g} {gap:>12} {times} {memory / 2**20:>5.0f} MiB", flush=True)
    if split is not None:
        tell(split)


def tell(split: dict[str, Any]) -> None:
    """Print how much of the work is done in tasks, and what follows for more workers."""
    for name, seconds in split["tasks"].items():
        share = sum(seconds) / split["total"]
        print(f"{name}: {len(seconds)} tasks, {sum(seconds):.1f} s of processor time, {share:.0%}")
    alone = split["total"] - sum(map(sum, split["tasks"].values()))
    print(f"caller alone: {alone:.1f} s, {alone / split['total']:.0%}")
    expected = {
        n: alone + sum(makespan(step, n) for step in split["tasks"].values()) for n in (1, 2, 4, 8, 16)
    }
    ratios = ", ".join(f"{expected[1] / seconds:.2f} on {n}" for n, seconds in expected.items())
    print(f"so many times as fast, if every task goes to the first free worker: {ratios}")


def makespan(seconds: list[float], workers: int) -> float:
    """When the last of these tasks ends, if each goes to the worker that is free first."""
    free = [0.0] * workers
    for task in seconds:
        heapq.heapreplace(free, free[0] + task)
    return max(free)


def scale(folder: Path, side: int, block: int, workers: list[int], repeats: int) -> None:
    """Print medians of elapsed seconds over workers, measured in turns."""
    given = ["--folder", str(folder), "--side", str(side), "--block", str(block)]
    print(f"\n{side}³ = {side**3:,} voxels, blocks of {block}³, load {os.getloadavg()[0]:.1f}")
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(repeats):
        for scheduler in ("LocalCluster", "threads"):
            for number in workers:
                took, _ = in_process(["--one", scheduler, "--workers", str(number), *given])
                if took is not None:
                    found.setdefault((scheduler, number), []).append(took["elapsed"])
    for (scheduler, number), seconds in found.items():
        median = statistics.median(seconds)
        times = statistics.median(found[scheduler, workers[0]]) / median
        print(f"{scheduler:<13} {number} workers: {median:>6.1f} s, {times:.2f} times as fast", end="")
        print(f" ({min(seconds):.1f} to {max(seconds):.1f} s; load {os.getloadavg()[0]:.1f})", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--voxels", type=float, default=4e6)
    parser.add_argument("--block", type=int, default=64)
    parser.add_argument("--cell", type=int, default=12, help="side of a supervoxel")
    parser.add_argument("--noise", type=float, nargs="+", default=[0.3, 2.5])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--workers", type=int, nargs="+")
    parser.add_argument("--repeats", type=int, default=3)
    for name, kind in (("--one", str), ("--folder", str), ("--side", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        run_one(arguments)
        return
    side = round(arguments.voxels ** (1 / 3))
    for noise in arguments.noise:
        folder = Path(tempfile.mkdtemp(dir=arguments.folder))
        try:
            make(folder, side, arguments.block, noise, arguments.cell)
            if arguments.workers:
                scale(folder, side, arguments.block, arguments.workers, arguments.repeats)
            else:
                compare(folder, side, arguments.block, noise, arguments.only)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
