"""Fusion: where two solutions agree, the graph is contracted; the small graph left is solved anew.

Whatever one solution does better in one place and the other in another place, the small graph holds both
(fusion moves, Beier et al. 2015). The other solution comes from greedy merging under perturbed edge costs.
"""

import numpy as np
from numba import njit

from difflayers.amwc.level import Level, contracted
from difflayers.amwc.moves import excess
from difflayers.amwc.multilevel import (
    State,
    compact,
    expanded,
    greedy_parts,
    improve,
    merge,
    merges_one_by_one,
    refined,
    settle,
)
from difflayers.graph.components import join, numbered
from difflayers.graph.greedy import Pairs, merge_greedily, pairs_of
from difflayers.graph.rows import INDEX, compressed_rows

# Standard deviation of the factors that perturb the edges.
_PERTURBATION = 0.5
# A patience of 1 would merge hubs of a graph with one neighbour a round, so none comes close.
_PATIENCES = (0.8, 0.6, 0.3)


@njit(nogil=True, cache=True)
def fuse(
    level: Level, cluster: np.ndarray, label: np.ndarray, other: np.ndarray, other_label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A state that costs no more than either of two states."""
    num_labels = level.partitionable.size
    component, count = agreed_parts(level.indptr, level.neighbours, level.weights, cluster, other)
    small = contracted(level, component, count)
    best, best_label = compact(cluster, label, component, count, num_labels)
    settle(small, best, best_label)
    least = excess(small, best, best_label)
    for attempt in range(2):
        if attempt == 0:
            rival, rival_label = compact(other, other_label, component, count, num_labels)
        elif merges_one_by_one(small):
            parts, number = greedy_parts(small)
            rival, rival_label = refined(small, parts, number)
        else:
            break
        settle(small, rival, rival_label)
        cost = excess(small, rival, rival_label)
        if cost < least - 1e-12 * abs(least):  # else rounding, and so the numbering, would decide
            best, best_label, least = rival, rival_label, cost
    cluster, label = expanded(level, best, best_label, component)
    improve(level, cluster, label)
    return cluster, label


class Perturbation:
    """States of perturbed edge costs, the same ones in every run.

    The factors are dealt out by the rank of an edge. So the numbering of the nodes changes nothing unless
    edges tie.
    """

    def __init__(self, level: Level, seed: int) -> None:
        self.level = level
        self.rng = np.random.default_rng(seed)
        self.pairs: Pairs = pairs_of(level.indptr, level.neighbours, level.weights, np.empty(0, np.uint8))
        self.ranks: np.ndarray = ranks(self.pairs, len(level.cheapest))
        self.drawn: int = 0

    def state(self) -> State:
        """The next one, improved under the true costs."""
        level = self.level
        factors = 1.0 + _PERTURBATION * self.rng.standard_normal(len(self.ranks))[self.ranks]
        pairs = self.pairs._replace(weight=self.pairs.weight * factors)
        if merges_one_by_one(level):
            cluster, label = refined(level, *merge_greedily(pairs, level.node_costs))
        else:
            cluster, label = merge(_with_pairs(level, pairs), _PATIENCES[self.drawn % len(_PATIENCES)])
        improve(level, cluster, label)
        self.drawn += 1
        return cluster, label


def _with_pairs(level: Level, pairs: Pairs) -> Level:
    edges = np.stack([pairs.tail, pairs.head], axis=1).view(np.int32)
    rows = compressed_rows(len(level.cheapest), edges, pairs.weight.astype(level.weights.dtype))
    return level._replace(indptr=rows[0], neighbours=rows[1], weights=rows[2])


def ranks(pairs: Pairs, num_nodes: int) -> np.ndarray:
    """The rank (m,) of every pair by its weight.

    Pairs of equal weight are told apart by the weights at their two ends, and where these tie too by number.
    """
    strength = np.bincount(pairs.tail, np.abs(pairs.weight), num_nodes)
    strength += np.bincount(pairs.head, np.abs(pairs.weight), num_nodes)
    rank = np.empty(len(pairs.weight), np.int64)
    rank[np.lexsort((strength[pairs.tail] + strength[pairs.head], pairs.weight))] = np.arange(len(rank))
    return rank


@njit(nogil=True, cache=True)
def agreed_parts(
    indptr: np.ndarray, neighbours: np.ndarray, weights: np.ndarray, one: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, int]:
    """Parts in which attracting neighbours have one cluster in both clusterings (n,), and their number."""
    parent = np.arange(one.size).astype(INDEX)
    for v in range(one.size):
        for i in range(indptr[v], indptr[v + 1]):
            u = neighbours[i]
            if parent[u] == parent[v] or u > v or one[u] != one[v] or other[u] != other[v]:
                continue
            if weights[i] > 0.0:
                join(parent, u, v)
    return numbered(parent)


def agreed_by_all(level: Level, clusterings: list[np.ndarray]) -> tuple[np.ndarray, int]:
    """Parts in which attracting neighbours have one cluster in every clustering, and their number."""
    agreed = clusterings[0]
    for cluster in clusterings[1:]:
        agreed, _ = agreed_parts(level.indptr, level.neighbours, level.weights, agreed, cluster)
    return agreed_parts(level.indptr, level.neighbours, level.weights, agreed, agreed)
