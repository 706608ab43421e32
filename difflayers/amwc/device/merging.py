"""Merging in rounds: every cluster picks its best partner, and the forest of picks is contracted."""

import torch
from torch import Tensor

from difflayers.amwc.device.level import Labels, Level, contract, flatten


def merge_levels(finest: Level, labels: Labels) -> tuple[list[Level], list[Tensor]]:
    """Levels from the finest on until nothing gains, and the number of every node on the next level."""
    levels, numbers = [finest], []
    while True:
        root = best_partners(levels[-1])
        coarse, number, _ = contract(levels[-1], root, labels)
        if coarse.num_nodes == levels[-1].num_nodes:
            return levels, numbers
        levels.append(coarse)
        numbers.append(number)


def best_partners(level: Level) -> Tensor:
    """Root (n,) of every node after a round of merging.

    Merging two nodes gains the weight between them less what one common label costs more than two. Every
    node points to the neighbour of the largest positive gain. Gains are ordered without ties, alike from
    both ends, so that the only circles are pairs.
    """
    n, m = level.num_nodes, level.num_edges
    nodes = torch.arange(n, device=level.tails.device)
    least = torch.minimum(level.stuff_costs, level.thing_costs)
    cheapest = torch.where(level.stuff_costs <= level.thing_costs, level.stuff, level.thing)
    attractive = (level.weights[:m] > 0).nonzero().squeeze(1)
    u, v = level.tails[attractive], level.heads[attractive]
    # A third label may suit both better still; that gain is left to the moves.
    common = torch.minimum(
        least[u] + level.node_costs[v, cheapest[u]], level.node_costs[u, cheapest[v]] + least[v]
    )
    gains = level.weights[attractive] + least[u] + least[v] - common
    best = gains.new_zeros(n)
    for end in (u, v):
        best.scatter_reduce_(0, end, gains, "amax")
    tie = (((level.priority[u] + level.priority[v]) * 0x9E3779B1) & 0x3FFFFFFF) << 32 | attractive
    chosen = torch.full_like(best, -1)
    for end in (u, v):
        chosen.scatter_reduce_(0, end, torch.where((gains == best[end]) & (gains > 0), tie, -1), "amax")
    picked = chosen & 0xFFFFFFFF
    picks = chosen >= 0
    edge = torch.where(picks, picked, 0)
    if m == 0:
        return nodes
    partner = torch.where(picks, level.tails[edge] + level.heads[edge] - nodes, nodes)
    mutual = partner[partner] == nodes
    return flatten(torch.where(mutual, torch.minimum(partner, nodes), partner))
