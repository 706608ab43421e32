"""A graph of the hierarchy, with what merging and moves read of its node costs."""

from typing import NamedTuple

import numpy as np
from numba import njit

from difflayers.graph.kernels import contract, sum_rows

# For `fastmath`. No cost is NaN, and a zero has no sign: told so, the compiler vectorises minima.
NO_NAN = {"nnan", "nsz"}


class Level(NamedTuple):
    """A graph in compressed rows with its node costs and what they say of each node.

    Attributes:
        indptr, neighbours, weights: the graph, see ``difflayers.graph.kernels``.
        node_costs: (n, K) float.
        partitionable: (K,) bool.
        cheapest: (n,) int32, the cheapest label of a node.
        least: (n,) float, what it costs.
        gap: (n,) float, how much more any other label costs at least, infinite where there is none.
    """

    indptr: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray
    node_costs: np.ndarray
    partitionable: np.ndarray
    cheapest: np.ndarray
    least: np.ndarray
    gap: np.ndarray


def make_level(
    graph: tuple[np.ndarray, np.ndarray, np.ndarray], node_costs: np.ndarray, partitionable: np.ndarray
) -> Level:
    """The level of a graph in compressed rows."""
    return Level(*graph, node_costs, partitionable, *cheapest_labels(node_costs))


def contracted(level: Level, component: np.ndarray, count: int) -> Level:
    """The level whose nodes are the components."""
    graph = contract(level.indptr, level.neighbours, level.weights, component, count)
    return make_level(graph, sum_rows(level.node_costs, component, count), level.partitionable)


@njit(nogil=True, cache=True, fastmath=NO_NAN)
def cheapest_labels(node_costs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The last three fields of a :class:`Level`, O(n K), in loops without branches."""
    num_nodes, num_labels = node_costs.shape
    cheapest = np.empty(num_nodes, np.int32)
    least = np.empty(num_nodes, node_costs.dtype)
    gap = np.empty(num_nodes, node_costs.dtype)
    infinite = node_costs.dtype.type(np.inf)
    for v in range(num_nodes):
        lowest = node_costs[v, 0]
        for k in range(1, num_labels):
            lowest = min(lowest, node_costs[v, k])
        first, last = np.int32(num_labels), np.int32(0)
        for k in range(num_labels):
            is_lowest = node_costs[v, k] == lowest
            first = min(first, np.int32(k if is_lowest else num_labels))
            last = max(last, np.int32(k if is_lowest else 0))
        next_lowest = lowest if first < last else infinite
        for k in range(num_labels):
            next_lowest = min(next_lowest, node_costs[v, k] if node_costs[v, k] > lowest else infinite)
        cheapest[v], least[v], gap[v] = first, lowest, next_lowest - lowest
    return cheapest, least, gap
