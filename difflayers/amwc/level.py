"""A graph of the hierarchy, with what merging and moves read of its node costs."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from difflayers.graph.contraction import contract, sum_rows
from difflayers.graph.minimum import lesser


class Level(NamedTuple):
    """A graph in compressed rows with its node costs and what they say of each node.

    Attributes:
        indptr, neighbours, weights: the graph, see `difflayers.graph.rows`.
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


@register_jitable
def make_level(
    graph: tuple[np.ndarray, np.ndarray, np.ndarray], node_costs: np.ndarray, partitionable: np.ndarray
) -> Level:
    """The level of a graph in compressed rows."""
    indptr, neighbours, weights = graph
    cheapest, least, gap = cheapest_labels(node_costs)
    return Level(indptr, neighbours, weights, node_costs, partitionable, cheapest, least, gap)


@register_jitable
def contracted(level: Level, component: np.ndarray, count: int) -> Level:
    """The level whose nodes are the components."""
    graph = contract(level.indptr, level.neighbours, level.weights, component, count)
    return make_level(graph, sum_rows(level.node_costs, component, count), level.partitionable)


@njit(nogil=True, cache=True)
def cheapest_labels(node_costs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The last three fields of a `Level`, O(n K), in loops that are vectorized."""
    num_nodes, num_labels = node_costs.shape
    cheapest = np.empty(num_nodes, np.int32)
    least = np.empty(num_nodes, node_costs.dtype)
    gap = np.empty(num_nodes, node_costs.dtype)
    infinite = node_costs.dtype.type(np.inf)
    others = np.empty(num_labels, node_costs.dtype)
    # Labels as numbers of the costs' own width, or the loop over both would not be vectorized.
    number = np.arange(num_labels).astype(node_costs.dtype)
    for v in range(num_nodes):
        lowest = infinite
        for k in range(num_labels):
            lowest = lesser(lowest, node_costs[v, k])
        first = number[-1]
        for k in range(num_labels):
            others[k] = node_costs[v, k]
            first = lesser(first, number[k] if others[k] == lowest else infinite)
        others[np.int32(first)] = infinite
        next_lowest = infinite
        for k in range(num_labels):
            next_lowest = lesser(next_lowest, others[k])
        cheapest[v], least[v], gap[v] = np.int32(first), lowest, next_lowest - lowest
    return cheapest, least, gap
