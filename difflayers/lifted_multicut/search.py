"""The three methods of approximate lifted multicut, from the same few parts."""

import math
from typing import Unpack

import numpy as np

from difflayers.amwc.solution import checked_labels
from difflayers.graph.checks import check_problem
from difflayers.graph.limits import Limits, check_limits, in_unit
from difflayers.graph.rounds import Epoch, after_rounds
from difflayers.graph.rows import INDEX
from difflayers.graph.units import exponent, is_ordinary
from difflayers.lifted_multicut.constraints import Penalized
from difflayers.lifted_multicut.fusion import Fusing
from difflayers.lifted_multicut.multilevel import improved, make_graph, merge, parts
from difflayers.lifted_multicut.problem import (
    LiftedMulticut,
    Solution,
    solution_from_clusters,
    solve_scaled,
)

Start = np.ndarray | Solution | None
METHODS = ("fast", "default", "best")
# Up to so many edges and lifted edges, all methods merge pair by pair, and "default" and "best" try that up
# to the second number. It takes longer than rounds and finds more on region graphs.
_ONE_BY_ONE, _ALSO_ONE_BY_ONE = 200_000, 1_000_000
# How many rounds "best" does on a large graph and on a small one.
_LARGE, _SMALL = Epoch(proposals=3, attempts=2), Epoch(proposals=6, attempts=3)


def solve(
    problem: LiftedMulticut,
    method: str = "default",
    *,
    start: Start = None,
    **limits: Unpack[Limits],
) -> Solution:
    """Solve a lifted multicut approximately, deterministically and without the GIL.

    Merging is greedy additive contraction (Keuper et al. 2015): pair by pair on graphs of up to a million
    edges and lifted edges, in rounds above. Then clusters are joined along paths, and moves of clusters and
    nodes refine the result. "best" also fuses solutions of perturbed costs (Beier et al. 2016).

    Args:
        problem: the problem.
        method: "fast", "default" or "best", from quickest to lowest cost. None costs more than the one before
            it. Each takes O(n + m + l) time for every round of merging and pass of moves. "fast" merges in
            rounds above 200,000 edges and lifted edges.
        start: (n,) segments, below n, whose connected parts are taken, or a solution. "fast" only improves
            the start; the others also solve from scratch and return the better solution.
        limits: as of `difflayers.amwc.solve`.

    Returns:
        A feasible solution.

    Raises:
        TypeError: if the problem is no LiftedMulticut or the start is not of integers.
        ValueError: if the method is unknown, the start does not fit the problem, constraints contradict each
            other, or limits are negative or given for another method than "best". If lifted edges must not
            be cut and other pairs must be, no solution may be found that keeps all constraints: the error
            then says "undecided".

    ```python
    >>> from difflayers import lifted_multicut
    >>> path, far = [[0, 1], [1, 2]], [[0, 2]]
    >>> problem = lifted_multicut.LiftedMulticut(3, path, [-1.0, 1.0], far, [3.0])
    >>> lifted_multicut.solve(problem).segments.tolist()
    [0, 0, 0]
    >>> lifted_multicut.solve(problem, "best", max_rounds=3, start=[0, 1, 2]).cost
    0.0

    ```
    """
    solution = best_known(problem, method, start, limits)
    if solution.cost == np.inf:
        raise ValueError(
            "undecided whether the constraints contradict each other: no solution was found that keeps all; "
            "lifted_multicut.solve_exact decides that for small problems"
        )
    return solution


def best_known(
    problem: LiftedMulticut, method: str, start: Start = None, limits: Limits | None = None
) -> Solution:
    """Return the solution of `solve`, of infinite cost if none is found that keeps all constraints."""
    check_problem(problem, LiftedMulticut)
    if method not in METHODS:
        raise ValueError(f'method must be "fast", "default" or "best", got {method!r}')
    limits = limits or {}
    check_limits(method, limits)
    if start is not None:
        segments = start.segments if isinstance(start, Solution) else start
        start = checked_labels("start", segments, problem.num_nodes, problem.num_nodes)
    if not is_ordinary(problem.largest_cost):
        unit = math.ldexp(1.0, exponent(problem.largest_cost))
        within = in_unit(limits, unit)
        return solve_scaled(problem, lambda scaled: best_known(scaled, method, start, within))
    if not problem.constrained:
        return _solve(problem, method, start, limits)
    # Costs that hold penalties are nobody else's business.
    limits = limits | {"progress": None}
    penalized = Penalized(problem)
    begin = None if start is None else penalized.start(start)
    segments = _solve(penalized.plain, method, begin, limits).segments
    found = penalized.lifted(segments)
    if found.cost == np.inf:
        segments = penalized.repaired(segments)
        found = penalized.lifted(segments)
        better = penalized.lifted(_solve(penalized.plain, "fast", segments, {}).segments)
        found = min(found, better, key=lambda solution: solution.cost)
    return found


def _solve(problem: LiftedMulticut, method: str, start: np.ndarray | None, limits: Limits) -> Solution:
    """The solution of a problem of finite costs."""
    pairs = np.concatenate([problem.edges, problem.lifted_edges])
    costs = np.concatenate([problem.edge_costs, problem.lifted_costs])
    graph = make_graph(problem.num_nodes, pairs, costs, np.arange(len(pairs)) < len(problem.edges))
    small = len(graph.neighbours) // 2 <= _ONE_BY_ONE
    fusing, found = Fusing(graph, _ONE_BY_ONE), []
    if start is not None:
        found.append(improved(graph, parts(graph, start.astype(INDEX))[0]))
    if start is None or method != "fast":
        found.append(merge(graph, _ONE_BY_ONE))
    if method != "fast":
        if not small and len(graph.neighbours) // 2 <= _ALSO_ONE_BY_ONE:
            found.append(merge(graph, _ALSO_ONE_BY_ONE))
        found = [improved(graph, state) for state in found]
    if method == "best":
        found.append(fusing.polished(min(found, key=fusing.cost)))
        epoch = _SMALL if small else _LARGE
        found.append(after_rounds(fusing, found, epoch, epoch, limits))
    return solution_from_clusters(problem, min(found, key=fusing.cost) if len(found) > 1 else found[0])
