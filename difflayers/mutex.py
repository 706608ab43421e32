"""Mutex watersheds: partitions from one pass over the edges by strength, without a search."""

from typing import NamedTuple

import numpy as np
from numba import njit

from difflayers.amwc import AMWC, Solution
from difflayers.amwc.plain import Start, solve_plain
from difflayers.amwc.solution import solution_from_clusters
from difflayers.graph.checks import check_problem
from difflayers.graph.components import root_of
from difflayers.graph.pair_tables import key_of, slot_of
from difflayers.multicut import Multicut

__all__ = ["mutex_watershed", "semantic_mutex_watershed"]

# Visits in a call of the kernel, after which Ctrl-C is heard.
_AT_ONCE = 1 << 20


def mutex_watershed(problem: Multicut) -> Solution:
    """Partition a graph by the mutex watershed (Wolf et al. 2018), O(m log m).

    The edges are visited from the largest absolute cost to the smallest, equal ones in the order given. A
    positive edge merges the clusters of its ends unless a negative edge has set them apart before; a negative
    edge sets the clusters of its ends apart for good, unless they are one; an edge of cost 0 does nothing.

    Args:
        problem: the multicut. Only the order of the absolute costs matters.

    Returns:
        A feasible solution of the multicut, which keeps its constraints (infinite costs), with its cost
        there. The
            method itself minimizes no sum.

    Raises:
        TypeError: if the problem is no Multicut.
        ValueError: if constraints contradict each other.

    ```python
    >>> from difflayers import multicut, mutex
    >>> problem = multicut.Multicut(3, [[0, 1], [1, 2], [0, 2]], [3.0, 1.0, -2.0])
    >>> mutex.mutex_watershed(problem).segments.tolist()
    [0, 0, 1]

    ```
    """
    check_problem(problem, Multicut)
    return solve_plain(problem.as_amwc, _partition)


def semantic_mutex_watershed(problem: AMWC) -> Solution:
    """Label and partition a graph by the semantic mutex watershed (Wolf et al. 2020), O(n K + m log m).

    Beside the edges, every node is visited and gives its cheapest label to its cluster, unless the cluster
    has a label. Clusters of different labels do not merge. The strength of a node is how much cheaper its
    cheapest label is than its next cheapest, which is in the unit of the edge costs and which no constant
    shifts. Nodes come after edges of the same strength. Nodes of a label that is not partitionable are one
    segment in any case.

    Args:
        problem: the asymmetric multiway cut.

    Returns:
        A feasible solution of the asymmetric multiway cut, which keeps its constraints, with its cost there.

    Raises:
        TypeError: if the problem is no AMWC.
        ValueError: if constraints contradict each other.

    ```python
    >>> from difflayers import amwc, mutex
    >>> problem = amwc.AMWC([[0, 5], [1, 0], [9, 0]], [[0, 1], [1, 2]], [2.0, 3.0], [True, True])
    >>> mutex.semantic_mutex_watershed(problem).labels.tolist()
    [0, 1, 1]

    ```
    """
    return solve_plain(problem, lambda plain, _: _watershed(plain, *_preferences(plain.node_costs)))


def _partition(problem: AMWC, _: Start) -> Solution:
    return _watershed(problem, np.full(problem.num_nodes, -1, np.int32), np.empty(0))


def _watershed(problem: AMWC, cheapest: np.ndarray, margin: np.ndarray) -> Solution:
    strength = np.abs(np.concatenate([problem.edge_costs, margin.astype(problem.edge_costs.dtype)]))
    # Floats that are not negative are in the order of their bits.
    bits = strength.view(np.uint32 if strength.dtype == np.float32 else np.uint64)
    cluster, label = mutex_clusters(problem.edges, problem.edge_costs, cheapest, descending(bits))
    return solution_from_clusters(problem, np.maximum(label, 0), cluster)


@njit(nogil=True, cache=True)
def _preferences(node_costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cheapest label of every node and by how much, 0 if there is no other, O(n K)."""
    num_nodes, num_labels = node_costs.shape
    cheapest = np.zeros(num_nodes, np.int32)
    margin = np.zeros(num_nodes, node_costs.dtype)
    for v in range(num_nodes):
        least, second = node_costs[v, 0], node_costs[v, 0]
        for k in range(1, num_labels):
            cost = node_costs[v, k]
            if cost < least:
                cheapest[v] = k
                least, second = cost, least
            elif cost < second or k == 1:
                second = cost
        margin[v] = second - least
    return cheapest, margin


@njit(nogil=True, cache=True)
def descending(keys: np.ndarray) -> np.ndarray:
    """Indices (n,) int32 of unsigned keys from largest to smallest, equal ones in order, O(n)."""
    order = np.arange(keys.size).astype(np.int32)
    ordered = np.empty_like(order)
    start = np.empty(2**16 + 1, np.int64)
    for shift in range(0, 8 * keys.itemsize, 16):
        start[:] = 0
        for key in keys:
            start[2**16 - ((key >> shift) & 0xFFFF)] += 1
        for digit in range(2**16):
            start[digit + 1] += start[digit]
        for i in order:
            digit = 2**16 - 1 - ((keys[i] >> shift) & 0xFFFF)
            ordered[start[digit]] = i
            start[digit] += 1
        order, ordered = ordered, order
    return order


class Forest(NamedTuple):
    """Clusters as trees, and what sets them apart.

    Attributes:
        parent: (n,) int32, a root of every cluster is its own parent.
        label: (n,) int32, the label of the cluster of a root, -1 if it has none.
        first, length: (n,) int32, the list of entries of a root, one per cluster that it is set apart from.
        following: the next entry in the list of an entry.
        other: a node of the other cluster.
    """

    parent: np.ndarray
    label: np.ndarray
    first: np.ndarray
    length: np.ndarray
    following: np.ndarray
    other: np.ndarray


def mutex_clusters(
    edges: np.ndarray, costs: np.ndarray, cheapest: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cluster (n,) and the label (n,) of every node, -1 if it was given none, in O(m log m).

    `order` holds the visits: below m an edge, from m on the giving of `cheapest` to a node.
    """
    num_nodes, num_repulsive = len(cheapest), int(np.count_nonzero(costs < 0.0))
    nodes = np.arange(num_nodes, dtype=np.int32)
    forest = Forest(
        parent=nodes,
        label=np.full(num_nodes, -1, np.int32),
        first=np.full(num_nodes, -1, np.int32),
        length=np.zeros(num_nodes, np.int32),
        following=np.empty(2 * num_repulsive, np.int32),
        other=np.empty(2 * num_repulsive, np.int32),
    )
    table, filled, entries = np.full(1024, -1, np.int64), 0, 0
    for begin in range(0, len(order), _AT_ONCE):
        visits = order[begin : begin + _AT_ONCE]
        table, filled, entries = _visit(edges, costs, cheapest, visits, forest, table, filled, entries)
    return _rooted(forest.parent, forest.label)


@njit(nogil=True, cache=True)
def _visit(
    edges: np.ndarray,
    costs: np.ndarray,
    cheapest: np.ndarray,
    visits: np.ndarray,
    forest: Forest,
    table: np.ndarray,
    filled: int,
    entries: int,
) -> tuple[np.ndarray, int, int]:
    """Make some visits; return the hash set of pairs of roots set apart, its size and the number of entries.

    Pairs of former roots lie about in the set until it grows.
    """
    num_edges = edges.shape[0]
    parent, label, first, length, following, other = forest
    for visit in visits:
        if visit >= num_edges:
            v = visit - num_edges
            root = root_of(parent, v)
            if label[root] < 0:
                label[root] = cheapest[v]
            continue
        cost = costs[visit]
        u, v = root_of(parent, edges[visit, 0]), root_of(parent, edges[visit, 1])
        if u == v or cost == 0.0:
            continue
        if 2 * filled >= table.size:
            table, filled = _grown(table, parent)
        if cost < 0.0:
            if _insert(table, key_of(u, v)):
                filled += 1
                for a, b in ((u, v), (v, u)):
                    other[entries] = b
                    following[entries] = first[a]
                    first[a] = entries
                    length[a] += 1
                    entries += 1
            continue
        if (label[u] >= 0 and label[v] >= 0 and label[u] != label[v]) or _contains(table, key_of(u, v)):
            continue
        if length[u] > length[v]:
            u, v = v, u
        parent[u] = v
        if label[v] < 0:
            label[v] = label[u]
        entry = first[u]
        while entry >= 0:
            after = following[entry]
            apart = root_of(parent, other[entry])
            if 2 * filled >= table.size:
                table, filled = _grown(table, parent)
            if _insert(table, key_of(v, apart)):
                filled += 1
                following[entry] = first[v]
                first[v] = entry
                length[v] += 1
            entry = after
    return table, filled, entries


@njit(nogil=True, cache=True)
def _rooted(parent: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The root and the root's label of every node, O(n)."""
    for v in range(parent.size):
        parent[v] = root_of(parent, v)
        label[v] = label[parent[v]]
    return parent, label


@njit(nogil=True, cache=True)
def _contains(table: np.ndarray, key: int) -> bool:
    return table[slot_of(table, key)] == key


@njit(nogil=True, cache=True)
def _insert(table: np.ndarray, key: int) -> bool:
    slot = slot_of(table, key)
    if table[slot] == key:
        return False
    table[slot] = key
    return True


@njit(nogil=True, cache=True)
def _grown(table: np.ndarray, parent: np.ndarray) -> tuple[np.ndarray, int]:
    """Table of the pairs whose nodes are still roots, at most a quarter full, and their number."""
    kept = 0
    for key in table:
        if key >= 0 and parent[key >> 32] == key >> 32 and parent[key & 0xFFFFFFFF] == key & 0xFFFFFFFF:
            kept += 1
    size = 1024
    while size < 4 * kept:
        size *= 2
    larger = np.full(size, -1, np.int64)
    for key in table:
        if key >= 0 and parent[key >> 32] == key >> 32 and parent[key & 0xFFFFFFFF] == key & 0xFFFFFFFF:
            larger[slot_of(larger, key)] = key
    return larger, kept
