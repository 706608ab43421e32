"""Lifted edges of a graph: pairs of nodes a few hops apart, and their costs from class priors."""

import numpy as np
from numba import njit

from difflayers._arguments import count
from difflayers.graph.checks import checked_edges
from difflayers.graph.costs import edge_costs, real_numbers
from difflayers.graph.rows import compressed_rows


def lifted_edges(num_nodes: int, edges: np.ndarray, hops: int) -> np.ndarray:
    """Pairs of nodes between which the shortest path has 2 to `hops` edges.

    Args:
        num_nodes: number n of nodes.
        edges: (m, 2) integers, pairs of different nodes.
        hops: how many edges a path may have, at least 2. The number of pairs grows with the power of it.

    Returns:
        (l, 2) int64, sorted, the lesser node first. Pairs that have an edge are not among them.

    Raises:
        TypeError, ValueError: if an argument is not as described above.

    Examples:
        >>> lifted_edges(4, np.array([[0, 1], [1, 2], [2, 3]]), hops=2).tolist()
        [[0, 2], [1, 3]]
    """
    nodes = count("num_nodes", num_nodes)
    pairs = checked_edges(edges, nodes)
    depth = count("hops", hops, least=2)
    indptr, neighbours, _ = compressed_rows(nodes, pairs, np.zeros(len(pairs), np.float32))
    counts = np.zeros(nodes, np.int64)
    _search(indptr, neighbours, depth, counts, np.empty(0, np.int64), False)
    begin = np.concatenate([[0], np.cumsum(counts)])
    heads = np.empty(begin[-1], np.int64)
    _search(indptr, neighbours, depth, begin[:-1].copy(), heads, True)
    return np.stack([np.repeat(np.arange(nodes), counts), heads], axis=1)


def class_lifted_edges(
    num_nodes: int,
    edges: np.ndarray,
    hops: int,
    probabilities: np.ndarray,
    *,
    same_class_attracts: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Lifted edges within some hops whose costs say that nodes of different classes are apart.

    Let p be the probability that the two nodes have different classes, independently of each other. The cost
    of their edge is `log((1 - p) / p)`, see `difflayers.graph.edge_costs`. It is negative if p is more than a
    half. Pairs with p below a half are left out, because two nodes of one class may still be two segments.

    Args:
        num_nodes: number n of nodes.
        edges: (m, 2) integers, pairs of different nodes.
        hops: how many edges the shortest path between the nodes may have, at least 2.
        probabilities: (n, K) float, the probability of every class at every node, such as
            `region_features(regions, map).mean` of each class's map. A row may add up to less than 1. The
            rest is unknown: it counts half for the same class and half for a different one.
        same_class_attracts: whether pairs with p below a half are kept, too. That is right if each class is
            one segment.

    Returns:
        The lifted edges (l, 2) int64, as of `lifted_edges`, and their costs (l,) float64.

    Raises:
        TypeError, ValueError: if an argument is not as described above.

    Source: Pape et al. 2019, "Leveraging domain knowledge to improve EM image segmentation with lifted
    multicuts".

    Examples:
        >>> classes = np.array([[0.9, 0.1], [0.5, 0.5], [0.0, 1.0]])
        >>> edges, costs = class_lifted_edges(3, np.array([[0, 1], [1, 2]]), 2, classes)
        >>> edges.tolist(), costs.round(3).tolist()
        ([[0, 2]], [-2.197])
    """
    classes = real_numbers("probabilities", probabilities).astype(np.float64)
    if classes.ndim != 2 or len(classes) != num_nodes:
        raise ValueError(f"probabilities must have shape ({num_nodes}, K), got {classes.shape}")
    known = classes.sum(axis=1)
    if not ((classes >= 0).all() and (known <= 1 + 1e-6).all()):
        raise ValueError("probabilities must be at least 0, and those of a node must add up to at most 1")
    pairs = lifted_edges(num_nodes, edges, hops)
    u, v = pairs.T
    same = np.einsum("ik,ik->i", classes[u], classes[v])
    both_known = known[u] * known[v]
    different = np.clip(both_known - same + (1 - both_known) / 2, 0, 1)
    kept = (different != 0.5) if same_class_attracts else (different > 0.5)
    return pairs[kept], edge_costs(different[kept])


@njit(nogil=True, cache=True)
def _search(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    hops: int,
    position: np.ndarray,
    heads: np.ndarray,
    write: bool,
) -> None:
    """Breadth-first search from every node: count the later nodes 2 to `hops` away, or write them, sorted.

    For each node, the time is that of looking at the edges of all nodes nearer than `hops`. `position` is
    where the next pair of a node is written, and is advanced.
    """
    num_nodes = position.size
    seen = np.full(num_nodes, -1, np.int64)
    queue = np.empty(num_nodes, np.int64)
    for source in range(num_nodes):
        begin = position[source]
        seen[source] = source
        queue[0] = source
        start, end = 0, 1
        for distance in range(1, hops + 1):
            level_end = end
            for i in range(start, level_end):
                node = queue[i]
                for j in range(indptr[node], indptr[node + 1]):
                    other = neighbours[j]
                    if seen[other] == source:
                        continue
                    seen[other] = source
                    queue[end] = other
                    end += 1
                    if distance > 1 and other > source:
                        if write:
                            heads[position[source]] = other
                        position[source] += 1
            start = level_end
        if write:
            heads[begin : position[source]].sort()
