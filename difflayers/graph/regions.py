"""Region graphs of label images and volumes, and the way from regions back to voxels."""

import operator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit

from difflayers._arguments import as_array
from difflayers.graph.checks import owned
from difflayers.graph.contacts import meeting_pairs, scans, unit_offsets


@dataclass(frozen=True, eq=False)
class RegionGraph:
    """The regions of a label image as nodes, and an edge between every two of them that touch.

    Args:
        labels: (n,) the label of every node, ascending, in the integer type of the image.
        sizes: (n,) int64, number of voxels of every node.
        edges: (m, 2) int64, pairs of nodes that touch, sorted, the lesser node first.
        boundary_sizes: (m,) int64, number of pairs of neighbouring voxels on the boundary of an edge.
        nodes: int32 of the image's shape, the node of every voxel, -1 in the background.

    Examples:
        >>> regions = region_graph(np.array([[7, 7, 3], [7, 9, 3]]))
        >>> regions.num_nodes, regions.sizes.tolist(), regions.nodes.tolist()
        (3, [2, 3, 1], [[1, 1, 0], [1, 2, 0]])
    """

    labels: np.ndarray
    sizes: np.ndarray
    edges: np.ndarray
    boundary_sizes: np.ndarray
    nodes: np.ndarray

    @property
    def num_nodes(self) -> int:
        """Number n of nodes."""
        return len(self.labels)

    @cached_property
    def first_edges(self) -> np.ndarray:
        """(n + 1,) int64, for each node the first edge of which it is the lesser node."""
        return first_edges(self.edges, self.num_nodes)

    def to_voxels(self, values: np.ndarray, background: float = 0) -> np.ndarray:
        """Image of the regions' values, such as their segments.

        Args:
            values: (n,) or (n, ...), one value or row for each node.
            background: value of the voxels of no region.

        Returns:
            Array of the image's shape (and the shape of a row), in the type of the values.

        Raises:
            ValueError: if there is not one value for each node.

        Examples:
            >>> region_graph(np.array([[7, 7, 3]])).to_voxels(np.array([0.5, 0.2])).tolist()
            [[0.2, 0.2, 0.5]]
        """
        values = as_array("values", values)
        if values.shape[:1] != (self.num_nodes,):
            raise ValueError(
                f"values must have one row for each of {self.num_nodes} nodes, got {values.shape}"
            )
        filled = np.concatenate([values, np.full((1, *values.shape[1:]), background, values.dtype)])
        return filled[self.nodes]


def region_graph(labels: np.ndarray, background: int | None = None) -> RegionGraph:
    """The graph of the regions of a label image or volume: who touches whom, and how much.

    A region is the set of all voxels of one label, connected or not. Regions touch where two voxels are
    neighbours along an axis. Labels need not be contiguous: node i is the i-th of the labels that occur.

    Args:
        labels: integers of any shape.
        background: label that is no region, such as 0; None if there is none.

    Returns:
        The region graph.

    Raises:
        TypeError: if the labels are no integers.
        ValueError: if there are no voxels.

    Examples:
        >>> regions = region_graph(np.array([[7, 7, 3], [7, 9, 3]]))
        >>> regions.labels.tolist(), regions.edges.tolist(), regions.boundary_sizes.tolist()
        ([3, 7, 9], [[0, 1], [0, 2], [1, 2]], [1, 1, 2])
    """
    known, sizes, nodes = numbered_labels(labels, background)
    edges, boundary_sizes = meeting_pairs(nodes.ravel(), scans(nodes.shape, unit_offsets(nodes.ndim)))
    return RegionGraph(known, sizes, edges, boundary_sizes, nodes)


def label_image(labels: np.ndarray, background: int | None = None) -> np.ndarray:
    """Labels as viewers such as napari want them: uint32, contiguous, with 0 for the background alone.

    Args:
        labels: integers of any shape.
        background: label that becomes 0; None if there is none. 0 is then left out.

    Returns:
        uint32 of the same shape. The labels that occur become 1, 2, ... in ascending order.

    Raises:
        TypeError, ValueError: as `region_graph` does.

    Examples:
        >>> label_image(np.array([[-1, 5], [8, 5]]), background=-1).tolist()
        [[0, 1], [2, 1]]
    """
    return (numbered_labels(labels, background)[2] + 1).view(np.uint32)


def first_edges(edges: np.ndarray, num_nodes: int) -> np.ndarray:
    """Where the edges of each lesser node begin among sorted edges, and their end, as (n + 1,) int64."""
    return np.searchsorted(edges[:, 0], np.arange(num_nodes + 1))


def checked_background(background: int) -> int:
    """The label as Python's integer; raises TypeError naming the argument."""
    try:
        return operator.index(background)
    except TypeError:
        raise TypeError(f"background must be an integer or None, got {background!r}") from None


def numbered_labels(labels: np.ndarray, background: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The labels that occur (n,), their numbers of voxels (n,), and the image (int32) of their numbers.

    Voxels of the background have the number -1.
    """
    labels = as_array("labels", labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if labels.size == 0 or labels.ndim == 0:
        raise ValueError(f"labels must have an axis and a voxel at least, got shape {labels.shape}")
    if background is not None:
        background = checked_background(background)
    flat = owned(labels, labels.dtype.newbyteorder("=")).ravel()
    least, largest = int(flat.min()), int(flat.max())
    number = _by_table if largest - least < 4 * flat.size + 2**16 else _by_runs
    known, sizes, nodes = number(flat, least, largest, background)
    return known, sizes, nodes.reshape(labels.shape)


def _by_table(
    flat: np.ndarray, least: int, largest: int, background: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number labels that lie close together, O(N + largest - least)."""
    # Unsigned, so that kernels are compiled for four types instead of eight; differences wrap around.
    lowest = flat.dtype.type(least)
    bits = flat.view(f"u{flat.itemsize}")
    offset = lowest.view(bits.dtype)
    counts = np.zeros(largest - least + 1, np.int64)
    _tally(bits, offset, counts)
    occurs = counts > 0
    if background is not None and least <= background <= largest:
        occurs[background - least] = False
    places = np.flatnonzero(occurs)
    numbers = np.full(len(counts), -1, np.int32)
    numbers[places] = np.arange(len(places))
    nodes = np.empty(flat.size, np.int32)
    _look_up(bits, offset, numbers, nodes)
    return places.astype(flat.dtype) + lowest, counts[places], nodes


def _by_runs(
    flat: np.ndarray, least: int, largest: int, background: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number labels that lie far apart, by sorting one label for each run of equal ones."""
    begins = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(begins, append=flat.size)
    known, places = np.unique(flat[begins], return_inverse=True)
    occurs = np.ones(len(known), bool)
    if background is not None and least <= background <= largest:
        occurs = known != background
    numbers = np.where(occurs, np.cumsum(occurs) - 1, -1).astype(np.int32)
    sizes = np.bincount(places, lengths).astype(np.int64)
    return known[occurs], sizes[occurs], np.repeat(numbers[places], lengths)


@njit(nogil=True, cache=True)
def _tally(bits: np.ndarray, lowest: int, counts: np.ndarray) -> None:
    for label in bits:
        counts[bits.dtype.type(label - lowest)] += 1


@njit(nogil=True, cache=True)
def _look_up(bits: np.ndarray, lowest: int, numbers: np.ndarray, nodes: np.ndarray) -> None:
    for i in range(bits.size):
        nodes[i] = numbers[bits.dtype.type(bits[i] - lowest)]
