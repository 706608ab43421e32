"""Region graphs of volumes by blocks: who touches whom, and what the maps say of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from difflayers._arguments import counts
from difflayers.blockwise.blocks import (
    Arrays,
    Box,
    Progress,
    Store,
    Task,
    boxes,
    checksum,
    dask_array,
    grown,
    name_of,
    run,
    sliceable,
    values_of,
)
from difflayers.graph.contacts import contacts, meeting_pairs, scans, unit_offsets
from difflayers.graph.edges import Offsets, checked_offsets
from difflayers.graph.features import statistics
from difflayers.graph.regions import checked_background, first_edges, numbered_labels


@dataclass(frozen=True, eq=False)
class VolumeRegions:
    """The regions of a volume as nodes, an edge between every two that touch, and what a map says of them.

    Args:
        labels: (n,) the label of every node, ascending.
        sizes: (n,) int64, number of voxels of every node.
        edges: (m, 2) int64, pairs of nodes that touch, sorted, the lesser node first.
        boundary_sizes: (m,) int64, number of values of every edge: pairs of neighbouring voxels on the
            boundary, or pairs of voxels that an offset joins across it.
        boundary_means: (m,) float64, the mean of these values: of the boundary map, or of 1 - affinity. NaN
            where there is no value.
        lifted_edges: (l, 2) int64, pairs of nodes that only a long-range offset joins, likewise sorted.
        lifted_sizes: (l,) int64, as `boundary_sizes`.
        lifted_means: (l,) float64, as `boundary_means`.
        parts: for each block, the nodes (k,) that lie in it or in its halo, as `difflayers.blockwise.solve`
            takes them.
        names: what messages call the blocks.

    Examples:
        >>> labels = np.arange(4).repeat(8)[:, None] * np.ones((1, 32), int)
        >>> found = regions(labels, np.zeros(labels.shape), (16, 16))
        >>> found.labels.tolist(), found.edges.tolist(), found.boundary_sizes.tolist(), len(found.parts)
        ([0, 1, 2, 3], [[0, 1], [1, 2], [2, 3]], [32, 32, 32], 4)
    """

    labels: np.ndarray
    sizes: np.ndarray
    edges: np.ndarray
    boundary_sizes: np.ndarray
    boundary_means: np.ndarray
    lifted_edges: np.ndarray
    lifted_sizes: np.ndarray
    lifted_means: np.ndarray
    parts: list[np.ndarray]
    names: list[str]

    @property
    def num_nodes(self) -> int:
        """Number n of nodes."""
        return len(self.labels)

    def to_voxels(self, labels: Any, values: np.ndarray, background: float = 0) -> Any:
        """A volume of the regions' values, such as their segments, computed by block when it is asked for.

        Args:
            labels: the label volume, in any form that `difflayers.blockwise.multicut` takes.
            values: (n,) one value for each node.
            background: what a label that is no region becomes.

        Returns:
            dask array of the same shape, in the type of the values.

        Raises:
            ValueError: if there is not one value for each node.
        """
        arrays = dask_array()
        if np.shape(values) != (self.num_nodes,):
            raise ValueError(f"values must have shape ({self.num_nodes},), got {np.shape(values)}")
        volume = labels if isinstance(labels, arrays.Array) else arrays.from_array(labels)
        table = np.asarray(values)
        settings = {"known": self.labels, "values": table, "background": background}
        return arrays.map_blocks(_looked_up, volume, dtype=table.dtype, **settings)


def regions(
    labels: Any,
    maps: Any,
    block_shape: Sequence[int],
    *,
    offsets: Offsets | None = None,
    halo: Sequence[int] | None = None,
    background: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> VolumeRegions:
    """The region graph of a volume and its features, block by block, in parallel on dask's scheduler.

    This is the first half of `difflayers.blockwise.multicut`, for those who make costs of their own and give
    them to `difflayers.blockwise.solve(problem, regions.parts)`.

    Args:
        labels: as `difflayers.blockwise.multicut` takes them, like all other arguments.
        maps: a boundary map, or affinity maps if there are offsets.
        block_shape: size of the blocks along each axis.
        offsets: (k, d) integers for affinity maps.
        halo: how many voxels further regions belong to a block's part.
        background: label that is no region.
        folder: where the results of blocks are kept.
        progress: is called as `progress("regions", done, total)`.

    Returns:
        The regions. The graph and the means are those of `difflayers.graph.region_graph`,
        `boundary_features`, `affinity_features` and `lifted_affinity_features` of the whole volume.

    Raises:
        TypeError, ValueError: if an argument is not as described above, or the folder holds another run.
        BlockError: if a block fails; the message names it and where it lies.

    Examples:
        >>> labels = np.arange(4).repeat(8)
        >>> affinities = np.full((2, 32), 0.25)
        >>> found = regions(labels, affinities, (16,), offsets=[(1,), (-9,)])
        >>> found.edges.tolist(), found.boundary_means.tolist(), found.lifted_edges.tolist()
        ([[0, 1], [1, 2], [2, 3]], [0.75, 0.75, 0.75], [[0, 2], [1, 3]])
    """
    shape = tuple(labels.shape)
    block = counts("block_shape", block_shape, f"{len(shape)} positive integers, one per axis", len(shape))
    if np.dtype(labels.dtype).kind not in "iu":
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    steps = None if offsets is None else checked_offsets("offsets", shape, offsets)[1]
    name, expected = ("boundary_map", shape) if steps is None else ("affinities", (len(steps), *shape))
    if tuple(maps.shape) != expected:
        hint = "; affinity maps need offsets" if steps is None and len(maps.shape) > len(shape) else ""
        raise ValueError(f"{name} must have shape {expected}, got {tuple(maps.shape)}{hint}")
    margin = _checked_halo(halo, block)
    ignored = None if background is None else checked_background(background)
    own = boxes(shape, block)
    names = [name_of(i, box) for i, box in enumerate(own)]
    volume, values = sliceable(labels), sliceable(maps)
    channels = () if steps is None else (slice(None),)
    # The second voxels of the pairs whose first voxel lies in a block.
    reach = unit_offsets(len(shape)) if steps is None else np.concatenate([unit_offsets(len(shape)), steps])
    before = np.maximum(margin, -reach.min(axis=0)).tolist()
    after = np.maximum(margin, reach.max(axis=0)).tolist()
    arguments: dict[str, Any] = {
        "shape": shape,
        "block_shape": block,
        "halo": margin,
        "background": ignored,
        "offsets": None if steps is None else steps.tolist(),
    }
    if folder is not None:
        sample = {0, len(own) // 2, len(own) - 1} if own else set()
        boxes_of_sample = [own[i] for i in sorted(sample)]
        arguments["checksum of the volume"] = checksum(
            *(values_of(volume[box]) for box in boxes_of_sample),
            *(values_of(values[(*channels, *box)]) for box in boxes_of_sample),
        )
    store = Store(folder, "regions", arguments)

    def task(i: int) -> Task:
        box = grown(own[i], before, after, shape)
        inner = tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(own[i], box, strict=True))
        return _block_regions, (volume[box], values[(*channels, *box)], steps, inner, margin, ignored)

    return _all_regions(run("regions", names, task, store, progress), names, steps is not None)


def _checked_halo(halo: Sequence[int] | None, block: tuple[int, ...]) -> tuple[int, ...]:
    if halo is None:
        return tuple(-(-size // 8) for size in block)
    expected = f"{len(block)} integers of at least 0, one per axis"
    try:
        return tuple(h - 1 for h in counts("halo", [h + 1 for h in halo], expected, len(block)))
    except (TypeError, ValueError):
        raise ValueError(f"halo must be {expected}, got {halo!r}") from None


def _block_regions(
    labels: np.ndarray,
    maps: np.ndarray,
    offsets: np.ndarray | None,
    inner: Box,
    halo: tuple[int, ...],
    background: int | None,
) -> Arrays:
    """Regions near a block, and its pairs of labels with the sums and numbers of their values.

    A block has the pairs of voxels of which the first one lies in it (`inner`).
    """
    known, _, nodes = numbered_labels(labels, background)
    seen = np.zeros(len(known) + 1, bool)  # the last place is that of the background, -1
    seen[nodes[grown(inner, halo, halo, nodes.shape)]] = True
    own = nodes[inner]
    touching = _meetings(nodes, inner, unit_offsets(nodes.ndim))
    pairs, steps = touching, unit_offsets(nodes.ndim)
    if offsets is not None:
        pairs, steps = np.concatenate([touching, _meetings(nodes, inner, offsets)]), offsets
        pairs = np.unique(pairs, axis=0)
    firsts = first_edges(pairs, len(known))
    found = []
    for channel, step in enumerate(steps):
        crop = _with_partners(inner, step, nodes.shape)
        voxels = np.ascontiguousarray(nodes[crop])
        scan = scans(voxels.shape, step[None])[0]
        edge, first = contacts(voxels.ravel(), scan, pairs, firsts)
        values = (maps if offsets is None else maps[channel])[crop].ravel()
        here = values[first].astype(np.float64)
        found.append((edge, (here + values[first + scan[2]]) / 2 if offsets is None else here))
    name = "boundary_map" if offsets is None else "affinities"
    features = statistics(name, found, len(pairs), ())
    outside = (features.min < 0) | (features.max > 1)
    if outside.any():
        least, largest = np.nanmin(features.min), np.nanmax(features.max)
        raise ValueError(f"{name} must lie in [0, 1], got {least} to {largest}")
    number = len(known)
    return {
        "labels": known,
        "sizes": np.bincount(own[own >= 0], minlength=number),
        "near": known[seen[:-1]],
        "pairs": known[pairs],
        "touching": np.isin(pairs @ (number, 1), touching @ (number, 1)),
        "totals": np.where(features.count, features.mean, 0) * features.count,
        "counts": features.count,
    }


def _with_partners(inner: Box, step: np.ndarray, shape: tuple[int, ...]) -> Box:
    """The box of the voxels in `inner` and those that a step leads to."""
    return grown(inner, np.maximum(-step, 0).tolist(), np.maximum(step, 0).tolist(), shape)


def _meetings(nodes: np.ndarray, inner: Box, offsets: np.ndarray) -> np.ndarray:
    """Pairs (m, 2) of nodes, sorted, that an offset joins from a voxel in `inner`."""
    found = [np.empty((0, 2), np.int64)]
    for step in offsets:
        voxels = np.ascontiguousarray(nodes[_with_partners(inner, step, nodes.shape)])
        found.append(meeting_pairs(voxels.ravel(), scans(voxels.shape, step[None]))[0])
    return np.unique(np.concatenate(found), axis=0)


def _all_regions(parts: list[Arrays], names: list[str], affinities: bool) -> VolumeRegions:
    """The regions of the volume, from those of its blocks."""
    known = np.unique(np.concatenate([part["labels"] for part in parts]))
    number = len(known)
    if number == 0:
        raise ValueError("labels must have a region at least, but all of them are background")
    sizes = np.zeros(number, np.int64)
    for part in parts:
        sizes[np.searchsorted(known, part["labels"])] += part["sizes"]
    ends = np.searchsorted(known, np.concatenate([part["pairs"] for part in parts]))
    keys, places = np.unique(ends @ (number, 1), return_inverse=True)
    totals = np.bincount(places, np.concatenate([part["totals"] for part in parts]), len(keys))
    numbers = np.bincount(places, np.concatenate([part["counts"] for part in parts]), len(keys))
    touching = np.bincount(places, np.concatenate([part["touching"] for part in parts]), len(keys)) > 0
    with np.errstate(invalid="ignore"):
        means = np.clip(totals / numbers, 0, 1)
    pairs, numbers = np.stack(np.divmod(keys, number), axis=1), numbers.astype(np.int64)
    means = 1 - means if affinities else means
    near = [np.searchsorted(known, part["near"]) for part in parts]
    edges = (pairs[touching], numbers[touching], means[touching])
    lifted = (pairs[~touching], numbers[~touching], means[~touching])
    return VolumeRegions(known, sizes, *edges, *lifted, near, names)


def _looked_up(labels: np.ndarray, known: np.ndarray, values: np.ndarray, background: float) -> np.ndarray:
    place = np.minimum(np.searchsorted(known, labels), len(known) - 1)
    return np.where(known[place] == labels, values[place], values.dtype.type(background))
