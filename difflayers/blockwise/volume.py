"""Multicut of a volume by blocks: region graph and features, then the problem by parts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from difflayers import lifted_multicut
from difflayers.amwc import Solution
from difflayers.blockwise.blocks import Progress
from difflayers.blockwise.parts import solve_parts
from difflayers.blockwise.region_graphs import VolumeRegions, regions
from difflayers.graph.costs import edge_costs
from difflayers.graph.edges import Offsets
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.multicut import Multicut


@dataclass(frozen=True, eq=False)
class VolumeSolution:
    """Segments of the regions of a volume, and the problem that they solve.

    Args:
        regions: the region graph of the volume, with the features of its edges.
        problem: the (lifted) multicut of all regions.
        solution: its solution, with cost and lower bound.

    Examples:
        >>> labels = np.arange(4).repeat(8)[:, None] * np.ones((1, 32), int)
        >>> found = multicut(labels, np.zeros(labels.shape), (16, 16))
        >>> found.regions.labels.tolist(), found.regions.sizes.tolist(), found.solution.segments.tolist()
        ([0, 1, 2, 3], [256, 256, 256, 256], [0, 0, 0, 0])
    """

    regions: VolumeRegions
    problem: Multicut | LiftedMulticut
    solution: Solution | lifted_multicut.Solution

    def to_voxels(self, labels: Any, background: int = 0) -> Any:
        """The segments of a label volume, block by block when they are asked for.

        Args:
            labels: the label volume, in any form that `difflayers.blockwise.multicut` takes.
            background: what a label that is no region becomes.

        Returns:
            dask array of uint32 of the same shape: the segments, numbered from 1.

        Examples:
            >>> labels = np.arange(4).repeat(8)
            >>> found = multicut(labels, np.ones(labels.shape), (16,))
            >>> found.to_voxels(labels)[::8].compute().tolist()
            [1, 2, 3, 4]
        """
        return self.regions.to_voxels(labels, (self.solution.segments + 1).astype(np.uint32), background)


def multicut(
    labels: Any,
    maps: Any,
    block_shape: Sequence[int],
    *,
    offsets: Offsets | None = None,
    lifted: bool = False,
    halo: Sequence[int] | None = None,
    bias: float = 0.5,
    background: int | None = None,
    method: str = "default",
    bound: bool = False,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> VolumeSolution:
    """Segment a volume by multicut of its regions, block by block, in parallel on dask's scheduler.

    Three steps. "regions": every block finds which regions touch, and the mean of the maps between them.
    "parts": for each block, the multicut of all regions that lie in it or in its halo is solved. Last, what
    the blocks agree on becomes one, the problem that is left is solved ("rest"), and the solution is improved
    on the graph of all regions ("whole"), see `difflayers.blockwise.solve`.

    The edge costs are those of `difflayers.graph.edge_costs(means, bias, sizes)` with the means and sizes of
    `difflayers.blockwise.regions`. An edge that no offset reaches costs 0.

    A block is in memory only while it is looked at. The graph of all regions must fit in the memory of the
    process that calls this.

    Args:
        labels: integers of any dimension, one label per region in the whole volume: a dask array, a NumPy
            array, or what `dask.array.from_array` takes, such as arrays of zarr and h5py.
            `difflayers.blockwise.supervoxels` makes them of affinities.
        maps: in any of these forms, a boundary map of the same shape, or affinity maps (k, *shape) if there
            are offsets; float in [0, 1].
        block_shape: size of the blocks along each axis.
        offsets: (k, d) integers; the map of offset o holds at voxel p the affinity of p and p + o. None for a
            boundary map.
        lifted: whether two regions that do not touch, but that a long-range offset joins, get a lifted edge.
            The costs of lifted edges are made in the same way as those of edges.
        halo: how many voxels further, along each axis, the regions lie that belong to the problem of a
            block; None takes an eighth of the block.
        bias: more than 0.5 gives more segments.
        background: label that is no region; None if there is none.
        method: "fast", "default" or "best", see `difflayers.multicut.solve`.
        bound: whether to find a lower bound of the whole problem too, see `difflayers.blockwise.solve`.
        folder: where the results of blocks are kept, so that a run that was killed goes on there; None keeps
            none. A folder is for one volume and one choice of arguments.
        progress: is called as `progress(step, done, total)` whenever a few blocks are done.

    Returns:
        The solution, and the problem with its features.

    Raises:
        TypeError, ValueError: if an argument is not as described above, or the folder holds another run.
        BlockError: if a block fails; the message names it and where it lies.

    Examples:
        >>> labels = np.arange(4).repeat(8)[:, None] * np.ones((1, 32), int)
        >>> found = multicut(labels, np.zeros(labels.shape), (16, 16))
        >>> found.problem.num_nodes, found.solution.segments.tolist()
        (4, [0, 0, 0, 0])
    """
    if lifted and offsets is None:
        raise ValueError("lifted=True needs affinity maps and their offsets")
    edge_costs(np.empty(0), bias)  # says now what is wrong with the bias
    found = regions(
        labels,
        maps,
        block_shape,
        offsets=offsets,
        halo=halo,
        background=background,
        folder=folder,
        progress=progress,
    )
    costs = _costs(found.boundary_means, found.boundary_sizes, bias)
    problem: Multicut | LiftedMulticut = Multicut(found.num_nodes, found.edges, costs)
    if lifted:
        lifted_costs = _costs(found.lifted_means, found.lifted_sizes, bias)
        problem = LiftedMulticut(found.num_nodes, found.edges, costs, found.lifted_edges, lifted_costs)
    arguments = {"bias": float(bias), "method": method, "lifted": bool(lifted)}
    solution = solve_parts(problem, found.parts, found.names, method, bound, folder, arguments, progress)
    return VolumeSolution(found, problem, solution)


def _costs(means: np.ndarray, sizes: np.ndarray, bias: float) -> np.ndarray:
    return edge_costs(np.where(sizes > 0, means, 0.5), bias, sizes)
