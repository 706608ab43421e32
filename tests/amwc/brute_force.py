"""The optimum of Eq. 2 by looking at every partition of the nodes with every labelling of its blocks."""

from collections.abc import Iterator

import numpy as np

from difflayers.amwc import AMWC


def minimum_cost(problem: AMWC) -> float:
    """Least objective over all labelled partitions; for six nodes or so."""
    best = np.inf
    stuff = np.flatnonzero(~problem.partitionable)
    for block in partitions(problem.num_nodes):
        count = max(block) + 1
        member = np.eye(count)[block]
        block_costs = member.T @ problem.node_costs
        for labels in np.ndindex(*[problem.num_labels] * count):
            if any(labels.count(k) > 1 for k in stuff):
                continue
            cut = member[problem.edges[:, 0]].argmax(1) != member[problem.edges[:, 1]].argmax(1)
            cost = block_costs[np.arange(count), labels].sum() + problem.edge_costs[cut].sum()
            best = min(best, cost)
    return best


def partitions(n: int) -> Iterator[list[int]]:
    """Every partition of n nodes once, as a block number a node, blocks numbered by first node."""

    def extend(block: list[int]) -> Iterator[list[int]]:
        if len(block) == n:
            yield block
            return
        for number in range(max(block, default=-1) + 2):
            yield from extend([*block, number])

    yield from extend([])
