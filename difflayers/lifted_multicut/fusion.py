"""Fusion of lifted multicuts: where solutions agree, the graph is contracted, and the rest is solved anew."""

from collections.abc import Callable, Iterator

import numpy as np
from numba import njit

from difflayers.amwc.fusion import PERTURBATION, agreed_parts
from difflayers.graph.greedy import pairs_of
from difflayers.lifted_multicut.multilevel import (
    Graph,
    climbed,
    contracted,
    cost_of,
    improved,
    make_graph,
    merge,
    merge_pairs,
    move,
    parts,
    restricted,
)


class Fusing:
    """A graph whose states can be fused, see `difflayers.graph.rounds.Fusible`.

    Args:
        graph: the graph.
        one_by_one: as in `difflayers.lifted_multicut.multilevel.merge`.
    """

    def __init__(self, graph: Graph, one_by_one: int) -> None:
        self.graph = graph
        self.one_by_one = one_by_one

    def cost(self, state: np.ndarray) -> float:
        """What the clusters cost."""
        return float(cost_of(self.graph, state))

    def proposals(self, seed: int) -> Iterator[np.ndarray]:
        """Clusters of perturbed costs, improved under the true costs."""
        graph, rng = self.graph, np.random.default_rng(seed)
        pairs = pairs_of(*graph)
        while True:
            weight = pairs.weight * (1.0 + PERTURBATION * rng.standard_normal(len(pairs.weight)))
            if len(weight) <= self.one_by_one:
                yield merge_pairs(graph, pairs._replace(weight=weight))
                continue
            ends = np.stack([pairs.tail, pairs.head], axis=1).view(np.int32)
            perturbed = make_graph(
                len(graph.indptr) - 1, ends, weight.astype(graph.weights.dtype), pairs.joinable
            )
            cluster = merge(perturbed, self.one_by_one)
            move(graph, cluster)
            yield cluster

    def agreed(
        self, states: list[np.ndarray]
    ) -> tuple["Fusing", list[np.ndarray], Callable[[np.ndarray], np.ndarray]]:
        """The graph in which is contracted what all states agree on, the states on it, and the way back."""
        graph, agreed = self.graph, states[0]
        for state in states[1:]:
            agreed = agreed_parts(graph.indptr, graph.neighbours, graph.base, agreed, state)[0]
        part, count = parts(graph, agreed)
        small = contracted(graph, part, count)
        coarse = [restricted(small, part, state) for state in states]
        return Fusing(small, self.one_by_one), coarse, lambda state: state[part]

    def settled(self, state: np.ndarray) -> np.ndarray:
        """The clusters after cycles of moves until nothing moves."""
        return improved(self.graph, state)

    def fused(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Clusters that cost no more than either of two."""
        return fuse(self.graph, one, other)

    def polished(self, state: np.ndarray) -> np.ndarray:
        """The clusters after sequences of moves until none pays."""
        return climbed(self.graph, state)


@njit(nogil=True, cache=True)
def fuse(graph: Graph, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Clusters that cost no more than either of two."""
    part, count = agreed_parts(graph.indptr, graph.neighbours, graph.base, one, other)
    small = contracted(graph, part, count)
    best = improved(small, restricted(small, part, one))
    least = cost_of(small, best)
    for attempt in range(2):
        if attempt == 0:
            rival = restricted(small, part, other)
        else:
            rival = merge_pairs(small, pairs_of(small.indptr, small.neighbours, small.weights, small.base))
        rival = improved(small, rival)
        cost = cost_of(small, rival)
        if cost < least:
            best, least = rival, cost
    return best[part]
