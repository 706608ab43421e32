"""The three methods of approximate solution, from the same few parts."""

import math
from typing import NamedTuple, Unpack

import numpy as np

from difflayers.amwc.constraints import solve_constrained
from difflayers.amwc.fusion import Fusing
from difflayers.amwc.level import Level, make_level
from difflayers.amwc.multilevel import State, improve_anywhere, merge, merges_one_by_one
from difflayers.amwc.problem import AMWC
from difflayers.amwc.solution import Solution, checked_labels, solution_from_clusters
from difflayers.amwc.units import solve_scaled
from difflayers.graph.checks import check_problem
from difflayers.graph.components import connected_segments
from difflayers.graph.limits import Limits, check_limits, in_unit
from difflayers.graph.rounds import Epoch, after_rounds
from difflayers.graph.rows import INDEX
from difflayers.graph.units import exponent, is_ordinary


class Plan(NamedTuple):
    """What a method does: mergings by patience, and how many cycles of moves after each."""

    patiences: tuple[float, ...]
    cycles: int


PLANS = {
    "fast": Plan((0.0,), cycles=0),
    "default": Plan((0.0,), cycles=1),
    "best": Plan((0.0, 0.3, 0.7), cycles=1),
}

# A large graph takes long for every proposal. A small one of many edges still has many ways to be cut.
_LARGE, _SMALL, _EDGES_PER_PROPOSAL = Epoch(proposals=3, attempts=4), Epoch(proposals=4, attempts=12), 10_000
# Where edges are few, one wrong merge weighs much. There "default" does some rounds too.
_FEW_EDGES, _FEW_ROUNDS = 1500, Epoch(proposals=3, attempts=1)
# Where all edges weigh the same, the order of ties decides what greedy merging finds: "default" looks again.
_TIED_ROUNDS = Epoch(proposals=2, attempts=0)


def solve(
    problem: AMWC,
    method: str = "default",
    *,
    start: np.ndarray | Solution | None = None,
    **limits: Unpack[Limits],
) -> Solution:
    """Solve an asymmetric multiway cut (Eq. 2) approximately, deterministically and without the GIL.

    Args:
        problem: the problem.
        method: "fast", "default" or "best", from quickest to lowest cost.
        start: (n,) labels to start from, where neighbours of equal label are together, or a solution whose
            segments are taken over too. The result costs no more than the start after local moves. "fast"
            only improves the start; the others also solve from scratch and return the better solution.
        limits: `time_limit` in seconds, `max_rounds`, and a callback `progress(seconds, cost)`, for "best"
            alone. Given only a time limit, "best" goes on until then. Given neither limit, it does a fixed
            number of rounds. More time or rounds never make the result worse. Where costs are infinite,
            `progress` is not called.

    Returns:
        A feasible solution, which keeps all constraints; its cost is summed in float64.

    Raises:
        ValueError: if the method is unknown, the start does not fit the problem, constraints contradict
            each other, or limits are negative or given for another method than "best".
        TypeError: if the problem is no AMWC or the start is not of integers.

    ```python
    >>> from difflayers import amwc
    >>> things = [True, False]  # cars may be split into several, the road may not
    >>> problem = amwc.AMWC([[0, 2], [0, 2], [3, 0]], [[0, 1], [1, 2]], [-1, 1], things)
    >>> solution = amwc.solve(problem)
    >>> solution.labels.tolist(), solution.segments.tolist()
    ([0, 0, 1], [0, 1, 2])

    ```
    """
    check_problem(problem, AMWC)
    if not isinstance(method, str) or method not in PLANS:
        raise ValueError(f'method must be "fast", "default" or "best", got {method!r}')
    check_limits(method, limits)
    if not is_ordinary(problem.largest_cost):
        unit = math.ldexp(1.0, exponent(problem.largest_cost))
        within = in_unit(limits, unit)
        return solve_scaled(problem, lambda scaled: solve(scaled, method, start=start, **within))
    if problem.constrained:
        # Costs that hold penalties are nobody else's business.
        within = limits | {"progress": None}
        return solve_constrained(
            problem, lambda finite, begin: solve(finite.plain, method, start=begin, **within), start
        )
    finest = make_level(problem.rows, problem.node_costs, problem.partitionable)
    plan = PLANS[method]
    # A small graph merges one by one, whatever the patience, and once in rounds: where most edges attract,
    # merging one by one can leave a few large clusters that no move joins.
    small = merges_one_by_one(finest)
    patiences = plan.patiences[:1] if small else plan.patiences
    found = []
    if start is not None:
        found.append(_improved(finest, _start_clusters(problem, start), max(1, plan.cycles)))
    if start is None or method != "fast":
        found += [_improved(finest, merge(finest, patience), plan.cycles) for patience in patiences]
        if small:
            found.append(_improved(finest, merge(finest, 0.0, in_rounds=True), plan.cycles))
    epochs = []
    if method != "fast" and len(problem.edges) * problem.num_labels <= _FEW_EDGES:
        epochs.append((_FEW_ROUNDS, Limits()))
    elif method != "fast" and start is None and small and _all_tie(problem):
        epochs.append((_TIED_ROUNDS, Limits()))
    if method == "best":
        epochs.append((_first_epoch(finest, len(found)), limits))
    for epoch, within in epochs:
        offset = float(finest.least.sum(dtype=np.float64))
        found.append(after_rounds(Fusing(finest), found, epoch, _usual_epoch(finest), within, offset))
    cluster, label = min(found, key=Fusing(finest).cost) if len(found) > 1 else found[0]
    return solution_from_clusters(problem, label[cluster], cluster)


def _all_tie(problem: AMWC) -> bool:
    costs = np.abs(problem.edge_costs)
    return bool((costs == costs[0]).all())


def _usual_epoch(level: Level) -> Epoch:
    """How many rounds "best" does on a graph."""
    if not merges_one_by_one(level):
        return _LARGE
    return _SMALL._replace(proposals=_SMALL.proposals + len(level.neighbours) // 2 // _EDGES_PER_PROPOSAL)


def _first_epoch(level: Level, started: int) -> Epoch:
    """The epoch that begins with so many solutions: a large graph makes do with them if they are several."""
    epoch = _usual_epoch(level)
    return epoch if merges_one_by_one(level) else epoch._replace(proposals=max(0, epoch.proposals - started))


def _improved(finest: Level, state: State, cycles: int) -> State:
    for _ in range(cycles):
        if improve_anywhere(finest, *state) == 0:
            break
    return state


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
