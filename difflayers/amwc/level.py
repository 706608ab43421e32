"""A graph of the hierarchy, with what merging and moves read of its node costs."""

from typing import NamedTuple

import numpy as np
from numba import njit

from difflayers.graph.kernels import contract, sum_rows


class Level(NamedTuple):
    """A graph in compressed rows with its node costs and what they say of each node.

    Attributes:
        indptr, neighbours, weights: the graph, see ``difflayers.graph.kernels``.
        node_costs: (n, K) float.
        partitionable: (K,) bool.
        thing: (n,) int32, cheapest partitionable label of a node, -1 where there is none.
        stuff: (n,) int32, cheapest other label, -1 where there is none.
        cheapest: (n,) int32, the cheaper of the two.
        least: (n,) float, cost of the cheapest label.
        gap: (n,) float, how much more any other label costs at least, infinite where there is none.
    """

    indptr: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray
    node_costs: np.ndarray
    partitionable: np.ndarray
    thing: np.ndarray
    stuff: np.ndarray
    cheapest: np.ndarray
    least: np.ndarray
    gap: np.ndarray


def make_level(
    graph: tuple[np.ndarray, np.ndarray, np.ndarray], node_costs: np.ndarray, partitionable: np.ndarray
) -> Level:
    """The level of a graph in compressed rows."""
    return Level(*graph, node_costs, partitionable, *cheapest_labels(node_costs, partitionable))


def contracted(level: Level, component: np.ndarray, count: int) -> Level:
    """The level whose nodes are the components."""
    graph = contract(level.indptr, level.neighbours, level.weights, component, count)
    return make_level(graph, sum_rows(level.node_costs, component, count), level.partitionable)


@njit(nogil=True, cache=True)
def cheapest_labels(
    node_costs: np.ndarray, partitionable: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The last five fields of a :class:`Level`, O(n K)."""
    num_nodes, num_labels = node_costs.shape
    thing = np.full(num_nodes, -1, np.int32)
    stuff = np.full(num_nodes, -1, np.int32)
    cheapest = np.empty(num_nodes, np.int32)
    least = np.empty(num_nodes, node_costs.dtype)
    gap = np.empty(num_nodes, node_costs.dtype)
    for v in range(num_nodes):
        thing_cost = stuff_cost = other = np.inf
        for k in range(num_labels):
            cost = node_costs[v, k]
            if partitionable[k]:
                if cost < thing_cost:
                    cost, thing_cost = thing_cost, cost
                    thing[v] = k
            elif cost < stuff_cost:
                cost, stuff_cost = stuff_cost, cost
                stuff[v] = k
            other = min(other, cost)
        if stuff_cost <= thing_cost:
            cheapest[v], least[v], gap[v] = stuff[v], stuff_cost, min(other, thing_cost) - stuff_cost
        else:
            cheapest[v], least[v], gap[v] = thing[v], thing_cost, min(other, stuff_cost) - thing_cost
    return thing, stuff, cheapest, least, gap
