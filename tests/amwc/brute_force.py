"""The optimum of Eq. 2 by looking at every partition of the nodes with every labeling of its blocks."""

from collections.abc import Iterator

import numpy as np

from difflayers.amwc import AMWC


def minimum_cost(problem: AMWC) -> float:
    """Least objective over all labeled partitions; for six nodes or so."""
    best = np.inf
    stuff = np.flatnonzero(~problem.partitionable)
    for block in partitions(problem.num_nodes):
        count = max(block) + 1
        blocks = np.array(block)
        block_costs = np.zeros((count, problem.num_labels))
        np.add.at(block_costs, blocks, problem.node_costs)
        cut = blocks[problem.edges[:, 0]] != blocks[problem.edges[:, 1]]
        paid = problem.edge_costs[cut]
        # Infinite costs are constraints: one kept adds nothing.
        edges = np.inf if (problem.edge_costs[~cut] == -np.inf).any() else paid[paid > -np.inf].sum()
        for labels in np.ndindex(*[problem.num_labels] * count):
            if any(labels.count(k) > 1 for k in stuff):
                continue
            best = min(best, block_costs[np.arange(count), labels].sum() + edges)
    return best


def partitions(n: int) -> Iterator[list[int]]:
    """Every partition of n nodes once, as a block number per node, blocks numbered by first node."""

    def extend(block: list[int]) -> Iterator[list[int]]:
        if len(block) == n:
            yield block
            return
        for number in range(max(block, default=-1) + 2):
            yield from extend([*block, number])

    yield from extend([])
