"""Approximate lifted multicut: greedy contraction, moves on the way back, fusion of several attempts."""

from typing import NamedTuple

import numpy as np

from difflayers.graph.checks import check_problem
from difflayers.graph.components import connected_parts
from difflayers.graph.rows import INDEX, compressed_rows
from difflayers.graph.units import is_ordinary
from difflayers.lifted_multicut.contraction import contract, merge_partners
from difflayers.lifted_multicut.moves import cut_weight, move_nodes
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
# Standard deviation of the factors that perturb the costs between two attempts.
_PERTURBATION = 0.3
# Solutions of perturbed costs that have to agree on what is contracted before the attempts.
_PROPOSALS = 2
# Graphs of up to so many nodes are searched as they are.
_SMALL = 1000
# Cycles of improvement end when nothing is gained any more, mostly after two or three.
_CYCLES = 10


class Graph(NamedTuple):
    """A graph of the hierarchy, as :mod:`difflayers.lifted_multicut.contraction` has it."""

    indptr: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray
    base: np.ndarray


# Fresh attempts of each method on what solutions agree on, after the cycles of improvement; None: neither.
METHODS: dict[str, int | None] = {"fast": None, "default": 0, "best": 20}


def solve(problem: LiftedMulticut, method: str = "default") -> Solution:
    """Solve a lifted multicut approximately, deterministically and without the GIL.

    Merging is greedy additive contraction (Keuper et al. 2015) in rounds: clusters that are each other's
    best neighbour merge, lifted costs are carried along. Moves of nodes, and of clusters of nodes, refine it
    on the way back; "best" also fuses solutions of perturbed costs (Beier et al. 2016).

    Args:
        problem: the problem.
        method: "fast", "default" or "best", from quickest to lowest cost. None costs more than the one before
            it. Each takes O(n + m + l) time for every round of merging and pass of moves.

    Returns:
        A feasible solution.

    Raises:
        ValueError: if the method is unknown.
    """
    check_problem(problem, LiftedMulticut)
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f'method must be "fast", "default" or "best", got {method!r}')
    if not is_ordinary(problem.largest_cost):
        return solve_scaled(problem, lambda scaled: solve(scaled, method))
    finest = _graph(problem)
    cluster = _merged(finest)
    attempts = METHODS[method]
    if attempts is not None:
        cluster = _improved(finest, cluster)
        cluster = _fused(finest, cluster, attempts) if attempts else cluster
    return solution_from_clusters(problem, cluster)


def _graph(problem: LiftedMulticut) -> Graph:
    n = problem.num_nodes
    pairs = np.concatenate([problem.edges, problem.lifted_edges])
    costs = np.concatenate([problem.edge_costs, problem.lifted_costs])
    indptr, neighbours, weights = compressed_rows(n, pairs, costs)
    base = compressed_rows(n, pairs, (np.arange(len(pairs)) < len(problem.edges)).astype(np.uint8))[2]
    # Contracting nothing adds up parallels.
    return Graph(*contract(indptr, neighbours, weights, base, np.arange(n, dtype=INDEX), n))


def _merged(finest: Graph) -> np.ndarray:
    """Clusters (n,) from merging in rounds, refined by moves on every graph on the way back."""
    levels, components = [finest], []
    patience = _PATIENCE
    while True:
        component, count = merge_partners(*levels[-1], patience)
        if count == len(component):
            break
        if count > (1.0 - _SLOW) * len(component):
            patience /= 2.0
        components.append(component)
        levels.append(Graph(*contract(*levels[-1], component, count)))
    cluster = np.arange(len(levels[-1].indptr) - 1, dtype=INDEX)
    move_nodes(*levels.pop(), cluster, _MAX_VISITS)
    while levels:
        cluster = cluster[components.pop()]
        move_nodes(*levels[-1], cluster, _MAX_VISITS)
        levels.pop()
    return cluster


def _improved(graph: Graph, cluster: np.ndarray) -> np.ndarray:
    """Clusters of no more cost, after cycles of moves down to the coarsest graph and back."""
    cost = _cost(graph, cluster)
    for _ in range(_CYCLES):
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
    coarse = Graph(*contract(*graph, part, count))
    merged = _merged(coarse)[part]
    move_nodes(*graph, merged, _MAX_VISITS)
    return merged


def _fused(finest: Graph, cluster: np.ndarray, attempts: int) -> np.ndarray:
    """Clusters of no more cost, from attempts on the graph of what solutions of perturbed costs agree on.

    The perturbations are drawn from a fixed seed, so that the same problem always has the same answer.
    """
    rng = np.random.default_rng(0)
    part, count = np.arange(len(cluster), dtype=INDEX), len(cluster)
    if count > _SMALL:
        agreed = cluster
        for _ in range(_PROPOSALS):
            pairs = agreed.astype(np.int64) * len(cluster) + _merged(_perturbed(finest, rng))
            agreed = np.unique(pairs, return_inverse=True)[1].reshape(-1).astype(INDEX)
        part, count = connected_parts(finest.indptr, finest.neighbours, finest.base, agreed)
    graph = Graph(*contract(*finest, part, count))
    best = np.empty(count, INDEX)
    best[part] = connected_parts(finest.indptr, finest.neighbours, finest.base, cluster)[0]
    best = _improved(graph, best)
    for _ in range(attempts):
        candidate = _improved(graph, _merged(_perturbed(graph, rng)))
        if _cost(graph, candidate) < _cost(graph, best):
            best = candidate
    return _improved(finest, best[part])


def _perturbed(graph: Graph, rng: np.random.Generator) -> Graph:
    factors = 1.0 + _PERTURBATION * rng.standard_normal(len(graph.weights))
    return graph._replace(weights=(graph.weights * factors).astype(graph.weights.dtype))


def _cost(graph: Graph, cluster: np.ndarray) -> float:
    part, _ = connected_parts(graph.indptr, graph.neighbours, graph.base, cluster)
    return float(cut_weight(graph.indptr, graph.neighbours, graph.weights, part))
