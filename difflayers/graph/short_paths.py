"""Pairs of nodes with a path between them that is shorter than the pair: cycle and path inequalities."""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

# Distances held at a time (a table of all pairs of nodes may not fit in memory), and the fewest sources.
_DISTANCES, _FEWEST = 1 << 19, 32
# A little length for every edge prefers short paths, whose inequalities are the strong ones.
_STEP = 1e-7


def short_paths(
    num_nodes: int,
    tails: np.ndarray,
    heads: np.ndarray,
    values: np.ndarray,
    edges: np.ndarray,
    pairs: np.ndarray,
    tolerance: float,
    late: Callable[[], bool],
) -> Iterator[tuple[int, list[int]]]:
    """Yield each pair with a path of edges between its ends that is shorter than the pair, and the path.

    Args:
        num_nodes: number of nodes.
        tails, heads: (p,) ends of all pairs, tails first.
        values: (p,) their lengths, 0 to 1.
        edges: which of the pairs paths may use.
        pairs: which of the pairs to look at.
        tolerance: how much shorter a path has to be, ten times over.
        late: when to end early.
    """
    pairs = pairs[values[pairs] > tolerance]
    if len(edges) == 0 or len(pairs) == 0:
        return
    # In older releases of SciPy, graph algorithms take no index but int32.
    ends = tails[edges].astype(np.int32), heads[edges].astype(np.int32)
    length = np.maximum(values[edges], 0.0) + _STEP
    rows, columns = np.concatenate(ends), np.concatenate(ends[::-1])
    graph = csr_array((np.tile(length, 2), (rows, columns)), shape=(num_nodes, num_nodes))
    number = dict(
        zip(zip(tails[edges].tolist(), heads[edges].tolist(), strict=True), edges.tolist(), strict=True)
    )
    pairs = pairs[np.argsort(tails[pairs], kind="stable")]
    sources, first = np.unique(tails[pairs], return_index=True)
    last = np.append(first[1:], len(pairs))
    at_once = max(_FEWEST, _DISTANCES // num_nodes)
    for begin in range(0, len(sources), at_once):
        if late():
            return
        chunk = slice(begin, begin + at_once)
        distance, before = dijkstra(graph, indices=sources[chunk], return_predecessors=True, limit=1.0 + 1e-3)
        for row, (low, high) in enumerate(zip(first[chunk].tolist(), last[chunk].tolist(), strict=True)):
            for pair in pairs[low:high].tolist():
                u, v = int(tails[pair]), int(heads[pair])
                if distance[row, v] < values[pair] - 10 * tolerance:
                    yield pair, _path(before[row], u, v, number)


def _path(before: np.ndarray, u: int, v: int, number: dict[tuple[int, int], int]) -> list[int]:
    path = []
    while v != u:
        w = int(before[v])
        path.append(number[min(v, w), max(v, w)])
        v = w
    return path
