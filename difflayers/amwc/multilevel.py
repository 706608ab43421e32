"""Multilevel local search: merge or move, contract what holds together, repeat; refine on the way back."""

import numpy as np

from difflayers.amwc.level import Level, contracted
from difflayers.amwc.merging import merge_partners
from difflayers.amwc.moves import move_nodes, own_clusters
from difflayers.graph.components import connected_parts
from difflayers.graph.rows import INDEX

# Most visits a node in one pass of moves, on average; passes end long before, this bounds the worst case.
MAX_VISITS = 20


def merge(finest: Level, patience: float) -> tuple[np.ndarray, np.ndarray]:
    """Clusters from merging best partners in rounds, refined by moves on every graph on the way back."""
    levels, components = [finest], []
    while True:
        component, count = merge_partners(levels[-1], patience)
        if count == len(component):
            break
        components.append(component)
        levels.append(contracted(levels[-1], component, count))
    cluster, label = single_nodes(levels[-1])
    move_nodes(levels.pop(), cluster, label, MAX_VISITS)
    while levels:
        level = levels.pop()
        cluster, label = cluster[components.pop()], _longer(label, sum(level.node_costs.shape))
        move_nodes(level, cluster, label, MAX_VISITS)
    return cluster, label


def single_nodes(level: Level) -> tuple[np.ndarray, np.ndarray]:
    """Clusters and their labels where every node has its cheapest label and things are on their own."""
    num_nodes, num_labels = level.node_costs.shape
    label = np.zeros(num_labels + num_nodes, np.int32)
    label[:num_labels] = np.arange(num_labels)
    return own_clusters(level, label), label


def improve(level: Level, cluster: np.ndarray, label: np.ndarray) -> int:
    """One cycle down to the coarsest graph and back; changes ``cluster`` and ``label``, returns the moves."""
    moves = move_nodes(level, cluster, label, MAX_VISITS)
    component, count = connected_parts(level.indptr, level.neighbours, level.weights, cluster)
    if count == len(cluster):
        return moves
    coarse_cluster, coarse_label = compact(cluster, label, component, count, len(level.partitionable))
    coarse_moves = improve(contracted(level, component, count), coarse_cluster, coarse_label)
    if coarse_moves == 0:
        return moves
    cluster[:] = coarse_cluster[component]
    label[:] = _longer(coarse_label, len(label))
    return moves + coarse_moves + move_nodes(level, cluster, label, MAX_VISITS)


def _longer(label: np.ndarray, length: int) -> np.ndarray:
    longer = np.zeros(length, np.int32)
    longer[: len(label)] = label
    return longer


def compact(
    cluster: np.ndarray, label: np.ndarray, component: np.ndarray, count: int, num_labels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters and their labels on the contracted graph, thing clusters renumbered from K on."""
    coarse = np.empty(count, INDEX)
    coarse[component] = cluster
    used, index = np.unique(coarse, return_inverse=True)
    thing = used >= num_labels
    number = used.copy()
    number[thing] = num_labels + np.arange(thing.sum())
    coarse_label = np.zeros(num_labels + count, np.int32)
    coarse_label[:num_labels] = np.arange(num_labels)
    coarse_label[number] = label[used]
    return number[index].astype(INDEX), coarse_label
