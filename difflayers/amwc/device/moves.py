"""Local moves in rounds: all nodes that gain by another cluster move at once, unless neighbours object."""

from typing import NamedTuple

import torch
from torch import Tensor

from difflayers.amwc.device.graphs import BatchGraph, Labels, cheapest, components, contract

# Of moves on one graph. What more of them would gain is mostly found on the next graph too.
MAX_ROUNDS = 4
# A round is not worth its time where no more than one node in so many would move.
MOST_AT_REST = 1000


class State(NamedTuple):
    """A clustering of the nodes of a graph.

    Attributes:
        cluster: (n,) int64; below `Labels.total` that of a label that may not be split, from there on
            those of things: the total plus the first node of the cluster.
        label: (n,) int64, the label of the node's cluster.
    """

    cluster: Tensor
    label: Tensor


def single_nodes(graph: BatchGraph, labels: Labels) -> State:
    """Every node at its cheapest label, things on their own."""
    stuff = graph.stuff_costs <= graph.thing_costs
    own = labels.total + torch.arange(graph.num_nodes, device=stuff.device)
    stuff_cluster = graph.item * graph.node_costs.shape[1] + graph.stuff
    return State(torch.where(stuff, stuff_cluster, own), torch.where(stuff, graph.stuff, graph.thing))


def move_nodes(graph: BatchGraph, state: State, labels: Labels, items: Tensor) -> tuple[State, Tensor]:
    """Move nodes of some `items` (B,) in rounds that each lower the cost; the state and who gained (B,).

    Every item rests when it would alone, so that its solution does not depend on the others of its batch.
    """
    active = items[graph.item]
    gained = torch.zeros_like(items)
    for _ in range(MAX_ROUNDS):
        target, label, gain = best_moves(graph, state, labels, active)
        counts = torch.zeros_like(graph.sizes).index_add_(0, graph.item, (gain > 0).long())
        going = counts > graph.sizes // MOST_AT_REST
        if not going.any():
            break
        gained = gained | going
        wish = (gain > 0) & going[graph.item]
        moved = unopposed(graph, state.cluster, target, gain, wish)
        active = wish & ~moved
        active[graph.heads[moved[graph.tails]]] = True
        cluster = torch.where(moved, target, state.cluster)
        state = renumbered(cluster, torch.where(moved, label, state.label), labels, 2 * graph.num_nodes)
    return state, gained


def best_moves(
    graph: BatchGraph, state: State, labels: Labels, active: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The cluster and label (n,) that every active node likes best, and what it gains by them.

    A node may go to the cluster of a neighbour, to that of the stuff label it likes best, or to a new one of
    its cheapest thing label.
    """
    n = graph.num_nodes
    node_costs = graph.node_costs
    nodes = torch.arange(n, device=node_costs.device)
    cluster, own_label = state
    edge = active[graph.tails].nonzero().squeeze(1)
    v, c, w = graph.tails[edge], cluster[graph.heads[edge]], graph.weights[edge]
    inner = c == cluster[v]
    own = w.new_zeros(n).index_add_(0, v, w * inner)
    attraction = w.new_zeros(n).index_add_(0, v, w.clamp(min=0) * ~inner)
    stay = node_costs.gather(1, own_label[:, None]).squeeze(1) - own

    stuff, stuff_value = best_stuff(graph, v, c, w, labels)
    best = torch.minimum(stuff_value, graph.thing_costs)
    fresh = graph.thing_costs < stuff_value
    target = torch.where(fresh, labels.total + n + nodes, graph.item * node_costs.shape[1] + stuff)
    label = torch.where(fresh, graph.thing, stuff)

    # Sorting is what takes time; few nodes are attracted strongly enough to have to compare clusters.
    hopeful = torch.minimum(graph.stuff_costs, graph.thing_costs) - attraction < torch.minimum(stay, best)
    other = (~inner & hopeful[v]).nonzero().squeeze(1)
    span = labels.total + n
    keys, order = (v[other] * span + c[other]).sort()
    keys, group = torch.unique_consecutive(keys, return_inverse=True)
    affinity = torch.zeros_like(keys).index_add_(0, group, w[other][order])
    v, c = keys // span, keys % span
    label_of = torch.zeros(span, dtype=torch.int64, device=v.device)
    label_of[: labels.total] = torch.arange(labels.total, device=v.device) % node_costs.shape[1]
    label_of[cluster] = own_label
    value = node_costs[v, label_of[c]] - affinity
    least = best.scatter_reduce(0, v, value, "amin")
    first = torch.full_like(best, span).scatter_reduce_(0, v, torch.where(value == least[v], c, span), "amin")
    joins = least < best
    first = torch.where(joins, first, 0)
    target = torch.where(joins, first, target)
    label = torch.where(joins, label_of[first], label)
    return target, label, torch.where(active, stay - least, 0)


def best_stuff(graph: BatchGraph, v: Tensor, c: Tensor, w: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
    """The stuff label (n,) that costs every node least, and what it costs less what attracts it there.

    The edges of the nodes are given: node `v`, the cluster `c` of the other end, weight `w`, (m,) each.
    All labels are looked at only where neighbours push a node away from its cheapest one: any other that is
    better elsewhere is that of a neighbour.
    """
    num_labels = graph.node_costs.shape[1]
    at_stuff = c < labels.total
    v, k, w = v[at_stuff], c[at_stuff] % num_labels, w[at_stuff]
    affinity = w.new_zeros(graph.num_nodes).index_add_(0, v, w * (k == graph.stuff[v]))
    pushed = (affinity < 0).nonzero().squeeze(1)
    row = torch.full_like(graph.item, -1)
    row[pushed] = torch.arange(len(pushed), device=row.device)
    edge = (row[v] >= 0).nonzero().squeeze(1)
    values = graph.node_costs[pushed]
    values.view(-1).index_add_(0, row[v[edge]] * num_labels + k[edge], -w[edge])
    label, value = cheapest(values, ~labels.partitionable)
    return graph.stuff.index_copy(0, pushed, label), (graph.stuff_costs - affinity).index_copy(
        0, pushed, value
    )


def unopposed(graph: BatchGraph, cluster: Tensor, target: Tensor, gain: Tensor, wish: Tensor) -> Tensor:
    """Whom of those who wish to move to let (n,), such that together they gain.

    Two neighbours that both move change the cost of their edge by something else than the sum of what each
    expected. Where that is to their disadvantage, the one that gains less has to have it to spare.
    """
    edge = (wish[graph.tails] & wish[graph.heads]).nonzero().squeeze(1)
    u, v, w = graph.tails[edge], graph.heads[edge], graph.weights[edge]
    both = (target[u] != target[v]).long() + (cluster[u] != cluster[v]).long()
    alone = (target[u] != cluster[v]).long() + (cluster[u] != target[v]).long()
    loss = (w * (both - alone)).clamp(min=0)
    yields = (gain[u] < gain[v]) | ((gain[u] == gain[v]) & (graph.priority[u] < graph.priority[v]))
    return wish & (gain > torch.zeros_like(gain).index_add_(0, u, loss * yields))


def renumbered(cluster: Tensor, label: Tensor, labels: Labels, span: int) -> State:
    """The state of clusters whose numbers are below `labels.total + span`."""
    nodes = torch.arange(len(cluster), device=cluster.device)
    first = cluster.new_full((labels.total + span,), len(cluster)).scatter_reduce_(0, cluster, nodes, "amin")
    return State(torch.where(cluster < labels.total, cluster, labels.total + first[cluster]), label)


def improve(graph: BatchGraph, state: State, labels: Labels, items: Tensor) -> State:
    """Moves on the graph of what lies together, then of what lies together there, and on the way back."""
    m = graph.num_edges
    tails, heads = graph.tails[:m], graph.heads[:m]
    together = (state.cluster[tails] == state.cluster[heads]) & (graph.weights[:m] > 0)
    inner = together.nonzero().squeeze(1)
    if len(inner) == 0:
        return state
    coarse, number, roots = contract(graph, components(graph.num_nodes, tails[inner], heads[inner]), labels)
    coarse_state = renumbered(state.cluster[roots], state.label[roots], labels, graph.num_nodes)
    coarse_state, gained = move_nodes(coarse, coarse_state, labels, items & (coarse.sizes < graph.sizes))
    if not gained.any():
        return state
    coarse_state = improve(coarse, coarse_state, labels, gained)
    return move_nodes(graph, projected(coarse_state, number), labels, gained)[0]


def projected(state: State, number: Tensor) -> State:
    """The state on the finer graph whose nodes have these numbers (n,) on the coarser one."""
    return State(state.cluster[number], state.label[number])
