"""Local moves in rounds: all nodes that gain from another cluster move at once, unless neighbours object."""

from typing import NamedTuple

import torch
from torch import Tensor

from difflayers.amwc.device.level import Labels, Level, components, contract


class State(NamedTuple):
    """A clustering of the nodes of a level.

    Attributes:
        cluster: (n,) int64; below ``Labels.count`` the cluster of a label that may not be split, from there
            on those of things: the count plus the first node of the cluster.
        label: (n,) int64, the label of the node's cluster.
    """

    cluster: Tensor
    label: Tensor


def single_nodes(level: Level, labels: Labels) -> State:
    """Every node at its cheapest label, things on their own."""
    stuff = level.stuff_costs <= level.thing_costs
    own = labels.count + torch.arange(level.num_nodes, device=stuff.device)
    return State(
        torch.where(stuff, _stuff_cluster(level), own), torch.where(stuff, level.stuff, level.thing)
    )


def _stuff_cluster(level: Level) -> Tensor:
    return level.item * level.node_costs.shape[1] + level.stuff


def objective(level: Level, state: State, num_items: int) -> Tensor:
    """Cost (B,) of a state for every item."""
    m = level.num_edges
    tails, heads = level.tails[:m], level.heads[:m]
    cut = state.cluster[tails] != state.cluster[heads]
    total = level.weights.new_zeros(num_items)
    total.index_add_(0, level.item, level.node_costs.gather(1, state.label[:, None]).squeeze(1))
    return total.index_add_(0, level.item[tails], level.weights[:m] * cut)


def move_nodes(level: Level, state: State, labels: Labels, max_rounds: int) -> tuple[State, int]:
    """Move nodes while somebody gains, at most ``max_rounds`` times; the new state and the number of moves."""
    active = torch.ones(level.num_nodes, dtype=torch.bool, device=level.tails.device)
    total = 0
    for _ in range(max_rounds):
        target, label, gain = best_moves(level, state, labels, active)
        wish = gain > 0
        movers = wish.nonzero().squeeze(1)
        if len(movers) == 0:
            break
        moved = unopposed(level, state.cluster, target, gain, wish)
        state = renumbered(
            torch.where(moved, target, state.cluster), torch.where(moved, label, state.label), labels
        )
        active = wish & ~moved
        active.scatter_reduce_
        touched = level.heads[moved[level.tails].nonzero().squeeze(1)]
        active[touched] = True
        total += len(movers)
    return state, total


def best_moves(level: Level, state: State, labels: Labels, active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The cluster and label (n,) that every active node would like best, and what it gains by them.

    A node may go to the cluster of a neighbour, to that of its cheapest stuff label, or to a new one of
    its cheapest thing label.
    """
    n = level.num_nodes
    node_costs = level.node_costs
    nodes = torch.arange(n, device=node_costs.device)
    cluster, own_label = state
    stuff_cluster = _stuff_cluster(level)
    edge = active[level.tails].nonzero().squeeze(1)
    v, c, w = level.tails[edge], cluster[level.heads[edge]], level.weights[edge]
    inner = c == cluster[v]
    own = w.new_zeros(n).index_add_(0, v, w * inner)
    to_stuff = w.new_zeros(n).index_add_(0, v, w * (c == stuff_cluster[v]))
    attraction = w.new_zeros(n).index_add_(0, v, w.clamp(min=0) * ~inner)
    stay = node_costs.gather(1, own_label[:, None]).squeeze(1) - own

    best = torch.minimum(level.stuff_costs - to_stuff, level.thing_costs)
    fresh = level.thing_costs < level.stuff_costs - to_stuff
    target = torch.where(fresh, labels.count + n + nodes, stuff_cluster)
    label = torch.where(fresh, level.thing, level.stuff)

    hopeful = torch.minimum(level.stuff_costs, level.thing_costs) - attraction < torch.minimum(stay, best)
    other = (~inner & hopeful[v]).nonzero().squeeze(1)
    span = labels.count + n
    keys, order = (v[other] * span + c[other]).sort()
    keys, group = torch.unique_consecutive(keys, return_inverse=True)
    affinity = torch.zeros_like(keys).index_add_(0, group, w[other][order])
    v, c = keys // span, keys % span
    label_of = torch.zeros(span, dtype=torch.int64, device=v.device)
    label_of[: labels.count] = torch.arange(labels.count, device=v.device) % node_costs.shape[1]
    label_of[cluster] = own_label
    value = node_costs[v, label_of[c]] - affinity
    least = best.scatter_reduce(0, v, value, "amin")
    first = torch.full_like(best, span).scatter_reduce_(
        0, v, torch.where(value == least[v], c, span), "amin"
    )
    joins = least < best
    first = torch.where(joins, first, 0)
    target = torch.where(joins, first, target)
    label = torch.where(joins, label_of[first], label)
    return target, label, torch.where(active, stay - least, 0)


def unopposed(level: Level, cluster: Tensor, target: Tensor, gain: Tensor, wish: Tensor) -> Tensor:
    """Whom of those who wish to move to let (n,), such that together they gain.

    Two neighbours that both move change the cost of their edge by something else than the sum of what each
    expected. Where that is to their disadvantage, the one that gains less has to have it to spare.
    """
    edge = (wish[level.tails] & wish[level.heads]).nonzero().squeeze(1)
    u, v, w = level.tails[edge], level.heads[edge], level.weights[edge]
    both = (target[u] != target[v]).long() + (cluster[u] != cluster[v]).long()
    alone = (target[u] != cluster[v]).long() + (cluster[u] != target[v]).long()
    loss = (w * (both - alone)).clamp(min=0)
    yields = (gain[u] < gain[v]) | ((gain[u] == gain[v]) & (level.priority[u] < level.priority[v]))
    return wish & (gain > torch.zeros_like(gain).index_add_(0, u, loss * yields))


def renumbered(cluster: Tensor, label: Tensor, labels: Labels) -> State:
    """The state of clusters that have any numbers below ``Labels.count`` + 2n."""
    n = len(cluster)
    nodes = torch.arange(n, device=cluster.device)
    first = torch.full((labels.count + 2 * n,), n, device=cluster.device)
    first.scatter_reduce_(0, cluster, nodes, "amin")
    return State(torch.where(cluster < labels.count, cluster, labels.count + first[cluster]), label)


def improve(level: Level, state: State, labels: Labels, max_rounds: int) -> tuple[State, int]:
    """Moves on the level, then on the graph of what lies together, and so on; moves again on the way back."""
    state, moves = move_nodes(level, state, labels, max_rounds)
    m = level.num_edges
    tails, heads = level.tails[:m], level.heads[:m]
    together = (state.cluster[tails] == state.cluster[heads]) & (level.weights[:m] > 0)
    inner = together.nonzero().squeeze(1)
    if len(inner) == 0:
        return state, moves
    root = components(level.num_nodes, tails[inner], heads[inner])
    coarse, number, roots = contract(level, root, labels)
    coarse_cluster = torch.where(state.cluster < labels.count, state.cluster, 0)
    # first coarse node of the cluster
    first = torch.full((labels.count + level.num_nodes,), coarse.num_nodes, device=root.device)
    first.scatter_reduce_(0, state.cluster[roots], torch.arange(coarse.num_nodes, device=root.device), "amin")
    cluster = state.cluster[roots]
    coarse_cluster = torch.where(cluster < labels.count, cluster, labels.count + first[cluster])
    coarse_state, coarse_moves = improve(
        coarse, State(coarse_cluster, state.label[roots]), labels, max_rounds
    )
    if coarse_moves == 0:
        return state, moves
    state = State(coarse_state.cluster[number], coarse_state.label[number])
    state, last = move_nodes(level, state, labels, max_rounds)
    return state, moves + coarse_moves + last
