"""The three methods of approximate solution, from the same few parts."""

from typing import NamedTuple

import numpy as np

from difflayers.amwc.constraints import solve_constrained
from difflayers.amwc.fusion import fuse
from difflayers.amwc.level import Level, make_level
from difflayers.amwc.moves import objective
from difflayers.amwc.multilevel import improve, merge
from difflayers.amwc.problem import AMWC
from difflayers.amwc.solution import Solution, checked_labels, solution_from_clusters
from difflayers.amwc.units import solve_scaled
from difflayers.graph.checks import check_problem
from difflayers.graph.components import connected_segments
from difflayers.graph.rows import INDEX
from difflayers.graph.units import is_ordinary


class Plan(NamedTuple):
    """What a method does: mergings by patience, cycles of moves after each, attempts on their fusion."""

    patiences: tuple[float, ...]
    cycles: int
    attempts: int


PLANS = {
    "fast": Plan((0.0,), cycles=0, attempts=0),
    "default": Plan((0.0,), cycles=1, attempts=0),
    "best": Plan((0.0, 0.3, 0.7), cycles=1, attempts=4),
}
# What "default" does up to so many nodes: one bad merging weighs more there, and time less.
_SMALL = 1700
_SMALL_DEFAULT = Plan((0.0, 0.7), cycles=1, attempts=0)


def solve(problem: AMWC, method: str = "default", *, start: np.ndarray | Solution | None = None) -> Solution:
    """Solve an asymmetric multiway cut (Eq. 2) approximately, deterministically and without the GIL.

    Args:
        problem: the problem.
        method: "fast", "default" or "best", from quickest to lowest cost.
        start: (n,) labels to start from, where neighbours of equal label are together, or a solution whose
            segments are taken over too. The result costs no more than the start after local moves. "fast"
            only improves the start; the others also solve from scratch and return the better solution.

    Returns:
        A feasible solution, which keeps all constraints; its cost is summed in float64.

    Raises:
        ValueError: if the method is unknown, the start does not fit the problem or constraints contradict
            each other.
        TypeError: if the problem is no AMWC or the start is not of integers.
    """
    check_problem(problem, AMWC)
    if not isinstance(method, str) or method not in PLANS:
        raise ValueError(f'method must be "fast", "default" or "best", got {method!r}')
    if not is_ordinary(problem.largest_cost):
        return solve_scaled(problem, lambda scaled: solve(scaled, method, start=start))
    if problem.constrained:
        return solve_constrained(
            problem, lambda finite, begin: solve(finite.plain, method, start=begin), start
        )
    small = problem.num_nodes <= _SMALL and start is None
    plan = _SMALL_DEFAULT if method == "default" and small else PLANS[method]
    finest = make_level(problem.rows, problem.node_costs, problem.partitionable)
    found = []
    if start is not None:
        found.append(_improved(finest, *_start_clusters(problem, start), max(1, plan.cycles)))
    if start is None or method != "fast":
        for patience in plan.patiences:
            merged = merge(finest, patience)
            found.append(_improved(finest, *merged, plan.cycles))
    if plan.attempts:
        found.append(fuse(finest, found, plan.attempts))
    cluster, label = min(found, key=lambda state: objective(finest, *state)) if len(found) > 1 else found[0]
    return solution_from_clusters(problem, label[cluster], cluster)


def _improved(
    finest: Level, cluster: np.ndarray, label: np.ndarray, cycles: int
) -> tuple[np.ndarray, np.ndarray]:
    for _ in range(cycles):
        if improve(finest, cluster, label) == 0:
            break
    return cluster, label


def _start_clusters(problem: AMWC, start: np.ndarray | Solution) -> tuple[np.ndarray, np.ndarray]:
    num_labels = problem.num_labels
    if isinstance(start, Solution):
        labels = checked_labels("start.labels", start.labels, problem.num_nodes, num_labels)
        segments = checked_labels("start.segments", start.segments, problem.num_nodes, problem.num_nodes)
    else:
        labels = checked_labels("start", start, problem.num_nodes, num_labels)
        segments = labels
    segments = connected_segments(
        problem.edges.view(INDEX), problem.partitionable, labels, segments.astype(INDEX)
    )
    cluster = np.where(problem.partitionable[labels], num_labels + segments, labels).astype(INDEX)
    label = np.zeros(num_labels + problem.num_nodes, np.int32)
    label[:num_labels] = np.arange(num_labels)
    label[cluster] = labels
    return cluster, label
