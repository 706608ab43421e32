"""Connected components by union-find, from edge lists and from compressed rows.

Edges are (m, 2) INDEX here; graphs in compressed rows are those of `difflayers.graph.rows`.
"""

import numpy as np
from numba import njit

from difflayers.graph.compiling import borrowing
from difflayers.graph.rows import INDEX


@borrowing
def root_of(parent: np.ndarray, v: int) -> int:
    """The representative of the component of v; paths are halved on the way."""
    while parent[v] != v:
        parent[v] = parent[parent[v]]
        v = parent[v]
    return v


@borrowing
def join(parent: np.ndarray, u: int, v: int) -> None:
    """Make the components of u and v one, whose representative is its first node."""
    a, b = root_of(parent, u), root_of(parent, v)
    parent[max(a, b)] = min(a, b)


@njit(nogil=True, cache=True)
def numbered(parent: np.ndarray) -> tuple[np.ndarray, int]:
    """Components (n,) INDEX in the order of their first nodes, and how many; parents are earlier nodes."""
    component = np.empty(parent.size, INDEX)
    count = 0
    for v in range(parent.size):
        if parent[v] == v:
            component[v] = count
            count += 1
        else:
            component[v] = component[parent[v]]
    return component, count


@njit(nogil=True, cache=True)
def components(num_nodes: int, edges: np.ndarray) -> np.ndarray:
    """Smallest node of the connected component of every node, O(m log n) at worst and linear in practice."""
    parent = np.arange(num_nodes).astype(INDEX)
    for e in range(edges.shape[0]):
        join(parent, edges[e, 0], edges[e, 1])
    for v in range(num_nodes):
        parent[v] = root_of(parent, v)
    return parent


@njit(nogil=True, cache=True)
def connected_parts(
    indptr: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, cluster: np.ndarray
) -> tuple[np.ndarray, int]:
    """Parts of the clusters that edges of positive weight connect, and how many; linear in practice.

    They are numbered in the order of their first nodes.
    """
    parent = np.arange(cluster.size).astype(INDEX)
    for v in range(cluster.size):
        for i in range(indptr[v], indptr[v + 1]):
            u = neighbours[i]
            # Most edges are inner ones of what is one tree already, so the test of parents comes first.
            if parent[u] == parent[v] or u > v or cluster[u] != cluster[v] or weights[i] <= 0:
                continue
            join(parent, u, v)
    return numbered(parent)


@njit(nogil=True, cache=True)
def connected_segments(
    edges: np.ndarray, partitionable: np.ndarray, labels: np.ndarray, cluster: np.ndarray
) -> np.ndarray:
    """Segments (n,) int64, numbered in the order of first nodes, linear in practice.

    Those of things are connected parts of equal `cluster` (n,), those of other labels all of their nodes.
    """
    num_nodes, num_labels = labels.size, partitionable.size
    parent = np.arange(num_nodes).astype(INDEX)
    for e in range(edges.shape[0]):
        u, v = edges[e, 0], edges[e, 1]
        # Most edges are inner ones of a segment that is one tree already: the test of parents comes first.
        if parent[u] == parent[v] or cluster[u] != cluster[v] or labels[u] != labels[v]:
            continue
        if partitionable[labels[u]]:
            join(parent, u, v)
    first = np.full(num_labels, -1, np.int32)
    segments = np.empty(num_nodes, np.int64)
    count = 0
    for v in range(num_nodes):
        root = parent[v]  # or an earlier node of the component, which has its segment already
        if not partitionable[labels[v]]:
            if first[labels[v]] < 0:
                first[labels[v]] = v
            root = first[labels[v]]
        if root == v:
            segments[v] = count
            count += 1
        else:
            segments[v] = segments[root]
    return segments


@njit(nogil=True, cache=True)
def cut_edges(edges: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """(m,) uint8, 1 where the two ends of an edge lie in different segments (n,)."""
    cuts = np.empty(edges.shape[0], np.uint8)
    for e in range(edges.shape[0]):
        cuts[e] = segments[edges[e, 0]] != segments[edges[e, 1]]
    return cuts
