"""Affinity maps of a grid and the costs of its edges: from one to the other and back.

An affinity is the probability that the two ends of an edge lie in one segment. The map of offset o holds at
voxel p the affinity of p and p + o. An edge cost is paid if the edge is cut: positive attracts, negative
repels.
"""

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from difflayers._arguments import as_array
from difflayers.graph.costs import boundary_probabilities, edge_costs, real_numbers
from difflayers.graph.edges import (
    Offsets,
    Selection,
    checked_offsets,
    first_voxels,
    flat_steps,
    is_long_range,
)


def affinity_costs(
    affinities: np.ndarray, offsets: Offsets, *, bias: float = 0.5, **selection: Unpack[Selection]
) -> tuple[np.ndarray, np.ndarray]:
    """Edges of a grid and their costs for (lifted) multicut: the log odds of the affinities.

    The cost of affinity a is `log(a / (1 - a)) + log((1 - bias) / bias)`, see `difflayers.graph.edge_costs`.

    Args:
        affinities: (k, *shape) float in [0, 1], one map per offset; 1 means that both ends belong together.
        offsets: (k, d) integers; the map of offset o holds at voxel p the affinity of p and p + o.
        bias: in (0, 1). More than 0.5 makes cuts cheaper, so that there are more segments.
        selection: `strides`, `fraction`, `seed` and `mask`, as `difflayers.graph.grid_edges` takes them.

    Returns:
        The edges (m, 2) of `grid_edges(shape, offsets, **selection)` and their costs (m,).

    Raises:
        TypeError, ValueError: as `grid_edges` does, and if an affinity of an edge lies outside [0, 1].

    Examples:
        >>> edges, costs = affinity_costs(np.array([[0.9, 0.5, 0.0]]), [(1,)])
        >>> edges.tolist(), costs.round(3).tolist()
        ([[0, 1], [1, 2]], [2.197, 0.0])
    """
    edges, values, _ = _on_edges(affinities, offsets, selection)
    return edges, edge_costs(1 - values, bias)


def mutex_costs(
    affinities: np.ndarray, offsets: Offsets, **selection: Unpack[Selection]
) -> tuple[np.ndarray, np.ndarray]:
    """Edges of a grid and their costs for the mutex watershed: neighbours attract, long-range pairs repel.

    Two neighbours of affinity a have the cost a. A long-range pair has the cost a - 1. An offset is
    long-range if the absolute values of its entries add up to more than 1. The mutex watershed visits the
    edges in the order of their absolute costs (Wolf et al. 2018).

    Other libraries take the weight `1 - a` of a long-range pair without a sign, because the channel says that
    the pair repels. Here the sign says so.

    Args:
        affinities: (k, *shape) float in [0, 1], one map per offset; 1 means that both ends belong together.
        offsets: (k, d) integers; the map of offset o holds at voxel p the affinity of p and p + o.
        selection: `strides`, `fraction`, `seed` and `mask`, as `difflayers.graph.grid_edges` takes them.

    Returns:
        The edges (m, 2) of `grid_edges(shape, offsets, **selection)` and their costs (m,).

    Raises:
        TypeError, ValueError: as `grid_edges` does, and if an affinity of an edge lies outside [0, 1].

    Examples:
        >>> affinities = np.array([[0.9, 0.1, 0.0], [0.2, 0.0, 0.0]])
        >>> edges, costs = mutex_costs(affinities, [(1,), (2,)])
        >>> edges.tolist(), costs.round(3).tolist()
        ([[0, 1], [1, 2], [0, 2]], [0.9, 0.1, -0.8])
    """
    edges, values, long_range = _on_edges(affinities, offsets, selection)
    return edges, values - long_range


def affinities_from_costs(
    costs: np.ndarray,
    shape: Sequence[int],
    offsets: Offsets,
    *,
    bias: float = 0.5,
    **selection: Unpack[Selection],
) -> np.ndarray:
    """Affinity maps from the costs that `affinity_costs` makes of them.

    Args:
        costs: (m,) float, a cost for each edge of `grid_edges(shape, offsets, **selection)`.
        shape: size of the grid along each axis.
        offsets: (k, d) integers.
        bias: in (0, 1), as it was given to `affinity_costs`.
        selection: `strides`, `fraction`, `seed` and `mask`, as `difflayers.graph.grid_edges` takes them.

    Returns:
        (k, *shape) float in [0, 1], NaN at voxels that have no edge at an offset.

    Raises:
        TypeError, ValueError: as `grid_edges` does, and if there is not one cost per edge.

    Examples:
        >>> edges, costs = affinity_costs(np.array([[0.9, 0.5, 0.0]]), [(1,)])
        >>> affinities_from_costs(costs, (3,), [(1,)]).round(3).tolist()
        [[0.9, 0.5, nan]]
    """
    return edge_maps(1 - boundary_probabilities(costs, bias), shape, offsets, **selection)


def edge_maps(
    values: np.ndarray, shape: Sequence[int], offsets: Offsets, **selection: Unpack[Selection]
) -> np.ndarray:
    """Maps of values of the edges, such as cuts; that of offset o holds at voxel p the value of p and p + o.

    Args:
        values: (m,) numbers, one for each edge of `grid_edges(shape, offsets, **selection)`.
        shape: size of the grid along each axis.
        offsets: (k, d) integers.
        selection: `strides`, `fraction`, `seed` and `mask`, as `difflayers.graph.grid_edges` takes them.

    Returns:
        (k, *shape) float32 for values of float32, float64 otherwise; NaN at voxels that have no edge.

    Raises:
        TypeError, ValueError: as `grid_edges` does, and if there is not one value per edge.

    Examples:
        >>> edge_maps(np.array([1, 0, 1]), (2, 2), [(0, 1), (1, 1)]).tolist()
        [[[1.0, nan], [0.0, nan]], [[1.0, nan], [nan, nan]]]
    """
    axes, steps = checked_offsets("offsets", shape, offsets)
    positions = _positions(axes, steps, selection)
    values = as_array("values", values)
    if values.shape != positions.shape:
        raise ValueError(f"values must have shape {positions.shape}, one per edge, got {values.shape}")
    maps = np.full((len(steps), *axes), np.nan, np.float32 if values.dtype == np.float32 else np.float64)
    maps.reshape(-1)[positions] = values
    return maps


def affinity_positions(shape: Sequence[int], offsets: Offsets, **selection: Unpack[Selection]) -> np.ndarray:
    """Where the affinity of each edge stands in flattened affinity maps, for maps that are tensors.

    Args:
        shape: size of the grid along each axis.
        offsets: (k, d) integers.
        selection: `strides`, `fraction`, `seed` and `mask`, as `difflayers.graph.grid_edges` takes them.

    Returns:
        (m,) int64: `maps.reshape(-1)[positions]` are the values of the edges of
        `grid_edges(shape, offsets, **selection)` in maps (k, *shape).

    Raises:
        TypeError, ValueError: as `grid_edges` does.

    Examples:
        >>> maps = np.array([[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]]])
        >>> maps.reshape(-1)[affinity_positions((2, 2), [(0, 1), (1, 1)])].tolist()
        [0.1, 0.3, 0.5]
    """
    return _positions(*checked_offsets("offsets", shape, offsets), selection)


def _positions(axes: tuple[int, ...], steps: np.ndarray, selection: Selection) -> np.ndarray:
    size = np.prod(axes, dtype=np.int64)
    firsts = first_voxels(axes, steps, **selection)
    return np.concatenate(
        [np.empty(0, np.int64), *(channel * size + first for channel, first in enumerate(firsts))]
    )


def _on_edges(
    affinities: np.ndarray, offsets: Offsets, selection: Selection
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges (m, 2), their affinities (m,) in [0, 1], and whether they are long-range (m,)."""
    maps = real_numbers("affinities", affinities)
    if maps.ndim < 2:
        raise ValueError(f"affinities must have shape (k, *shape), got {maps.shape}")
    axes, steps = checked_offsets("offsets", maps.shape[1:], offsets)
    if len(steps) != len(maps):
        raise ValueError(f"affinities must have one map per offset, {len(steps)}, got {len(maps)}")
    positions = _positions(axes, steps, selection)
    values = maps.reshape(-1)[positions]
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        raise ValueError(
            f"affinities must lie in [0, 1], got {values[outside][0]}; 1 means that the two ends belong "
            "together. Logits are edge costs already: take them by difflayers.graph.affinity_positions. "
            "Of boundary probabilities b pass 1 - b, and of negated mutex weights w pass 1 + w."
        )
    channel, first = np.divmod(positions, np.prod(axes, dtype=np.int64))
    edges = np.stack([first, first + flat_steps(axes, steps)[channel]], axis=1)
    return edges, values, is_long_range(steps)[channel]
