"""Merging in rounds: every cluster picks its best partner, and the forest of picks is contracted."""

import torch
from torch import Tensor

from difflayers.amwc.device.graphs import BatchGraph, Labels, contract, flatten

_MIXER = 0x9E3779B1
# Node costs that are looked at together; bounds the memory for the edges between different labels.
_ENTRIES = 1 << 25


def merge_levels(
    finest: BatchGraph, patience: float, labels: Labels
) -> tuple[list[BatchGraph], list[Tensor]]:
    """Graphs from the finest on until nothing gains, and the number of every node on the next graph."""
    graphs: list[BatchGraph] = [finest]
    numbers: list[Tensor] = []
    while True:
        root = best_partners(graphs[-1], patience)
        coarse, number, _ = contract(graphs[-1], root, labels)
        if coarse.num_nodes == graphs[-1].num_nodes:
            return graphs, numbers
        graphs.append(coarse)
        numbers.append(number)


def best_partners(graph: BatchGraph, patience: float) -> Tensor:
    """Root (n,) of every node after a round of merging.

    Merging two nodes gains the weight between them less what one common label costs more than two. Every
    node points to the neighbour of the largest positive gain, unless it gains less than `patience` times
    what that neighbour could. Gains are ordered without ties, alike from both ends, so that the only circles
    are pairs.
    """
    n, m = graph.num_nodes, graph.num_edges
    nodes = torch.arange(n, device=graph.tails.device)
    attractive = (graph.weights[:m] > 0).nonzero().squeeze(1)
    if len(attractive) == 0:
        return nodes
    u, v = graph.tails[attractive], graph.heads[attractive]
    gains = _gains(graph, u, v, graph.weights[attractive])
    best = _largest(n, u, v, gains)
    positive = gains > 0
    tie = (((graph.priority[u] + graph.priority[v]) * _MIXER) & 0x3FFFFFFF) << 32 | attractive
    chosen = torch.full_like(best, -1)
    for end in (u, v):
        chosen.scatter_reduce_(0, end, torch.where(positive & (gains == best[end]), tie, -1), "amax")
    edge = torch.where(chosen >= 0, chosen & 0xFFFFFFFF, 0)
    partner = torch.where(chosen >= 0, graph.tails[edge] + graph.heads[edge] - nodes, nodes)
    mutual = partner[partner] == nodes
    waits = best.double() < patience * best[partner].double()
    return flatten(torch.where(mutual, torch.minimum(partner, nodes), torch.where(waits, nodes, partner)))


def _gains(graph: BatchGraph, u: Tensor, v: Tensor, weights: Tensor) -> Tensor:
    """What merging gains (m,), exact wherever it may be the best of one of the two nodes."""
    least = torch.minimum(graph.stuff_costs, graph.thing_costs)
    cheapest = torch.where(graph.stuff_costs <= graph.thing_costs, graph.stuff, graph.thing)
    # One of the two cheapest labels for both: at least so much is gained, and at most the weight.
    common = torch.minimum(
        least[u] + graph.node_costs[v, cheapest[u]], graph.node_costs[u, cheapest[v]] + least[v]
    )
    gains = weights + least[u] + least[v] - common
    best = _largest(graph.num_nodes, u, v, gains)
    rival = (gains < weights) & ((weights >= best[u]) | (weights >= best[v]))
    rivals = rival.nonzero().squeeze(1)
    for part in rivals.split(max(1, _ENTRIES // graph.node_costs.shape[1])):
        a, b = u[part], v[part]
        common = (graph.node_costs[a] + graph.node_costs[b]).amin(1)
        gains[part] = weights[part] + least[a] + least[b] - common
    return gains


def _largest(num_nodes: int, u: Tensor, v: Tensor, gains: Tensor) -> Tensor:
    best = gains.new_zeros(num_nodes)
    for end in (u, v):
        best.scatter_reduce_(0, end, gains, "amax")
    return best
