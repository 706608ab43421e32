"""Graphs of the hierarchy as tensors: building, components and contraction, all in whole numbers.

Costs are int64 in a fixed-point unit, so that sums do not depend on the order in which a device adds: the
same problem has the same answer on every device, alone or in a batch.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# The cost of a label that there is none of; more than any sum of costs, and no sum with it overflows.
NEVER = 1 << 61


class Labels(NamedTuple):
    """What the labels of a batch are.

    Attributes:
        partitionable: (K,) bool.
        total: B K. The one cluster of label k of item b, if it may not be split, has the number `b K + k`;
            clusters of things are numbered from here on.
    """

    partitionable: Tensor
    total: int


class BatchGraph(NamedTuple):
    """A graph of the hierarchy with all that the rounds on it read; the items of a batch side by side.

    Attributes:
        tails: (2m,) int64; every edge stands twice, the second m entries are the first m turned round.
        heads: (2m,) int64.
        weights: (2m,) int64, cost of cutting.
        node_costs: (n, K) int64.
        item: (n,) int64, the batch item of every node.
        sizes: (B,) int64, the number of nodes of every item.
        priority: (n,) int64, different for all nodes of an item; breaks ties.
        thing: (n,) int64, the cheapest partitionable label, 0 where there is none.
        thing_costs: (n,) int64, its cost, NEVER where there is none.
        stuff: (n,) int64, the cheapest label that may not be split, and so on.
        stuff_costs: (n,) int64.
    """

    tails: Tensor
    heads: Tensor
    weights: Tensor
    node_costs: Tensor
    item: Tensor
    sizes: Tensor
    priority: Tensor
    thing: Tensor
    thing_costs: Tensor
    stuff: Tensor
    stuff_costs: Tensor

    @property
    def num_nodes(self) -> int:
        """Number of nodes of all items."""
        return len(self.node_costs)

    @property
    def num_edges(self) -> int:
        """Number of edges, each counted once."""
        return len(self.weights) // 2


def make_graph(
    ends: Tensor, weights: Tensor, node_costs: Tensor, item: Tensor, priority: Tensor, labels: Labels
) -> BatchGraph:
    """The graph of different edges (2, m), the lower end first."""
    sizes = item.new_zeros(labels.total // node_costs.shape[1])
    return BatchGraph(
        ends.flatten(),
        ends.flip(0).flatten(),
        weights.repeat(2),
        node_costs,
        item,
        sizes.index_add_(0, item, torch.ones_like(item)),
        priority,
        *cheapest(node_costs, labels.partitionable),
        *cheapest(node_costs, ~labels.partitionable),
    )


def without_parallels(ends: Tensor, weights: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Different edges (2, m'), the lower end first, of ends (2, m); weights (..., m) add up to (..., m')."""
    keys, order = (ends.amin(0) * num_nodes + ends.amax(0)).sort()
    keys, group = torch.unique_consecutive(keys, return_inverse=True)
    total = weights.new_zeros(*weights.shape[:-1], len(keys)).index_add_(-1, group, weights[..., order])
    return torch.stack([keys // num_nodes, keys % num_nodes]), total


def cheapest(node_costs: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest allowed label (n,) of every node, the first where there are several, and its cost (n,)."""
    number = torch.arange(node_costs.shape[1], device=node_costs.device)
    allowed_costs = node_costs.masked_fill(~allowed, NEVER)
    costs = allowed_costs.amin(1)
    # Not argmin, which may answer differently from device to device where costs are equal.
    first = torch.where(allowed_costs == costs[:, None], number, node_costs.shape[1]).amin(1)
    return first, costs


def components(num_nodes: int, tails: Tensor, heads: Tensor) -> Tensor:
    """Smallest node (n,) of the connected component of every node.

    Roots are hooked to the smallest neighbouring root and all paths made short, O(log n) times in practice.
    """
    root = torch.arange(num_nodes, device=tails.device)
    while True:
        a, b = root[tails], root[heads]
        differ = (a != b).nonzero().squeeze(1)
        if len(differ) == 0:
            return root
        a, b = a[differ], b[differ]
        root = root.scatter_reduce(0, torch.maximum(a, b), torch.minimum(a, b), "amin")
        root = flatten(root)
        tails, heads = tails[differ], heads[differ]


def flatten(parent: Tensor) -> Tensor:
    """Root (n,) of every node of a forest, by pointer jumping: a path of length p takes log p jumps."""
    while True:
        # To ask whether it was enough takes as long as a few jumps.
        for _ in range(3):
            parent = parent[parent]
        further = parent[parent]
        if torch.equal(further, parent):
            return parent
        parent = further


def contract(graph: BatchGraph, root: Tensor, labels: Labels) -> tuple[BatchGraph, Tensor, Tensor]:
    """The graph whose nodes are the trees of `root` (n,), the new number of every node, and the roots."""
    is_root = root == torch.arange(len(root), device=root.device)
    roots = is_root.nonzero().squeeze(1)
    number = (is_root.cumsum(0) - 1)[root]
    m = graph.num_edges
    ends = torch.stack([number[graph.tails[:m]], number[graph.heads[:m]]])
    outer = (ends[0] != ends[1]).nonzero().squeeze(1)
    node_costs = graph.node_costs.new_zeros(len(roots), graph.node_costs.shape[1])
    coarse = make_graph(
        *without_parallels(ends[:, outer], graph.weights[:m][outer], len(roots)),
        node_costs.index_add_(0, number, graph.node_costs),
        graph.item[roots],
        graph.priority[roots],
        labels,
    )
    return coarse, number, roots
