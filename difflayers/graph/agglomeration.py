"""Agglomeration of signed graphs: merge the clusters that attract each other most, until none do."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numba import njit

from difflayers._arguments import count, one_of
from difflayers.graph.checks import checked_edges, owned
from difflayers.graph.components import root_of
from difflayers.graph.costs import real_numbers
from difflayers.graph.heap import Heap, empty_heap, insert, remove
from difflayers.graph.pair_tables import key_of, slot_of


class Chains(NamedTuple):
    """The edges of every cluster, as chains of entries.

    Args:
        first: (n,) first entry of a cluster, -1 if there is none.
        last: (n,) last entry.
        length: (n,) number of entries.
        following: (2 m,) the entry after an entry, -1 after the last.
    """

    first: np.ndarray
    last: np.ndarray
    length: np.ndarray
    following: np.ndarray


Linkage = Literal["average", "sum", "min", "max", "absolute maximum"]
# Places in Linkage; the absolute maximum comes after them.
_AVERAGE, _SUM, _MIN, _MAX = range(4)


def agglomerate(
    num_nodes: int,
    edges: np.ndarray,
    costs: np.ndarray,
    linkage: Linkage = "average",
    *,
    cannot_link: bool = False,
    sizes: np.ndarray | None = None,
) -> np.ndarray:
    """Merge nodes of a signed graph into segments, the most attractive pair of clusters first (GASP).

    The interaction of two clusters follows from the costs of the edges between them by the linkage. As long
    as an interaction is positive, the two clusters of the greatest one merge. With `cannot_link`, the pairs
    of clusters are visited in the order of their absolute interactions, and a negative one sets its two
    clusters apart for good. Of equal interactions, that of the earliest edge comes first; for "min", "max"
    and "absolute maximum", this is the earliest edge that has the interaction as its cost.

    | linkage | interaction | without `cannot_link` | with it |
    | --- | --- | --- | --- |
    | "sum" | sum of the costs | greedy additive multicut | greedy fixation |
    | "average" | their mean, weighted by size | average linkage | average linkage with constraints |
    | "max" | greatest cost | single linkage | single linkage with constraints |
    | "min" | least cost | complete linkage | the same |
    | "absolute maximum" | cost of greatest absolute value | mutex watershed | the same |

    Args:
        num_nodes: number n of nodes.
        edges: (m, 2) integers, pairs of different nodes. Parallel edges are combined by the linkage.
        costs: (m,) finite float; positive attracts, negative repels.
        linkage: see the table.
        cannot_link: whether negative interactions become constraints.
        sizes: (m,) positive weights of the edges for the average linkage; None weights all edges alike.

    Returns:
        (n,) int64, the segment of every node, contiguous from 0 in the order of first nodes.

    Raises:
        TypeError, ValueError: if an argument is not as described above.

    O(m log² m) time. Source: Bailoni et al. 2022, "GASP, a generalized framework for agglomerative
    clustering of signed graphs and its application to instance segmentation", Algorithm 1 and Table 1.

    Examples:
        >>> agglomerate(3, np.array([[0, 1], [1, 2], [0, 2]]), np.array([3.0, 2.0, -2.5]), "sum").tolist()
        [0, 0, 1]
        >>> agglomerate(3, np.array([[0, 1], [1, 2], [0, 2]]), np.array([3.0, 2.0, -2.5]), "max").tolist()
        [0, 0, 0]
    """
    one_of("linkage", linkage, Linkage)
    nodes = count("num_nodes", num_nodes)
    pairs = checked_edges(edges, nodes)
    values = _checked("costs", costs, len(pairs))
    if not np.isfinite(values).all():
        raise ValueError(f"costs must be finite, got {values[~np.isfinite(values)][0]}")
    weights = np.ones(len(pairs))
    if sizes is not None:
        if linkage != "average":
            raise ValueError(f'sizes are for the linkage "average", got {linkage!r}')
        weights = _checked("sizes", sizes, len(pairs))
        if not ((weights > 0) & np.isfinite(weights)).all():
            raise ValueError("sizes must be positive and finite")
    kind = get_args(Linkage).index(linkage)
    return _agglomerate(nodes, pairs, values * weights, weights, kind, bool(cannot_link))


def _checked(name: str, values: np.ndarray, size: int) -> np.ndarray:
    array = owned(real_numbers(name, values), np.float64)
    if array.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), got {array.shape}")
    return array.copy()


@njit(nogil=True, cache=True)
def _agglomerate(
    num_nodes: int, edges: np.ndarray, total: np.ndarray, size: np.ndarray, linkage: int, cannot_link: bool
) -> np.ndarray:
    """Segments (n,) in the order of first nodes, O(m log² m).

    Between two clusters there is one living edge, which stands for all of them. `total` holds its
    interaction, times `size` for the average. A cluster has a chain of its edges, whose entry 2 e + s is side
    s of edge e. When two clusters merge, the edges of the one with the shorter chain go to the other.
    """
    chains = Chains(
        np.full(num_nodes, -1, np.int64),
        np.full(num_nodes, -1, np.int64),
        np.zeros(num_nodes, np.int64),
        np.empty(2 * len(edges), np.int64),
    )
    parent = np.arange(num_nodes).astype(np.int32)
    dead, apart = np.zeros(len(edges), np.bool_), np.zeros(len(edges), np.bool_)
    keys, found, filled = _connect(edges, total, size, linkage, chains, dead)
    heap = empty_heap(len(edges))
    for e in range(len(edges)):
        if not dead[e]:
            _order(heap, e, total[e] / size[e], cannot_link)
    while heap.size[0] > 0:
        e = heap.items[0]
        remove(heap, e)
        if total[e] < 0.0:
            apart[e] = True
            continue
        dead[e] = True
        u, v = root_of(parent, edges[e, 0]), root_of(parent, edges[e, 1])
        if chains.length[u] > chains.length[v]:
            u, v = v, u
        parent[u] = v
        entry = chains.first[u]
        while entry >= 0:
            after, moved = chains.following[entry], entry >> 1
            if dead[moved]:
                entry = after
                continue
            if 2 * filled >= keys.size:
                keys, found, filled = _cleared(keys, found, dead, parent)
            key = key_of(v, root_of(parent, edges[moved, 1 - (entry & 1)]))
            slot = slot_of(keys, key)
            kept, gone = moved, moved
            if keys[slot] == key:
                kept, gone = _combined(total, size, moved, found[slot], linkage)
            filled += keys[slot] != key
            keys[slot], found[slot] = key, kept
            if kept == moved:
                _append(chains, v, entry)
            if kept != gone:
                dead[gone] = True
                remove(heap, gone)
                apart[kept] |= apart[gone]
                if apart[kept]:
                    remove(heap, kept)
                else:
                    _order(heap, kept, total[kept] / size[kept], cannot_link)
            entry = after
    return _numbered(parent)


@njit(nogil=True, cache=True)
def _connect(
    edges: np.ndarray, total: np.ndarray, size: np.ndarray, linkage: int, chains: Chains, dead: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Put the edges into the chains of their ends, and into a table by pairs of clusters that is returned."""
    table_size = 16
    while table_size < 4 * len(edges):
        table_size *= 2
    keys, found, filled = np.full(table_size, -1, np.int64), np.empty(table_size, np.int64), 0
    for e in range(len(edges)):
        key = key_of(edges[e, 0], edges[e, 1])
        slot = slot_of(keys, key)
        if keys[slot] == key:
            kept, gone = _combined(total, size, e, found[slot], linkage)
            dead[gone] = True
            found[slot] = kept
        else:
            keys[slot], found[slot] = key, e
            filled += 1
        # Entries of dead edges are skipped later.
        for side in range(2):
            _append(chains, edges[e, side], 2 * e + side)
    return keys, found, filled


@njit(nogil=True, cache=True)
def _combined(total: np.ndarray, size: np.ndarray, a: int, b: int, linkage: int) -> tuple[int, int]:
    """Which of two edges between the same clusters stands for both from now on, and the other one."""
    a, b = min(a, b), max(a, b)
    if linkage <= _SUM:
        total[a] += total[b]
        if linkage == _AVERAGE:
            size[a] += size[b]
        return a, b
    if linkage == _MIN:
        later = total[b] < total[a]
    elif linkage == _MAX:
        later = total[b] > total[a]
    else:
        later = abs(total[b]) > abs(total[a])
    return (b, a) if later else (a, b)


@njit(nogil=True, cache=True)
def _order(heap: Heap, edge: int, interaction: float, cannot_link: bool) -> None:
    """Give an edge its place in the heap, unless it has nothing to say there."""
    strength = abs(interaction) if cannot_link else interaction
    if strength > 0.0:
        insert(heap, edge, strength)
    else:
        remove(heap, edge)


@njit(nogil=True, cache=True)
def _append(chains: Chains, cluster: int, entry: int) -> None:
    chains.following[entry] = -1
    if chains.last[cluster] < 0:
        chains.first[cluster] = entry
    else:
        chains.following[chains.last[cluster]] = entry
    chains.last[cluster] = entry
    chains.length[cluster] += 1


@njit(nogil=True, cache=True)
def _cleared(
    keys: np.ndarray, found: np.ndarray, dead: np.ndarray, parent: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """The table without pairs of former clusters."""
    new_keys, new_found, filled = np.full(keys.size, -1, np.int64), np.empty_like(found), 0
    for slot in range(keys.size):
        if keys[slot] < 0 or dead[found[slot]]:
            continue
        u, v = keys[slot] >> 32, keys[slot] & 0xFFFFFFFF
        if parent[u] == u and parent[v] == v:
            place = slot_of(new_keys, keys[slot])
            new_keys[place], new_found[place] = keys[slot], found[slot]
            filled += 1
    return new_keys, new_found, filled


@njit(nogil=True, cache=True)
def _numbered(parent: np.ndarray) -> np.ndarray:
    """Segments (n,) of the roots, in the order of first nodes."""
    segments, segment_of = np.empty(parent.size, np.int64), np.full(parent.size, -1, np.int64)
    num_segments = 0
    for v in range(parent.size):
        root = root_of(parent, v)
        if segment_of[root] < 0:
            segment_of[root] = num_segments
            num_segments += 1
        segments[v] = segment_of[root]
    return segments
