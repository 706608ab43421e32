"""Multicut of a volume by blocks: region graph and features, then the problem by parts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from difflayers._arguments import counts
from difflayers.amwc import Solution
from difflayers.blockwise.blocks import Arrays, Box, Progress, Store, boxes, dask_array, grown, name_of, run
from difflayers.blockwise.parts import solve_parts
from difflayers.graph.contacts import contacts, meeting_pairs, scans, unit_offsets
from difflayers.graph.costs import edge_costs
from difflayers.graph.features import statistics
from difflayers.graph.regions import checked_background, first_edges, numbered_labels
from difflayers.multicut import Multicut


@dataclass(frozen=True, eq=False)
class VolumeSolution:
    """Segments of the regions of a volume, and the problem that they solve.

    Args:
        labels: (n,) the label of every node, ascending.
        sizes: (n,) int64, number of voxels of every node.
        boundary_sizes: (m,) int64, number of pairs of voxels on the boundary of every edge.
        boundary_means: (m,) float64, mean of the boundary map there.
        problem: the multicut of all regions.
        solution: its solution, with cost and lower bound.

    Examples:
        >>> labels = np.arange(4).repeat(8)[:, None] * np.ones((1, 32), int)
        >>> found = multicut(labels, np.zeros(labels.shape), (16, 16))
        >>> found.labels.tolist(), found.sizes.tolist(), found.to_voxels(labels).compute().max()
        ([0, 1, 2, 3], [256, 256, 256, 256], np.uint32(1))
    """

    labels: np.ndarray
    sizes: np.ndarray
    boundary_sizes: np.ndarray
    boundary_means: np.ndarray
    problem: Multicut
    solution: Solution

    def to_voxels(self, labels: Any, background: int = 0) -> Any:
        """The segments of a label volume, block by block when they are asked for.

        Args:
            labels: the label volume, in any form that `difflayers.blockwise.multicut` takes.
            background: what a label that is no region becomes.

        Returns:
            dask array of uint32 of the same shape: the segments, numbered from 1.
        """
        arrays = dask_array()
        volume = labels if isinstance(labels, arrays.Array) else arrays.from_array(labels)
        settings = {"known": self.labels, "segments": self.solution.segments, "background": background}
        return arrays.map_blocks(_segments, volume, dtype=np.uint32, **settings)


def multicut(
    labels: Any,
    boundary_map: Any,
    block_shape: Sequence[int],
    *,
    halo: Sequence[int] | None = None,
    bias: float = 0.5,
    background: int | None = None,
    method: str = "default",
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> VolumeSolution:
    """Segment a volume by multicut of its regions, block by block, in parallel on dask's scheduler.

    Three steps. "regions": every block finds which regions touch, and the mean of the boundary map between
    them. "parts": for each block, the multicut of all regions that lie in it or in its halo is solved. Last,
    what the blocks agree on becomes one, the problem that is left is solved, and the solution is improved on
    the graph of all regions, see `difflayers.blockwise.solve`. The edge costs are those of
    `difflayers.graph.edge_costs(means, bias, sizes=boundary sizes)`.

    A block is in memory only while it is looked at. The graph of all regions must fit in the memory of the
    process that calls this.

    Args:
        labels: integers of any dimension, one label per region in the whole volume: a dask array, a NumPy
            array, or what `dask.array.from_array` takes, such as arrays of zarr and h5py.
        boundary_map: float in [0, 1] of the same shape, in any of these forms.
        block_shape: size of the blocks along each axis.
        halo: how many voxels further, along each axis, the regions lie that belong to the problem of a
            block; None takes an eighth of the block.
        bias: more than 0.5 gives more segments.
        background: label that is no region; None if there is none.
        method: "fast", "default" or "best", see `difflayers.multicut.solve`.
        folder: where the results of blocks are kept, so that a run that was killed goes on there; None keeps
            none. A folder is for one volume and one choice of arguments.
        progress: is called as `progress(step, done, total)` after every few blocks.

    Returns:
        The solution, and the problem with its features. The lower bound is one of the whole problem.

    Raises:
        TypeError, ValueError: if an argument is not as described above, or the folder holds another run.
        BlockError: if a block fails; the message names it and where it lies.

    Examples:
        >>> labels = np.arange(4).repeat(8)[:, None] * np.ones((1, 32), int)
        >>> found = multicut(labels, np.zeros(labels.shape), (16, 16))
        >>> found.problem.num_nodes, found.solution.segments.tolist()
        (4, [0, 0, 0, 0])
    """
    shape = tuple(labels.shape)
    block = counts("block_shape", block_shape, f"{len(shape)} positive integers, one per axis", len(shape))
    if tuple(boundary_map.shape) != shape:
        raise ValueError(f"boundary_map must have shape {shape}, got {tuple(boundary_map.shape)}")
    if np.dtype(labels.dtype).kind not in "iu":
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    margin = _checked_halo(halo, block)
    edge_costs(np.empty(0), bias)  # says now what is wrong with the bias
    ignored = None if background is None else checked_background(background)
    store = Store(
        folder,
        {
            "shape": shape,
            "block_shape": block,
            "halo": margin,
            "bias": float(bias),
            "background": ignored,
            "method": method,
        },
    )
    own = boxes(shape, block)
    names = [name_of(i, box) for i, box in enumerate(own)]
    volume, maps = _sliceable(labels, block), _sliceable(boundary_map, block)

    def task(i: int) -> tuple[object, tuple[object, ...]]:
        # One voxel further at least, for the pairs of voxels between this block and the next ones.
        box = grown(own[i], margin, [max(1, h) for h in margin], shape)
        inner = tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(own[i], box, strict=True))
        return _block_regions, (volume[box], maps[box], inner, margin, ignored)

    parts = run("regions", names, task, store, progress)  # type: ignore[arg-type]
    known, sizes, edges, totals, boundary_sizes = _all_regions(parts)
    means = totals / boundary_sizes
    problem = Multicut(len(known), edges, edge_costs(np.clip(means, 0, 1), bias, boundary_sizes))
    nodes = [np.searchsorted(known, part["near"]) for part in parts]
    solution = solve_parts(problem, nodes, names, method, store, progress)
    return VolumeSolution(known, sizes, boundary_sizes, means, problem, solution)


def _checked_halo(halo: Sequence[int] | None, block: tuple[int, ...]) -> tuple[int, ...]:
    if halo is None:
        return tuple(-(-size // 8) for size in block)
    expected = f"{len(block)} integers of at least 0, one per axis"
    try:
        return tuple(h - 1 for h in counts("halo", [h + 1 for h in halo], expected, len(block)))
    except (TypeError, ValueError):
        raise ValueError(f"halo must be {expected}, got {halo!r}") from None


def _sliceable(array: Any, block: tuple[int, ...]) -> Any:
    """The array itself if slices of it can be handed to tasks, or a dask array of it."""
    arrays = dask_array()
    if isinstance(array, np.ndarray | arrays.Array):
        return array
    return arrays.from_array(array, chunks=getattr(array, "chunks", None) or block)


def _block_regions(
    labels: np.ndarray, boundary_map: np.ndarray, inner: Box, halo: tuple[int, ...], background: int | None
) -> Arrays:
    """Regions near a block, and its edges between labels with the sums and numbers of their values.

    A block has the pairs of voxels of which the first one lies in it (`inner`).
    """
    known, _, nodes = numbered_labels(labels, background)
    seen = np.zeros(len(known) + 1, bool)  # the last place is that of the background, -1
    seen[nodes[grown(inner, halo, halo, nodes.shape)]] = True
    own = nodes[inner]
    found, along = [], []
    for step in unit_offsets(nodes.ndim):
        crop = grown(inner, [0] * nodes.ndim, step.tolist(), nodes.shape)
        voxels = np.ascontiguousarray(nodes[crop])
        along.append((voxels.ravel(), boundary_map[crop].ravel(), scans(voxels.shape, step[None])[0]))
    edges = np.unique(np.concatenate([meeting_pairs(voxels, [scan])[0] for voxels, _, scan in along]), axis=0)
    firsts = first_edges(edges, len(known))
    for voxels, values, scan in along:
        edge, first = contacts(voxels, scan, edges, firsts)
        found.append((edge, (values[first].astype(np.float64) + values[first + scan[2]]) / 2))
    features = statistics("boundary_map", found, len(edges), ())
    outside = (features.min < 0) | (features.max > 1)
    if outside.any():
        raise ValueError(f"boundary_map must lie in [0, 1], got {features.min.min()} to {features.max.max()}")
    return {
        "labels": known,
        "sizes": np.bincount(own[own >= 0], minlength=len(known)),
        "near": known[seen[:-1]],
        "edges": known[edges],
        "totals": features.mean * features.count,
        "counts": features.count,
    }


def _all_regions(
    parts: list[Arrays],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels (n,) and sizes of all regions, and edges (m, 2) with the sums and numbers of their values."""
    known = np.unique(np.concatenate([part["labels"] for part in parts]))
    sizes = np.zeros(len(known), np.int64)
    for part in parts:
        sizes[np.searchsorted(known, part["labels"])] += part["sizes"]
    if len(known) == 0:
        raise ValueError("labels must have a region at least, but all of them are background")
    edges = np.searchsorted(known, np.concatenate([part["edges"] for part in parts]))
    keys, places = np.unique(edges[:, 0] * len(known) + edges[:, 1], return_inverse=True)
    totals = np.bincount(places, np.concatenate([part["totals"] for part in parts]), len(keys))
    numbers = np.bincount(places, np.concatenate([part["counts"] for part in parts]), len(keys))
    return known, sizes, np.stack(np.divmod(keys, len(known)), axis=1), totals, numbers.astype(np.int64)


def _segments(labels: np.ndarray, known: np.ndarray, segments: np.ndarray, background: int) -> np.ndarray:
    place = np.minimum(np.searchsorted(known, labels), len(known) - 1)
    return np.where(known[place] == labels, segments[place] + 1, background).astype(np.uint32)
