"""Multilevel local search of lifted multicut: merge, move what was merged as a whole, then node by node.

A state is an array of clusters (n,) whose numbers are below n. Parts of a cluster that no edge connects are
segments of their own.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import register_jitable

from difflayers.graph.components import connected_parts
from difflayers.graph.greedy import Pairs, merge_greedily, pairs_of
from difflayers.graph.rows import INDEX, compressed_rows
from difflayers.lifted_multicut.contraction import contract, merge_partners
from difflayers.lifted_multicut.moves import cut_weight, move_nodes
from difflayers.lifted_multicut.paths import join_paths
from difflayers.lifted_multicut.sequences import move_in_sequences

# Most visits a node in one pass of moves, on average; passes end long before, this bounds the worst case.
MAX_VISITS = 20
# Merging waits for good partners of each other, less so from a round on that merges few nodes. Waiting longer
# (0.9) took five times as long and was no better on scenes, up to 2.5 % worse at high noise.
_PATIENCE, _SLOW = 0.5, 0.01
# Cycles of improvement end when nothing is gained any more, mostly after two or three.
MAX_CYCLES = 10


class Graph(NamedTuple):
    """A graph of the hierarchy, as `difflayers.lifted_multicut.contraction` has it, without parallels."""

    indptr: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray
    base: np.ndarray


def make_graph(num_nodes: int, pairs: np.ndarray, costs: np.ndarray, is_edge: np.ndarray) -> Graph:
    """The graph of pairs (p, 2) of nodes, of which some are edges and all others lifted edges."""
    indptr, neighbours, weights = compressed_rows(num_nodes, pairs, costs)
    base = compressed_rows(num_nodes, pairs, is_edge.astype(np.uint8))[2]
    # Contracting nothing adds up parallels.
    return contracted(Graph(indptr, neighbours, weights, base), np.arange(num_nodes, dtype=INDEX), num_nodes)


@register_jitable
def contracted(graph: Graph, component: np.ndarray, count: int) -> Graph:
    """The graph whose nodes are the components."""
    indptr, neighbours, weights, base = graph
    indptr, neighbours, weights, base = contract(indptr, neighbours, weights, base, component, count)
    return Graph(indptr, neighbours, weights, base)


def merge(graph: Graph, one_by_one: int) -> np.ndarray:
    """Clusters from greedy merging and joins along paths, refined by moves on every graph on the way back.

    Best partners merge in rounds until so many edges and lifted edges are left. Then the pair that gains most
    merges first, as in greedy additive contraction.
    """
    return _merge(graph, one_by_one, _PATIENCE)


def _merge(graph: Graph, one_by_one: int, patience: float) -> np.ndarray:
    if len(graph.neighbours) // 2 <= one_by_one:
        return merge_pairs(graph, pairs_of(*graph))
    component, count = merge_partners(*graph, patience)
    if count == len(component):
        return refined(graph, component, count)
    if count > (1.0 - _SLOW) * len(component):
        patience /= 2.0
    cluster = _merge(contracted(graph, component, count), one_by_one, patience)[component]
    move_nodes(*graph, cluster, MAX_VISITS)
    return cluster


@register_jitable
def merge_pairs(graph: Graph, pairs: Pairs) -> np.ndarray:
    """Clusters from greedy additive contraction under the weights of the pairs, refined under the graph's."""
    component, count = merge_greedily(pairs, np.zeros((graph.indptr.size - 1, 1)))
    return refined(graph, component, count)


@njit(nogil=True, cache=True)
def refined(graph: Graph, component: np.ndarray, count: int) -> np.ndarray:
    """Clusters from components: joined along paths, then moved as a whole, then node by node."""
    coarse = contracted(graph, component, count)
    part, fewer = join_paths(coarse.indptr, coarse.neighbours, coarse.weights, coarse.base)
    while fewer < count:
        component, count = part[component], fewer
        coarse = contracted(coarse, part, count)
        part, fewer = join_paths(coarse.indptr, coarse.neighbours, coarse.weights, coarse.base)
    cluster = np.arange(count).astype(INDEX)
    move(coarse, cluster)
    cluster = cluster[component]
    move(graph, cluster)
    return cluster


@register_jitable
def move(graph: Graph, cluster: np.ndarray) -> None:
    """Move nodes while the cost falls; changes `cluster`."""
    move_nodes(graph.indptr, graph.neighbours, graph.weights, graph.base, cluster, MAX_VISITS)


@njit(nogil=True, cache=True)
def improved(graph: Graph, cluster: np.ndarray) -> np.ndarray:
    """Clusters of no more cost, after cycles of moves and of anew merging the clusters."""
    cost = cost_of(graph, cluster)
    for _ in range(MAX_CYCLES):
        moved = _cycle(graph, cluster.copy())
        lower = cost_of(graph, moved)
        if lower >= cost:
            break
        cluster, cost = moved, lower
    return cluster


@njit(nogil=True, cache=True)
def climbed(graph: Graph, cluster: np.ndarray) -> np.ndarray:
    """Clusters of no more cost, after cycles of moves, sequences of moves, and cycles again if any paid."""
    cluster = parts(graph, improved(graph, cluster))[0]
    if move_in_sequences(graph.indptr, graph.neighbours, graph.weights, graph.base, cluster) > 0:
        cluster = improved(graph, cluster)
    return cluster


@register_jitable
def _cycle(graph: Graph, cluster: np.ndarray) -> np.ndarray:
    move(graph, cluster)
    part, count = parts(graph, cluster)
    if count == cluster.size:
        return part
    coarse = contracted(graph, part, count)
    pairs = pairs_of(coarse.indptr, coarse.neighbours, coarse.weights, coarse.base)
    merged = merge_pairs(coarse, pairs)[part]
    move(graph, merged)
    return merged


@register_jitable
def parts(graph: Graph, cluster: np.ndarray) -> tuple[np.ndarray, int]:
    """The parts (n,) of clusters that edges connect, and how many there are."""
    return connected_parts(graph.indptr, graph.neighbours, graph.base, cluster)


@register_jitable
def restricted(coarse: Graph, part: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """The clusters of a graph as those of its contraction by `part`, none of whose parts they cut."""
    of_part = np.empty(coarse.indptr.size - 1, INDEX)
    of_part[part] = cluster
    return parts(coarse, of_part)[0]


@register_jitable
def cost_of(graph: Graph, cluster: np.ndarray) -> float:
    """What the parts of clusters that edges connect cost."""
    part, _ = parts(graph, cluster)
    return cut_weight(graph.indptr, graph.neighbours, graph.weights, part)
