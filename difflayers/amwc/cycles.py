"""Packing cycles with exactly one repulsive edge, one of whose edges has to give in."""

import numpy as np
from numba import njit

from difflayers.graph.rows import INDEX

# A repulsive edge looks this often for another path round it.
_PATHS_PER_EDGE = 8
# Repulsive edges in a call of the kernel: a second's work at most, after which Ctrl-C is heard.
_AT_ONCE = 1 << 14
# Searches whose stamps fit in 32 bits, with room for those of one call.
_MOST_SEARCHES = 2**31 - 1 - _PATHS_PER_EDGE * _AT_ONCE


def pack_cycles(
    graph: tuple[np.ndarray, np.ndarray, np.ndarray],
    edges: np.ndarray,
    remaining: np.ndarray,
    segments: np.ndarray,
    chosen: np.ndarray,
    edges_per_path: int,
) -> None:
    """Pay for cycles of at most five edges with one repulsive edge, O(m) with a large factor.

    Raises `remaining` of that edge and lowers `remaining` of the others, by as much.

    Args:
        graph: compressed rows, with the numbers of edges for weights.
        edges: (m, 2).
        remaining: (m,) what is left of the edges' costs.
        segments: (n,) cycles stay in the segments of the two ends of their repulsive edge.
        chosen: (m,) bool, the edges that may be the repulsive one.
        edges_per_path: how many edges the two searches from the ends look at.
    """
    num_nodes = len(segments)
    scratch = (
        np.zeros((2, num_nodes), np.int32),
        np.empty((2, num_nodes), np.int32),
        np.empty((2, num_nodes), INDEX),
    )
    repulsive = np.flatnonzero(chosen & (remaining < 0.0))
    searches = 0
    for begin in range(0, len(repulsive), _AT_ONCE):
        if searches > _MOST_SEARCHES:
            scratch[0][:], searches = 0, 0
        some = repulsive[begin : begin + _AT_ONCE]
        searches = _pack_cycles(graph, edges, remaining, segments, some, edges_per_path, scratch, searches)


@njit(nogil=True, cache=True)
def _pack_cycles(
    graph: tuple[np.ndarray, np.ndarray, np.ndarray],
    edges: np.ndarray,
    remaining: np.ndarray,
    segments: np.ndarray,
    repulsive: np.ndarray,
    edges_per_path: int,
    scratch: tuple[np.ndarray, np.ndarray, np.ndarray],
    now: int,
) -> int:
    """Pack cycles round some edges; `now` is the number of searches so far, which is returned increased."""
    indptr, neighbours, edge_of = graph
    stamp, step_edge, reached = scratch
    first, last = np.zeros(2, INDEX), np.zeros(2, INDEX)
    for e in repulsive:
        tail, head = segments[edges[e, 0]], segments[edges[e, 1]]
        for _ in range(_PATHS_PER_EDGE):
            if remaining[e] >= 0.0:
                break
            now += 1
            for side in range(2):
                stamp[side, edges[e, side]] = now
                step_edge[side, edges[e, side]] = -1
                reached[side, 0] = edges[e, side]
                first[side], last[side] = 0, 1
            middle = -1
            budget = edges_per_path
            for step in range(4):
                side = step % 2
                end = last[side]
                for j in range(first[side], end):
                    v = reached[side, j]
                    for i in range(indptr[v], min(indptr[v + 1], indptr[v] + budget)):
                        budget -= 1
                        u = neighbours[i]
                        inside = segments[u] == tail or segments[u] == head
                        if inside and stamp[side, u] != now and remaining[edge_of[i]] > 0.0:
                            stamp[side, u] = now
                            step_edge[side, u] = edge_of[i]
                            reached[side, last[side]] = u
                            last[side] += 1
                            if stamp[1 - side, u] == now:
                                middle = u
                                break
                    if middle >= 0 or budget == 0:
                        break
                first[side] = end
                if middle >= 0 or budget == 0:
                    break
            if middle < 0:
                break
            amount = -remaining[e]
            for lower in range(2):
                for side in range(2):
                    v = middle
                    while step_edge[side, v] >= 0:
                        f = step_edge[side, v]
                        if lower:
                            remaining[f] -= amount
                        else:
                            amount = min(amount, remaining[f])
                        v = edges[f, 0] + edges[f, 1] - v
            remaining[e] += amount
    return now
