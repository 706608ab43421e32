"""Supervoxels of affinity maps, block by block."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from difflayers._arguments import counts
from difflayers.blockwise.blocks import dask_array
from difflayers.graph.affinities import mutex_costs
from difflayers.graph.edges import Offsets, checked_offsets
from difflayers.multicut import Multicut
from difflayers.mutex import mutex_watershed


def supervoxels(
    affinities: Any,
    offsets: Offsets,
    block_shape: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    mask: Any = None,
) -> Any:
    """Label volume of affinity maps: the mutex watershed of every block by itself (Wolf et al. 2018).

    No label lies in two blocks. `difflayers.blockwise.multicut(labels, affinities, block_shape,
    offsets=offsets)` joins what belongs together across the faces of the blocks.

    The volume is computed when it is asked for, and again each time. Store it first, for example by
    `labels.to_zarr(...)` or, if it fits, by `labels.persist()`.

    Args:
        affinities: (k, *shape) float in [0, 1], in any form that `difflayers.blockwise.multicut` takes.
        offsets: (k, d) integers; the map of offset o holds at voxel p the affinity of p and p + o.
        block_shape: size of the blocks along each axis.
        strides: of the long-range pairs, as `difflayers.graph.grid_edges` takes them; None keeps all pairs.
        mask: bool of the volume's shape. Voxels where it is False have the label 0.

    Returns:
        dask array of uint64 of the volume's shape. Labels begin with 1 and have gaps.

    Raises:
        TypeError, ValueError: if an argument is not as described above; if an affinity lies outside [0, 1],
            when the volume is computed.

    Examples:
        >>> affinities = np.array([[0.9, 0.1, 0.8, 0.7, 0.9, 0.0]])
        >>> supervoxels(affinities, [(1,)], (4,)).compute().tolist()
        [1, 1, 1, 1, 5, 5]
    """
    arrays = dask_array()
    shape = tuple(affinities.shape)[1:]
    steps = checked_offsets("offsets", shape, offsets)[1]
    if len(steps) != affinities.shape[0]:
        raise ValueError(f"affinities must have one map per offset, {len(steps)}, got {affinities.shape[0]}")
    block = counts("block_shape", block_shape, f"{len(shape)} positive integers, one per axis", len(shape))
    if strides is not None:
        strides = counts("strides", strides, f"{len(shape)} positive integers, one per axis", len(shape))
    maps = arrays.asarray(affinities).rechunk((len(steps), *block))
    inside = arrays.ones(shape, dtype=bool) if mask is None else arrays.asarray(mask)
    if inside.shape != shape or inside.dtype != np.bool_:
        raise ValueError(f"mask must be bool of shape {shape}, got {inside.dtype} {inside.shape}")
    settings = {"offsets": steps, "strides": strides, "block": block}
    return arrays.map_blocks(
        _watershed, maps, inside.rechunk(block)[None], drop_axis=0, dtype=np.uint64, **settings
    )


def _watershed(
    affinities: np.ndarray,
    mask: np.ndarray,
    offsets: np.ndarray,
    strides: tuple[int, ...] | None,
    block: tuple[int, ...],
    block_info: Any = None,
) -> np.ndarray:
    inside = mask[0]
    edges, costs = mutex_costs(affinities, offsets, strides=strides, mask=inside)
    segments = mutex_watershed(Multicut(inside.size, edges, costs)).segments.reshape(inside.shape)
    number = np.ravel_multi_index(block_info[None]["chunk-location"], block_info[None]["num-chunks"])
    return np.where(inside, segments + (1 + int(number) * int(np.prod(block))), 0).astype(np.uint64)
