"""Moving costs between nodes along edges, as in min-sum message passing."""

import numpy as np
from numba import njit

from difflayers.amwc.level import cheapest_labels
from difflayers.graph.minimum import greater, lesser

# Labels of neighbours that are looked at in a call of the kernel, after which Ctrl-C is heard.
_AT_ONCE = 1 << 27


def pass_on_labels(
    graph: tuple[np.ndarray, np.ndarray, np.ndarray],
    remaining: np.ndarray,
    costs: np.ndarray,
    labels: np.ndarray,
    share: float,
    backwards: bool,
) -> None:
    """Let every node pass on to later neighbours what its labels cost more than its cheapest, O((n + m) K).

    A neighbour of another label comes first: the edge between them is cut in the solution that guides, and
    is paid for in full if that makes the neighbour's label dearer by the whole edge, and leaves no other
    label cheaper than it. What is left goes to all neighbours in proportion to their edges.

    Args:
        graph: compressed rows, with the numbers of edges for weights.
        remaining: (m,) whole numbers, what is left of the edges' costs; lowered by the most that an edge
        took.
        costs: (n, K) whole numbers, the costs of labels, changed.
        labels: (n,) those of the solution that guides.
        share: how much of each edge is used for what goes to all neighbours.
        backwards: whether to pass on to earlier neighbours, from the last node to the first.
    """
    num_nodes, num_labels = costs.shape
    step = max(1, _AT_ONCE * num_nodes // ((len(graph[1]) + num_nodes) * num_labels))
    for begin in range(0, num_nodes, step):
        end = min(begin + step, num_nodes)
        _pass_on_labels(*graph, remaining, costs, labels, share, backwards, begin, end)


@njit(nogil=True, cache=True)
def _pass_on_labels(
    indptr: np.ndarray,
    neighbours: np.ndarray,
    edge_of: np.ndarray,
    remaining: np.ndarray,
    costs: np.ndarray,
    labels: np.ndarray,
    share: float,
    backwards: bool,
    begin: int,
    end: int,
) -> None:
    """Steps `begin` to `end` of `pass_on_labels`."""
    num_nodes, num_labels = costs.shape
    excess = np.empty(num_labels, np.float64)
    for step in range(begin, end):
        v = num_nodes - 1 - step if backwards else step
        least = costs[v, 0]
        for k in range(num_labels):
            least = lesser(least, costs[v, k])
        for k in range(num_labels):
            excess[k] = costs[v, k] - least
        attraction = 0.0
        for i in range(indptr[v], indptr[v + 1]):
            u, e = neighbours[i], edge_of[i]
            if (u < v) != backwards or remaining[e] <= 0.0:
                continue
            weight, label, most = remaining[e], labels[u], 0.0
            if label != labels[v]:
                goal = costs[u, label] + lesser(weight, excess[label])
                for k in range(num_labels):
                    passed = greater(lesser(lesser(excess[k], weight), goal - costs[u, k]), 0.0)
                    costs[u, k] += passed
                    costs[v, k] -= passed
                    excess[k] -= passed
                    most = greater(most, passed)
                remaining[e] -= most
            attraction += remaining[e]
        most = 0.0
        for k in range(num_labels):
            most = greater(most, excess[k])
        for i in range(indptr[v], indptr[v + 1]):
            u, e = neighbours[i], edge_of[i]
            if (u < v) != backwards or remaining[e] <= 0.0:
                continue
            part, weight = remaining[e] / attraction, np.floor(share * remaining[e])
            for k in range(num_labels):
                passed = lesser(np.floor(part * excess[k]), weight)
                costs[u, k] += passed
                costs[v, k] -= passed
            remaining[e] -= lesser(np.floor(part * most), weight)


@njit(nogil=True, cache=True)
def pack_repulsion(
    edges: np.ndarray, remaining: np.ndarray, costs: np.ndarray, partitionable: np.ndarray
) -> None:
    """Pay what repulsive edges inside a label that may not be split cost more than all cut, O(n K + m).

    Raises `remaining` of these edges.
    """
    favourite, _, gap = cheapest_labels(costs)
    for e in range(edges.shape[0]):
        u, v = edges[e, 0], edges[e, 1]
        if remaining[e] < 0.0 and favourite[u] == favourite[v] and not partitionable[favourite[u]]:
            amount = min(-remaining[e], gap[u], gap[v])
            gap[u] -= amount
            gap[v] -= amount
            remaining[e] += amount
