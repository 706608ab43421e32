"""Greedy additive contraction, plainly: join the pair that gains most until no pair gains."""

import numpy as np


def greedy_segments(
    num_nodes: int,
    edges: np.ndarray,
    edge_costs: np.ndarray,
    lifted_edges: np.ndarray | None = None,
    lifted_costs: np.ndarray | None = None,
) -> np.ndarray:
    """Segments (n,) of a multicut or lifted multicut; of equal gains, the pair of the first nodes wins."""
    weights: dict[tuple[int, int], float] = {}
    neighbours = set()
    for pairs, costs in ((edges, edge_costs), (lifted_edges, lifted_costs)):
        if pairs is None or costs is None:
            continue
        for (u, v), cost in zip(np.sort(pairs, axis=1).tolist(), costs.tolist(), strict=True):
            weights[u, v] = weights.get((u, v), 0.0) + cost
            if pairs is edges:
                neighbours.add((u, v))
    segment = list(range(num_nodes))
    while neighbours:
        gain, first, second = max((weights[pair], -pair[0], -pair[1]) for pair in neighbours)
        if gain <= 0.0:
            break
        keep, gone = -first, -second
        segment = [keep if s == gone else s for s in segment]

        def joined(pair: tuple[int, int], keep: int = keep, gone: int = gone) -> tuple[int, int]:
            u, v = (keep if end == gone else end for end in pair)
            return min(u, v), max(u, v)

        merged: dict[tuple[int, int], float] = {}
        for pair, weight in weights.items():
            merged[joined(pair)] = merged.get(joined(pair), 0.0) + weight
        weights = {(u, v): weight for (u, v), weight in merged.items() if u != v}
        neighbours = {(u, v) for u, v in map(joined, neighbours) if u != v}
    return np.array(segment)
