"""Fusion: where two solutions agree, the graph is contracted; the small graph left is solved anew.

Whatever one solution does better in one place and the other in another place, the small graph holds both
(fusion moves, Beier et al. 2015). The other solution comes from greedy merging under perturbed edge costs.
"""

from collections.abc import Callable, Iterator
from itertools import cycle

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
    improve_anywhere,
    merge,
    merges_one_by_one,
    refined,
    settle,
)
from difflayers.graph.components import join, numbered
from difflayers.graph.greedy import Pairs, merge_greedily, pairs_of
from difflayers.graph.rows import INDEX, compressed_rows

# Standard deviation of the factors that perturb the edges.
PERTURBATION = 0.5
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


class Fusing:
    """A level whose states can be fused, see `difflayers.graph.rounds.Fusible`."""

    def __init__(self, level: Level) -> None:
        self.level = level

    def cost(self, state: State) -> float:
        """What a state costs more than every node with its cheapest label and no edge cut."""
        return excess(self.level, *state)

    def proposals(self, seed: int) -> Iterator[State]:
        """States of perturbed edge costs, improved under the true costs.

        The factors are dealt out by the rank of an edge. So the numbering of the nodes changes nothing
        unless edges tie.
        """
        level = self.level
        rng = np.random.default_rng(seed)
        pairs = pairs_of(level.indptr, level.neighbours, level.weights, np.empty(0, np.uint8))
        rank = ranks(pairs, len(level.cheapest))
        for patience in cycle(_PATIENCES):
            factors = 1.0 + PERTURBATION * rng.standard_normal(len(rank))[rank]
            perturbed = pairs._replace(weight=pairs.weight * factors)
            if merges_one_by_one(level):
                cluster, label = refined(level, *merge_greedily(perturbed, level.node_costs))
            else:
                cluster, label = merge(_with_pairs(level, perturbed), patience)
            improve(level, cluster, label)
            yield cluster, label

    def agreed(self, states: list[State]) -> tuple["Fusing", list[State], Callable[[State], State]]:
        """Contract what all states agree on; return the level, the states on it, and the way back."""
        level = self.level
        component, count = _agreed_by_all(level, [cluster for cluster, _ in states])
        coarse = [compact(*state, component, count, len(level.partitionable)) for state in states]
        return Fusing(contracted(level, component, count)), coarse, lambda s: expanded(level, *s, component)

    def settled(self, state: State) -> State:
        """The state after cycles of moves until nothing moves."""
        settle(self.level, *state)
        return state

    def fused(self, one: State, other: State) -> State:
        """A state that costs no more than either of two."""
        return fuse(self.level, *one, *other)

    def polished(self, state: State) -> State:
        """The state after one cycle of moves."""
        improve_anywhere(self.level, *state)
        return state


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


def _agreed_by_all(level: Level, clusterings: list[np.ndarray]) -> tuple[np.ndarray, int]:
    """Parts in which attracting neighbours have one cluster in every clustering, and their number."""
    agreed = clusterings[0]
    for cluster in clusterings[1:]:
        agreed, _ = agreed_parts(level.indptr, level.neighbours, level.weights, agreed, cluster)
    return agreed_parts(level.indptr, level.neighbours, level.weights, agreed, agreed)
