"""Statistics of maps over the boundaries and the voxels of regions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from difflayers._arguments import as_array
from difflayers.graph.checks import owned
from difflayers.graph.contacts import contacts, meeting_pairs, scans, unit_offsets
from difflayers.graph.costs import real_numbers
from difflayers.graph.edges import Offsets, checked_offsets, is_long_range
from difflayers.graph.regions import RegionGraph, first_edges


@dataclass(frozen=True, eq=False)
class Features:
    """Statistics of the values that belong to each edge, or to each node.

    All but the count are NaN where there is no value.

    Args:
        mean: (m,) float64.
        min: (m,) float64.
        max: (m,) float64.
        count: (m,) int64, number of values.
        quantiles: (m, q) float64, interpolated linearly, as by `numpy.quantile`.

    Examples:
        >>> from difflayers.graph import region_graph
        >>> regions = region_graph(np.array([[0, 0, 1], [0, 2, 1]]))
        >>> features = boundary_features(regions, np.array([[1, 2, 4], [8, 16, 32]]), quantiles=(0.5,))
        >>> features.min.tolist(), features.count.tolist(), features.quantiles.tolist()
        ([3.0, 9.0, 24.0], [1, 2, 1], [[3.0], [10.5], [24.0]])
    """

    mean: np.ndarray
    min: np.ndarray
    max: np.ndarray
    count: np.ndarray
    quantiles: np.ndarray


def boundary_features(
    regions: RegionGraph, boundary_map: np.ndarray, quantiles: Sequence[float] = ()
) -> Features:
    """Statistics of a boundary map over the boundary of every edge of a region graph.

    Every pair of neighbouring voxels on a boundary has one value: the mean of the map at both voxels.

    Args:
        regions: the region graph.
        boundary_map: real numbers of the image's shape.
        quantiles: which quantiles are wanted, each in [0, 1].

    Returns:
        The features of the edges (m,).

    Raises:
        TypeError, ValueError: if the map holds no real numbers, does not fit, or is NaN at a boundary.

    Examples:
        >>> from difflayers.graph import region_graph
        >>> regions = region_graph(np.array([[0, 0, 1], [0, 2, 1]]))
        >>> boundary_features(regions, np.array([[1, 2, 4], [8, 16, 32]])).mean.tolist()
        [3.0, 10.5, 24.0]
    """
    values = _image("boundary_map", boundary_map, regions)
    found = []
    for scan in scans(regions.nodes.shape, unit_offsets(regions.nodes.ndim)):
        edge, first = contacts(regions.nodes.ravel(), scan, regions.edges, regions.first_edges)
        sums = real_numbers("boundary_map", values[first]) + values[first + scan[2]]
        found.append((edge, sums / 2))
    return statistics("boundary_map", found, len(regions.edges), quantiles)


def affinity_features(
    regions: RegionGraph, affinities: np.ndarray, offsets: Offsets, quantiles: Sequence[float] = ()
) -> Features:
    """Statistics of affinity maps over every edge of a region graph.

    The values of an edge are the affinities of all pairs of voxels, one in each of its two regions, that an
    offset joins.

    Args:
        regions: the region graph.
        affinities: (k, *shape) real numbers; the map of offset o holds at voxel p the value of p and p + o.
        offsets: (k, d) integers.
        quantiles: which quantiles are wanted, each in [0, 1].

    Returns:
        The features of the edges (m,). An edge whose regions no offset joins has the count 0.

    Raises:
        TypeError, ValueError: if an argument does not fit, or an affinity of an edge is NaN.

    Examples:
        >>> from difflayers.graph import region_graph
        >>> regions = region_graph(np.array([7, 7, 9]))
        >>> affinities = np.array([[0.9, 0.25, 0.0], [0.5, 0.0, 0.0]])
        >>> affinity_features(regions, affinities, [(1,), (2,)]).mean.tolist()
        [0.375]
    """
    maps, steps = _maps(regions, affinities, offsets)
    found = _on_pairs(regions, maps, steps, regions.edges, regions.first_edges)
    return statistics("affinities", found, len(regions.edges), quantiles)


def lifted_affinity_features(
    regions: RegionGraph, affinities: np.ndarray, offsets: Offsets, quantiles: Sequence[float] = ()
) -> tuple[np.ndarray, Features]:
    """Lifted edges between regions that only long-range offsets join, and statistics of their affinities.

    An offset is long-range if the absolute values of its entries add up to more than 1; the others are left
    out. So are pairs of regions that touch, because these have an edge.

    Args:
        regions: the region graph.
        affinities: (k, *shape) real numbers; the map of offset o holds at voxel p the value of p and p + o.
        offsets: (k, d) integers.
        quantiles: which quantiles are wanted, each in [0, 1].

    Returns:
        The lifted edges (l, 2) int64, sorted, the lesser node first, and their features (l,).

    Raises:
        TypeError, ValueError: if an argument does not fit, or an affinity of a lifted edge is NaN.

    Examples:
        >>> from difflayers.graph import region_graph
        >>> regions = region_graph(np.array([7, 8, 9]))
        >>> edges, features = lifted_affinity_features(regions, np.array([[0.3, 0.0, 0.0]]), [(2,)])
        >>> edges.tolist(), features.mean.tolist()
        ([[0, 2]], [0.3])
    """
    maps, steps = _maps(regions, affinities, offsets)
    far = is_long_range(steps)
    maps, steps = maps[far], steps[far]
    pairs, _ = meeting_pairs(regions.nodes.ravel(), scans(regions.nodes.shape, steps))
    near = regions.num_nodes * regions.edges[:, 0] + regions.edges[:, 1]
    lifted = pairs[~np.isin(regions.num_nodes * pairs[:, 0] + pairs[:, 1], near)]
    found = _on_pairs(regions, maps, steps, lifted, first_edges(lifted, regions.num_nodes))
    return lifted, statistics("affinities", found, len(lifted), quantiles)


def region_features(regions: RegionGraph, image: np.ndarray, quantiles: Sequence[float] = ()) -> Features:
    """Statistics of an image over the voxels of every region.

    Args:
        regions: the region graph.
        image: real numbers of the label image's shape.
        quantiles: which quantiles are wanted, each in [0, 1].

    Returns:
        The features of the nodes (n,).

    Raises:
        TypeError, ValueError: if the image holds no real numbers, does not fit, or is NaN in a region.

    Examples:
        >>> from difflayers.graph import region_graph
        >>> region_features(region_graph(np.array([7, 7, 9])), np.array([1.0, 2.0, 5.0])).mean.tolist()
        [1.5, 5.0]
    """
    values = real_numbers("image", _image("image", image, regions))
    values = owned(values, values.dtype)
    return statistics("image", [(regions.nodes.ravel(), values)], regions.num_nodes, quantiles)


def _image(name: str, image: np.ndarray, regions: RegionGraph) -> np.ndarray:
    """The flat image; raises ValueError naming it unless it has the shape of the label image."""
    image = as_array(name, image)
    if image.shape != regions.nodes.shape:
        raise ValueError(f"{name} must have shape {regions.nodes.shape}, got {image.shape}")
    return image.ravel()


def _maps(regions: RegionGraph, affinities: np.ndarray, offsets: Offsets) -> tuple[np.ndarray, np.ndarray]:
    """Flat maps (k, N) and offsets (k, d)."""
    shape, steps = checked_offsets("offsets", regions.nodes.shape, offsets)
    maps = as_array("affinities", affinities)
    if maps.shape != (len(steps), *shape):
        raise ValueError(f"affinities must have shape {(len(steps), *shape)}, got {maps.shape}")
    return maps.reshape(len(maps), regions.nodes.size), steps


def _on_pairs(
    regions: RegionGraph, maps: np.ndarray, steps: np.ndarray, edges: np.ndarray, firsts: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For every offset, edges and values of its pairs of voxels that these edges join."""
    found = []
    for scan, values in zip(scans(regions.nodes.shape, steps), maps, strict=True):
        edge, first = contacts(regions.nodes.ravel(), scan, edges, firsts)
        found.append((edge, real_numbers("affinities", values[first])))
    return found


def statistics(
    name: str, found: list[tuple[np.ndarray, np.ndarray]], groups: int, quantiles: Sequence[float]
) -> Features:
    """Statistics of values by group, from arrays (c,) of groups, negative for none, and of values."""
    wanted = real_numbers("quantiles", quantiles).astype(np.float64)
    if wanted.ndim != 1 or not ((wanted >= 0) & (wanted <= 1)).all():
        raise ValueError(f"quantiles must be numbers in [0, 1], got {quantiles!r}")
    mean, count = np.zeros(groups), np.zeros(groups, np.int64)
    least, largest = np.full(groups, np.inf), np.full(groups, -np.inf)
    for group, values in found:
        _accumulate(group, values, mean, least, largest, count)
    with np.errstate(invalid="ignore"):
        mean /= count
    if np.isnan(mean[count > 0]).any():
        raise ValueError(f"{name} must be no NaN")
    least[count == 0] = largest[count == 0] = np.nan
    ranked = np.full((groups, len(wanted)), np.nan)
    if len(wanted):
        _quantiles(*_gathered(found, count), wanted, ranked)
    return Features(mean, least, largest, count, ranked)


def _gathered(found: list[tuple[np.ndarray, np.ndarray]], count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All values, those of one group side by side, and where each group begins and the last one ends."""
    begin = np.concatenate([[0], np.cumsum(count)])
    dtype = np.result_type(np.float32, *(values for _, values in found))
    gathered, position = np.empty(begin[-1], dtype), begin[:-1].copy()
    for group, values in found:
        _gather(group, values, position, gathered)
    return gathered, begin


@njit(nogil=True, cache=True)
def _accumulate(
    group: np.ndarray,
    values: np.ndarray,
    total: np.ndarray,
    least: np.ndarray,
    largest: np.ndarray,
    count: np.ndarray,
) -> None:
    for i in range(group.size):
        g, value = group[i], values[i]
        if g < 0:
            continue
        total[g] += value
        least[g] = min(least[g], value)
        largest[g] = max(largest[g], value)
        count[g] += 1


@njit(nogil=True, cache=True)
def _gather(group: np.ndarray, values: np.ndarray, position: np.ndarray, gathered: np.ndarray) -> None:
    for i in range(group.size):
        g = group[i]
        if g >= 0:
            gathered[position[g]] = values[i]
            position[g] += 1


@njit(nogil=True, cache=True)
def _quantiles(gathered: np.ndarray, begin: np.ndarray, wanted: np.ndarray, ranked: np.ndarray) -> None:
    """Sort the values of every group in place, and interpolate between the two next to each quantile."""
    for g in range(begin.size - 1):
        values = gathered[begin[g] : begin[g + 1]]
        if values.size == 0:
            continue
        values.sort()
        for k in range(wanted.size):
            place = wanted[k] * (values.size - 1)
            below = int(place)
            above = min(below + 1, values.size - 1)
            low, high = np.float64(values[below]), np.float64(values[above])
            ranked[g, k] = low + (place - below) * (high - low)
