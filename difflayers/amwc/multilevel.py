"""Multilevel local search: move nodes, contract what holds together, repeat; then refine on the way back."""

from typing import NamedTuple

import numpy as np

from difflayers.amwc.moves import cheapest_labels, move_nodes, own_clusters
from difflayers.amwc.problem import AMWC
from difflayers.amwc.solution import Solution, checked_labels, solution_from_clusters
from difflayers.graph.kernels import attractive_components, compressed_rows, contract, sum_rows

METHODS = ("fast", "default", "best")


class Level(NamedTuple):
    """A graph of the hierarchy with all that the moves on it read."""

    indptr: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray
    node_costs: np.ndarray
    thing: np.ndarray
    stuff: np.ndarray


def solve(problem: AMWC, method: str = "default", *, start: np.ndarray | Solution | None = None) -> Solution:
    """Solve an asymmetric multiway cut (Eq. 2) approximately, deterministically and without the GIL.

    Args:
        problem: the problem.
        method: "fast", "default" or "best", from quickest to lowest cost.
        start: (n,) labels to start from, where neighbours of equal label are together, or a solution whose
            segments are taken over too. The result costs no more than the start.

    Returns:
        A feasible solution; its cost is summed in float64.

    Raises:
        ValueError: if the method is unknown or the start does not fit the problem.
        TypeError: if the start is not of integers.
    """
    if method not in METHODS:
        raise ValueError(f'method must be "fast", "default" or "best", got {method!r}')
    graph = compressed_rows(problem.num_nodes, problem.edges, problem.edge_costs)
    level = _level(graph, problem.node_costs, problem.partitionable)
    num_labels = problem.num_labels
    label = np.empty(num_labels + problem.num_nodes, np.int32)
    label[:num_labels] = np.arange(num_labels)
    if start is None:
        cluster = own_clusters(level.node_costs, level.thing, level.stuff, label)
    else:
        cluster, label = _start_clusters(problem, start)
    cycles = {"fast": 1, "default": 2, "best": 6}[method]
    for _ in range(cycles):
        _improve(level, cluster, label, problem.partitionable)
    return solution_from_clusters(problem, label[cluster], cluster)


def _level(
    graph: tuple[np.ndarray, np.ndarray, np.ndarray], node_costs: np.ndarray, partitionable: np.ndarray
) -> Level:
    return Level(*graph, node_costs, *cheapest_labels(node_costs, partitionable))


def _improve(level: Level, cluster: np.ndarray, label: np.ndarray, partitionable: np.ndarray) -> None:
    """One cycle down to the coarsest graph and back; changes ``cluster`` and ``label`` of the level."""
    move_nodes(*level, cluster, label, 10)
    component, count = attractive_components(level.indptr, level.neighbours, level.weights, cluster)
    if count == len(cluster):
        return
    coarse = _level(
        contract(level.indptr, level.neighbours, level.weights, component, count),
        sum_rows(level.node_costs, component, count),
        partitionable,
    )
    num_labels = len(partitionable)
    coarse_cluster, coarse_label = _compact(cluster, label, component, count, num_labels)
    _improve(coarse, coarse_cluster, coarse_label, partitionable)
    cluster[:] = coarse_cluster[component]
    label[: len(coarse_label)] = coarse_label
    move_nodes(*level, cluster, label, 10)


def _compact(
    cluster: np.ndarray, label: np.ndarray, component: np.ndarray, count: int, num_labels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters and their labels on the contracted graph, thing clusters renumbered from K on."""
    coarse = np.empty(count, np.int32)
    coarse[component] = cluster
    used, index = np.unique(coarse, return_inverse=True)
    thing = used >= num_labels
    number = used.copy()
    number[thing] = num_labels + np.arange(thing.sum())
    coarse_label = np.zeros(num_labels + count, np.int32)
    coarse_label[:num_labels] = np.arange(num_labels)
    coarse_label[number] = label[used]
    return number[index].astype(np.int32), coarse_label


def _start_clusters(problem: AMWC, start: np.ndarray | Solution) -> tuple[np.ndarray, np.ndarray]:
    num_labels = problem.num_labels
    if isinstance(start, Solution):
        labels = checked_labels("start.labels", start.labels, problem.num_nodes, num_labels)
        segments = checked_labels("start.segments", start.segments, problem.num_nodes, problem.num_nodes)
    else:
        labels = checked_labels("start", start, problem.num_nodes, num_labels)
        segments = labels
    segments = solution_from_clusters(problem, labels, segments).segments
    cluster = np.where(problem.partitionable[labels], num_labels + segments, labels).astype(np.int32)
    label = np.zeros(num_labels + problem.num_nodes, np.int32)
    label[:num_labels] = np.arange(num_labels)
    label[cluster] = labels
    return cluster, label
