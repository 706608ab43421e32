"""Multilevel local search: merge or move, contract what holds together, repeat; refine on the way back."""

from typing import NamedTuple

import numpy as np

from difflayers.amwc.merging import merge_partners
from difflayers.amwc.moves import cheapest_labels, move_nodes, own_clusters
from difflayers.amwc.problem import AMWC
from difflayers.amwc.solution import Solution, checked_labels, solution_from_clusters
from difflayers.graph.kernels import attractive_components, compressed_rows, contract, sum_rows

# Most visits a node in one pass of moves, on average; passes end long before, this bounds the worst case.
MAX_VISITS = 20


class Plan(NamedTuple):
    """What a method does: mergings by patience, cycles of moves after each, and another start to compare."""

    patiences: tuple[float, ...]
    cycles: int
    from_single_nodes: bool


PLANS = {
    "fast": Plan((0.0,), 0, False),
    "default": Plan((0.3,), 1, False),
    "best": Plan((0.3, 0.7, 0.0), 4, True),
}


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
            segments are taken over too. The result costs no more than the start after local moves. "fast"
            only improves the start; the others also solve from scratch and return the better solution.

    Returns:
        A feasible solution; its cost is summed in float64.

    Raises:
        ValueError: if the method is unknown or the start does not fit the problem.
        TypeError: if the start is not of integers.
    """
    if method not in PLANS:
        raise ValueError(f'method must be "fast", "default" or "best", got {method!r}')
    graph = compressed_rows(problem.num_nodes, problem.edges, problem.edge_costs)
    finest = _level(graph, problem.node_costs, problem.partitionable)
    plan = PLANS[method]
    solutions = []
    if start is not None:
        solutions.append(_finish(problem, finest, *_start_clusters(problem, start), max(1, plan.cycles)))
    if start is None or method != "fast":
        for patience in plan.patiences:
            solutions.append(_finish(problem, finest, *_merge(finest, patience, problem), plan.cycles))
    if plan.from_single_nodes:
        solutions.append(_finish(problem, finest, *_single_nodes(finest, problem.num_labels), plan.cycles))
    return min(solutions, key=lambda solution: solution.cost)


def _finish(problem: AMWC, finest: Level, cluster: np.ndarray, label: np.ndarray, cycles: int) -> Solution:
    """The solution after at most ``cycles`` cycles of moves on the whole hierarchy."""
    for _ in range(cycles):
        if _improve(finest, cluster, label, problem.partitionable) == 0:
            break
    return solution_from_clusters(problem, label[cluster], cluster)


def _merge(finest: Level, patience: float, problem: AMWC) -> tuple[np.ndarray, np.ndarray]:
    """Clusters from merging best partners in rounds, refined by moves on every graph on the way back."""
    levels, components = [finest], []
    while True:
        component, count = merge_partners(*levels[-1], patience)
        if count == len(component):
            break
        components.append(component)
        levels.append(_contracted(levels[-1], component, count, problem.partitionable))
    cluster, label = _single_nodes(levels[-1], problem.num_labels)
    move_nodes(*levels.pop(), cluster, label, MAX_VISITS)
    while levels:
        level = levels.pop()
        cluster, label = cluster[components.pop()], _longer(label, problem.num_labels + len(level.node_costs))
        move_nodes(*level, cluster, label, MAX_VISITS)
    return cluster, label


def _single_nodes(level: Level, num_labels: int) -> tuple[np.ndarray, np.ndarray]:
    label = np.zeros(num_labels + len(level.node_costs), np.int32)
    label[:num_labels] = np.arange(num_labels)
    return own_clusters(level.node_costs, level.thing, level.stuff, label), label


def _level(
    graph: tuple[np.ndarray, np.ndarray, np.ndarray], node_costs: np.ndarray, partitionable: np.ndarray
) -> Level:
    return Level(*graph, node_costs, *cheapest_labels(node_costs, partitionable))


def _contracted(level: Level, component: np.ndarray, count: int, partitionable: np.ndarray) -> Level:
    graph = contract(level.indptr, level.neighbours, level.weights, component, count)
    return _level(graph, sum_rows(level.node_costs, component, count), partitionable)


def _improve(level: Level, cluster: np.ndarray, label: np.ndarray, partitionable: np.ndarray) -> int:
    """One cycle down to the coarsest graph and back; changes ``cluster`` and ``label``, returns the moves."""
    moves = move_nodes(*level, cluster, label, MAX_VISITS)
    component, count = attractive_components(level.indptr, level.neighbours, level.weights, cluster)
    if count == len(cluster):
        return moves
    coarse_cluster, coarse_label = _compact(cluster, label, component, count, len(partitionable))
    coarse_moves = _improve(
        _contracted(level, component, count, partitionable), coarse_cluster, coarse_label, partitionable
    )
    if coarse_moves == 0:
        return moves
    cluster[:] = coarse_cluster[component]
    label[:] = _longer(coarse_label, len(label))
    return moves + coarse_moves + move_nodes(*level, cluster, label, MAX_VISITS)


def _longer(label: np.ndarray, length: int) -> np.ndarray:
    longer = np.zeros(length, np.int32)
    longer[: len(label)] = label
    return longer


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
