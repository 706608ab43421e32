"""Fusion: what several solutions agree on is contracted, and the small graph left is searched at length."""

import numpy as np

from difflayers.amwc.level import Level, contracted
from difflayers.amwc.moves import objective
from difflayers.amwc.multilevel import compact, improve, merge
from difflayers.graph.components import connected_parts
from difflayers.graph.rows import INDEX

# Standard deviation of the factors that perturb the edges between two attempts.
_PERTURBATION = 0.3
# A patience of 1 would merge hubs of a graph with one neighbour a round, so none comes close.
_PATIENCES = (0.8, 0.6, 0.3)
# Cycles end when nothing moves any more, mostly after two or three.
_CYCLES = 10
# Graphs of up to so many nodes are searched as they are.
_SMALL = 1000


def fuse(
    finest: Level,
    found: list[tuple[np.ndarray, np.ndarray]],
    attempts: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Clusters and labels no worse than the best of those found.

    Neighbours that lie together in all of them stay together, unless the graph is small as it is. Every
    attempt merges under perturbed edge costs, improves the outcome under the true ones and keeps it if it is
    the best so far. The perturbations are drawn from a fixed seed and dealt out by the rank of an edge, so
    that the same problem always has the same answer, ties apart however its nodes are numbered.
    """
    if len(finest.node_costs) <= _SMALL:
        agreed = np.arange(len(finest.node_costs), dtype=INDEX)
    else:
        agreed = found[0][0]
        for cluster, _ in found[1:]:
            pairs = agreed.astype(np.int64) * (int(cluster.max()) + 1) + cluster
            agreed = np.unique(pairs, return_inverse=True)[1].astype(INDEX).reshape(-1)
    component, count = connected_parts(finest.indptr, finest.neighbours, finest.weights, agreed)
    level = contracted(finest, component, count)
    best, best_label = compact(
        *min(found, key=lambda state: objective(finest, *state)), component, count, len(finest.partitionable)
    )
    improve(level, best, best_label)
    least = objective(level, best, best_label)
    rng = np.random.default_rng(0)
    ranks = edge_ranks(level)
    for attempt in range(attempts):
        factors = 1.0 + _PERTURBATION * rng.standard_normal(len(ranks) // 2)[ranks]
        perturbed = level._replace(weights=(level.weights * factors).astype(level.weights.dtype))
        cluster, label = merge(perturbed, _PATIENCES[attempt % len(_PATIENCES)])
        for _ in range(_CYCLES):
            if improve(level, cluster, label) == 0:
                break
        cost = objective(level, cluster, label)
        if cost < least:
            best, best_label, least = cluster, label, cost
    cluster, label = best[component], np.zeros(sum(finest.node_costs.shape), np.int32)
    label[: len(best_label)] = best_label
    improve(finest, cluster, label)
    return cluster, label


def edge_ranks(level: Level) -> np.ndarray:
    """The rank (2m,) of every edge by its cost, the same in the rows of both ends.

    Edges of equal cost are told apart by the costs at their two ends, and where these tie too by number.
    """
    tails = np.repeat(np.arange(len(level.indptr) - 1), np.diff(level.indptr))
    heads, weights = level.neighbours, level.weights
    strength = np.bincount(tails, np.abs(weights), minlength=len(level.indptr) - 1)
    # Contracted rows list every neighbour once, so the two entries of an edge become neighbours.
    entries = np.lexsort((tails > heads, np.maximum(tails, heads), np.minimum(tails, heads)))
    pairs = entries.reshape(-1, 2)
    first = pairs[:, 0]
    order = np.lexsort((strength[tails[first]] + strength[heads[first]], weights[first]))
    ranks = np.empty(len(weights), np.int64)
    ranks[pairs[order]] = np.arange(len(pairs))[:, None]
    return ranks
