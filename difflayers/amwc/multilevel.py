"""Multilevel local search: merge or move, contract what holds together, repeat; refine on the way back.

A state is a pair of arrays, cluster (n,) and label (K + n,), as in `difflayers.amwc.moves`. The compiled
functions here allocate large arrays more slowly than NumPy does. So the first step on a large graph is taken
in Python, by the same code.
"""

import numpy as np
from numba import njit
from numba.extending import register_jitable

from difflayers.amwc.level import Level, contracted
from difflayers.amwc.merging import merge_partners
from difflayers.amwc.moves import move_nodes, own_clusters
from difflayers.graph.components import connected_parts
from difflayers.graph.greedy import merge_greedily, pairs_of
from difflayers.graph.rows import INDEX

State = tuple[np.ndarray, np.ndarray]
# Most visits a node in one pass of moves, on average; passes end long before, this bounds the worst case.
MAX_VISITS = 20
# Cycles of moves end when nothing moves any more, mostly after two or three.
MAX_CYCLES = 10
# Up to so many edges times labels, pairs merge one by one: that takes longer than rounds do, and finds more.
_ONE_BY_ONE = 200_000


def merge(level: Level, patience: float, in_rounds: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The state that greedy merging leads to, refined by moves on every graph on the way back.

    On a large graph, or `in_rounds`, best partners merge in rounds, and few pairs have to wait. On a small
    graph the pair that gains most merges first.
    """
    if not in_rounds and merges_one_by_one(level):
        component, count = greedy_parts(level)
        return refined(level, component, count)
    component, count = merge_partners(level, patience)
    if count == len(component):
        return refined(level, component, count)
    coarse = merge(contracted(level, component, count), patience, in_rounds)
    cluster, label = expanded(level, *coarse, component)
    move_nodes(level, cluster, label, MAX_VISITS)
    return cluster, label


@register_jitable
def merges_one_by_one(level: Level) -> bool:
    """Whether the graph is small enough for merging pair by pair."""
    return level.neighbours.size // 2 * level.partitionable.size <= _ONE_BY_ONE


@register_jitable
def greedy_parts(level: Level) -> tuple[np.ndarray, int]:
    """Component (n,) of every node after greedy additive contraction, and the number of components."""
    pairs = pairs_of(level.indptr, level.neighbours, level.weights, np.empty(0, np.uint8))
    return merge_greedily(pairs, level.node_costs)


@njit(nogil=True, cache=True)
def refined(level: Level, component: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The state whose thing segments are the components, after moves of components and then of nodes."""
    coarse = contracted(level, component, count)
    cluster, label = single_nodes(coarse)
    move_nodes(coarse, cluster, label, MAX_VISITS)
    cluster, label = expanded(level, cluster, label, component)
    move_nodes(level, cluster, label, MAX_VISITS)
    return cluster, label


@njit(nogil=True, cache=True)
def single_nodes(level: Level) -> tuple[np.ndarray, np.ndarray]:
    """The state where every node has its cheapest label and things are on their own."""
    num_nodes, num_labels = level.node_costs.shape
    label = np.zeros(num_labels + num_nodes, np.int32)
    label[:num_labels] = np.arange(num_labels)
    return own_clusters(level, label), label


@njit(nogil=True, cache=True)
def improve(level: Level, cluster: np.ndarray, label: np.ndarray) -> int:
    """One cycle down to the coarsest graph and back; changes `cluster` and `label`, returns the moves."""
    moves = move_nodes(level, cluster, label, MAX_VISITS)
    component, count = connected_parts(level.indptr, level.neighbours, level.weights, cluster)
    if count == cluster.size:
        return moves
    coarse = contracted(level, component, count)
    coarse_cluster, coarse_label = compact(cluster, label, component, count, level.partitionable.size)
    coarse_moves = improve(coarse, coarse_cluster, coarse_label)
    if coarse_moves == 0:
        return moves
    cluster[:] = coarse_cluster[component]
    label[: coarse_label.size] = coarse_label
    return moves + coarse_moves + move_nodes(level, cluster, label, MAX_VISITS)


def improve_anywhere(level: Level, cluster: np.ndarray, label: np.ndarray) -> int:
    """The same as `improve`, with the first step in Python if the graph is large."""
    cycle = improve if merges_one_by_one(level) else improve.py_func
    return cycle(level, cluster, label)


@njit(nogil=True, cache=True)
def settle(level: Level, cluster: np.ndarray, label: np.ndarray) -> None:
    """Cycles until nothing moves; changes `cluster` and `label`."""
    for _ in range(MAX_CYCLES):
        if improve(level, cluster, label) == 0:
            break


@register_jitable
def expanded(
    level: Level, coarse_cluster: np.ndarray, coarse_label: np.ndarray, component: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The state on a graph from a state on its contraction by `component`."""
    label = np.zeros(level.node_costs.shape[0] + level.node_costs.shape[1], np.int32)
    label[: coarse_label.size] = coarse_label
    return coarse_cluster[component], label


@njit(nogil=True, cache=True)
def compact(
    cluster: np.ndarray, label: np.ndarray, component: np.ndarray, count: int, num_labels: int
) -> tuple[np.ndarray, np.ndarray]:
    """The state on the contracted graph, thing clusters renumbered from K on, O(n)."""
    coarse = np.empty(count, INDEX)
    for v in range(cluster.size):
        coarse[component[v]] = cluster[v]
    coarse_label = np.zeros(num_labels + count, np.int32)
    coarse_label[:num_labels] = np.arange(num_labels)
    number = np.zeros(label.size, INDEX)
    following = num_labels
    for c in range(count):
        old = coarse[c]
        if old >= num_labels:
            if number[old] == 0:
                number[old] = following
                coarse_label[following] = label[old]
                following += 1
            coarse[c] = number[old]
    return coarse, coarse_label
