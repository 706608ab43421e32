"""Approximate lifted multicut: greedy contraction, moves on the way back, fusion of several attempts."""

from typing import NamedTuple

import numpy as np

from difflayers.amwc.fusion import agreed_parts
from difflayers.graph.checks import check_problem
from difflayers.graph.components import connected_parts
from difflayers.graph.greedy import Pairs, merge_greedily, pairs_of
from difflayers.graph.rows import INDEX, compressed_rows
from difflayers.graph.units import is_ordinary
from difflayers.lifted_multicut.contraction import contract, merge_partners
from difflayers.lifted_multicut.moves import cut_weight, move_nodes
from difflayers.lifted_multicut.paths import join_paths
from difflayers.lifted_multicut.problem import (
    LiftedMulticut,
    Solution,
    solution_from_clusters,
    solve_scaled,
)

# Most visits a node in one pass of moves, on average; passes end long before, this bounds the worst case.
_MAX_VISITS = 20
# Merging waits for good partners of each other, less so from a round on that merges few nodes. Waiting longer
# (0.9) took five times as long and was no better on scenes, up to 2.5 % worse at high noise.
_PATIENCE, _SLOW = 0.5, 0.01
# Up to so many edges and lifted edges, pairs merge one by one, which takes longer than rounds and finds more.
_ONE_BY_ONE = 200_000
# Standard deviation of the factors that perturb the costs.
_PERTURBATION = 0.5
# Cycles of improvement end when nothing is gained any more, mostly after two or three.
_CYCLES = 10


class Graph(NamedTuple):
    """A graph of the hierarchy, as `difflayers.lifted_multicut.contraction` has it."""

    indptr: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray
    base: np.ndarray


class Plan(NamedTuple):
    """What a method does after merging.

    Attributes:
        cycles: most cycles of moves.
        proposals: solutions of perturbed costs of the whole graph.
        attempts: the same of the graph in which is contracted what all of them agree on.
    """

    cycles: int
    proposals: int
    attempts: int


METHODS = {"fast": Plan(0, 0, 0), "default": Plan(_CYCLES, 0, 0), "best": Plan(_CYCLES, 8, 6)}


def solve(problem: LiftedMulticut, method: str = "default") -> Solution:
    """Solve a lifted multicut approximately, deterministically and without the GIL.

    Merging is greedy additive contraction (Keuper et al. 2015): pair by pair on graphs of up to 200,000 edges
    and lifted edges, in rounds above. Then clusters are joined along paths, and moves of clusters and nodes
    refine the result. "best" also fuses solutions of perturbed costs (Beier et al. 2016).

    Args:
        problem: the problem.
        method: "fast", "default" or "best", from quickest to lowest cost. None costs more than the one before
            it. Each takes O(n + m + l) time for every round of merging and pass of moves.

    Returns:
        A feasible solution.

    Raises:
        TypeError: if the problem is no LiftedMulticut.
        ValueError: if the method is unknown.

    ```python
    >>> from difflayers import lifted_multicut
    >>> path, far = [[0, 1], [1, 2]], [[0, 2]]
    >>> problem = lifted_multicut.LiftedMulticut(3, path, [-1.0, 1.0], far, [3.0])
    >>> lifted_multicut.solve(problem).segments.tolist()
    [0, 0, 0]

    ```
    """
    check_problem(problem, LiftedMulticut)
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f'method must be "fast", "default" or "best", got {method!r}')
    if not is_ordinary(problem.largest_cost):
        return solve_scaled(problem, lambda scaled: solve(scaled, method))
    finest = _graph(problem)
    plan = METHODS[method]
    cluster = _improved(finest, _merged(finest), plan.cycles)
    if plan.proposals:
        cluster = _fused(finest, cluster, plan)
    return solution_from_clusters(problem, cluster)


def _graph(problem: LiftedMulticut) -> Graph:
    n = problem.num_nodes
    pairs = np.concatenate([problem.edges, problem.lifted_edges])
    costs = np.concatenate([problem.edge_costs, problem.lifted_costs])
    indptr, neighbours, weights = compressed_rows(n, pairs, costs)
    base = compressed_rows(n, pairs, (np.arange(len(pairs)) < len(problem.edges)).astype(np.uint8))[2]
    # Contracting nothing adds up parallels.
    return Graph(*contract(indptr, neighbours, weights, base, np.arange(n, dtype=INDEX), n))


def _merged(graph: Graph) -> np.ndarray:
    """Clusters (n,) from greedy merging and joins along paths, refined by moves on the way back.

    A small graph merges pair by pair, a large one in rounds.
    """
    if len(graph.neighbours) // 2 <= _ONE_BY_ONE:
        return _refined(graph, *_greedy_parts(graph, pairs_of(*graph)))
    return _merged_in_rounds(graph, _PATIENCE)


def _merged_in_rounds(graph: Graph, patience: float) -> np.ndarray:
    component, count = merge_partners(*graph, patience)
    if count == len(component):
        return _refined(graph, component, count)
    if count > (1.0 - _SLOW) * len(component):
        patience /= 2.0
    cluster = _merged_in_rounds(Graph(*contract(*graph, component, count)), patience)[component]
    move_nodes(*graph, cluster, _MAX_VISITS)
    return cluster


def _greedy_parts(graph: Graph, pairs: Pairs) -> tuple[np.ndarray, int]:
    return merge_greedily(pairs, np.zeros((len(graph.indptr) - 1, 1)))


def _refined(graph: Graph, component: np.ndarray, count: int) -> np.ndarray:
    """Clusters from components: joined along paths, then moved as a whole, then node by node."""
    coarse = Graph(*contract(*graph, component, count))
    part, fewer = join_paths(*coarse)
    while fewer < count:
        component, count = part[component], fewer
        coarse = Graph(*contract(*coarse, part, count))
        part, fewer = join_paths(*coarse)
    cluster = np.arange(count, dtype=INDEX)
    move_nodes(*coarse, cluster, _MAX_VISITS)
    cluster = cluster[component]
    move_nodes(*graph, cluster, _MAX_VISITS)
    return cluster


def _improved(graph: Graph, cluster: np.ndarray, cycles: int) -> np.ndarray:
    """Clusters of no more cost, after cycles of moves down to the coarsest graph and back."""
    cost = _cost(graph, cluster)
    for _ in range(cycles):
        moved = _cycle(graph, cluster.copy())
        lower = _cost(graph, moved)
        if lower >= cost:
            break
        cluster, cost = moved, lower
    return cluster


def _cycle(graph: Graph, cluster: np.ndarray) -> np.ndarray:
    move_nodes(*graph, cluster, _MAX_VISITS)
    part, count = connected_parts(graph.indptr, graph.neighbours, graph.base, cluster)
    if count == len(cluster):
        return part
    merged = _merged(Graph(*contract(*graph, part, count)))[part]
    move_nodes(*graph, merged, _MAX_VISITS)
    return merged


def _fused(finest: Graph, cluster: np.ndarray, plan: Plan) -> np.ndarray:
    """Clusters of no more cost, fused with solutions of perturbed costs (Beier et al. 2016).

    The perturbations are drawn from a fixed seed, so that the same problem always has the same answer.
    """
    rng = np.random.default_rng(0)
    pairs = pairs_of(*finest)
    others = [_perturbed(finest, pairs, rng) for _ in range(plan.proposals)]
    agreed = cluster
    for other in others:
        agreed = agreed_parts(finest.indptr, finest.neighbours, finest.base, agreed, other)[0]
    part, count = connected_parts(finest.indptr, finest.neighbours, finest.base, agreed)
    graph = Graph(*contract(*finest, part, count))
    best = _coarse(graph, part, cluster)
    for other in others:
        best = _fused_pair(graph, best, _coarse(graph, part, other))
    pairs = pairs_of(*graph)
    for _ in range(plan.attempts):
        best = _fused_pair(graph, best, _perturbed(graph, pairs, rng))
    return _improved(finest, best[part], plan.cycles)


def _fused_pair(graph: Graph, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Clusters that cost no more than either of two."""
    part, count = agreed_parts(graph.indptr, graph.neighbours, graph.base, one, other)
    small = Graph(*contract(*graph, part, count))
    found = [_coarse(small, part, one), _coarse(small, part, other), _merged(small)]
    return min((_improved(small, state, _CYCLES) for state in found), key=lambda state: _cost(small, state))[
        part
    ]


def _coarse(coarse: Graph, part: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """The clusters of a graph as those of its contraction by `part`."""
    of_part = np.empty(len(coarse.indptr) - 1, INDEX)
    of_part[part] = cluster
    return connected_parts(coarse.indptr, coarse.neighbours, coarse.base, of_part)[0]


def _perturbed(graph: Graph, pairs: Pairs, rng: np.random.Generator) -> np.ndarray:
    """Clusters of perturbed costs, improved under the true ones."""
    weight = pairs.weight * (1.0 + _PERTURBATION * rng.standard_normal(len(pairs.weight)))
    perturbed = pairs._replace(weight=weight)
    if len(weight) <= _ONE_BY_ONE:
        return _refined(graph, *_greedy_parts(graph, perturbed))
    cluster = _merged_in_rounds(_graph_of(graph, perturbed), _PATIENCE)
    move_nodes(*graph, cluster, _MAX_VISITS)
    return cluster


def _graph_of(graph: Graph, pairs: Pairs) -> Graph:
    num_nodes, edges = len(graph.indptr) - 1, np.stack([pairs.tail, pairs.head], axis=1).view(np.int32)
    rows = compressed_rows(num_nodes, edges, pairs.weight.astype(graph.weights.dtype))
    return Graph(*rows, compressed_rows(num_nodes, edges, pairs.joinable)[2])


def _cost(graph: Graph, cluster: np.ndarray) -> float:
    part, _ = connected_parts(graph.indptr, graph.neighbours, graph.base, cluster)
    return float(cut_weight(graph.indptr, graph.neighbours, graph.weights, part))
