"""The front door: costs as tensors in, a solution as tensors out, a batch as one graph side by side."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from difflayers.amwc.device.graphs import BatchGraph, Labels, components, make_graph, without_parallels
from difflayers.amwc.device.merging import merge_levels
from difflayers.amwc.device.moves import State, improve, move_nodes, projected, single_nodes

# The more patient, the longer two clusters wait to merge until each is the other's best partner.
PATIENCES = {"fast": 0.0, "default": 0.7}
METHODS = tuple(PATIENCES)
# No sum of costs of one item takes more bits than this; gains and what breaks ties need the others.
_BITS = 59


class TensorSolution(NamedTuple):
    """A feasible labeling and partition, on the device of the costs; with B first for a batch.

    Attributes:
        labels: (n,) int64, the label of every node.
        segments: (n,) int64, the segment of every node as in `difflayers.amwc.Solution`.
        cuts: (m,) uint8, 1 where the two ends of an edge lie in different segments.
        cost: () float64, the objective of Eq. 2.

    Examples:
        >>> import torch
        >>> from difflayers.amwc import device
        >>> node_costs = torch.tensor([[0.0, 2.0], [0.0, 2.0], [2.0, 0.0]])
        >>> edges, costs = torch.tensor([[0, 1], [1, 2]]), torch.tensor([-1.0, 0.5])
        >>> found = device.solve(node_costs, edges, costs, torch.tensor([True, False]))
        >>> found.labels.tolist(), found.segments.tolist(), found.cuts.tolist(), found.cost.item()
        ([0, 0, 1], [0, 1, 2], [1, 1], -0.5)
    """

    labels: Tensor
    segments: Tensor
    cuts: Tensor
    cost: Tensor


@torch.no_grad()
def solve(
    node_costs: Tensor,
    edges: Tensor,
    edge_costs: Tensor,
    partitionable: Tensor,
    method: str = "default",
    *,
    start: Tensor | TensorSolution | None = None,
) -> TensorSolution:
    """Solve an asymmetric multiway cut (Eq. 2), or a batch over the same edges, where its costs live.

    Multiway cut is the case that no label is partitionable, multicut that of one partitionable label.

    Args:
        node_costs: (n, K) or (B, n, K) floating, cost of every label at every node.
        edges: (m, 2) int64 on the same device, pairs of different nodes. Parallel edges add up.
        edge_costs: (m,) or (B, m) floating, cost of cutting; positive attracts, negative repels.
        partitionable: (K,) bool, labels that may be split into segments.
        method: "default", or "fast" for about half the rounds and, where there is much noise, a cost some
            tenths of a per cent higher.
        start: (n,) or (B, n) labels to improve, where neighbours of equal label are together, or a solution
            whose segments are taken over too. The result costs no more. Nothing is solved from scratch then.

    Returns:
        The same on every device and in every batch: all decisions are made in whole numbers.

    Raises:
        TypeError: if a tensor has a dtype that cannot be meant, or is no tensor.
        ValueError: if the method is unknown, shapes or devices disagree, the problem is empty, an index is
            out of range, an edge is a self-loop or a cost is not finite (there are no constraints here).

    Examples:
        >>> import torch
        >>> from difflayers.amwc import device
        >>> node_costs = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 3.0], [1.0, 0.0]]])  # a batch of two
        >>> edges, costs = torch.tensor([[0, 1]]), torch.tensor([[0.5], [2.0]])
        >>> device.solve(node_costs, edges, costs, torch.tensor([False, False])).labels.tolist()
        [[0, 1], [0, 0]]
    """
    if not isinstance(method, str) or method not in PATIENCES:
        raise ValueError(f'method must be "fast" or "default", got {method!r}')
    _check_shapes(node_costs, edges, edge_costs, partitionable)
    edges = edges.long()  # smaller integers are no indices in torch
    single = node_costs.ndim == 2
    nodes, costs = (node_costs[None], edge_costs[None]) if single else (node_costs, edge_costs)
    labels = Labels(partitionable, nodes.shape[0] * nodes.shape[2])
    finest = _finest(nodes, edges, costs, labels)
    everything = torch.ones_like(finest.sizes, dtype=torch.bool)
    if start is None:
        state = _from_scratch(finest, PATIENCES[method], labels, everything)
    else:
        state, _ = move_nodes(finest, _clusters_of(start, finest, labels, nodes.shape), labels, everything)
    state = improve(finest, state, labels, everything)
    segments = _segments(finest, state, labels, nodes.shape[1])
    label = state.label.view(segments.shape)
    cuts = segments[:, edges[:, 0]] != segments[:, edges[:, 1]]
    cost = nodes.gather(2, label[:, :, None]).squeeze(2).double().sum(1) + (costs * cuts).double().sum(1)
    solution = TensorSolution(label, segments, cuts.to(torch.uint8), cost)
    return TensorSolution(*(part[0] for part in solution)) if single else solution


def _from_scratch(finest: BatchGraph, patience: float, labels: Labels, everything: Tensor) -> State:
    graphs, numbers = merge_levels(finest, patience, labels)
    coarse = graphs[-1]
    state, _ = move_nodes(coarse, single_nodes(coarse, labels), labels, everything)
    for graph, number in zip(graphs[-2::-1], numbers[::-1], strict=True):
        # Some items have fewer graphs than others.
        state, _ = move_nodes(graph, projected(state, number), labels, coarse.sizes < graph.sizes)
        coarse = graph
    return state


def _finest(node_costs: Tensor, edges: Tensor, edge_costs: Tensor, labels: Labels) -> BatchGraph:
    batch, n, _ = node_costs.shape
    device = node_costs.device
    unit = torch.tensor(_units(node_costs, edges, edge_costs), dtype=torch.float64, device=device)
    # The same edges for all items, so they are sorted but once.
    ends, weights = without_parallels(edges.T, _whole(edge_costs, unit[:, None]), n)
    item = torch.arange(batch, device=device)
    ends = (ends[:, None, :] + n * item[:, None]).flatten(1)
    # An odd factor makes different numbers different, and neighbours' unlike.
    priority = (torch.arange(n, device=device) * 0x9E3779B1) & 0xFFFFFFFF
    return make_graph(
        ends,
        weights.flatten(),
        _whole(node_costs, unit[:, None, None]).flatten(0, 1),
        item.repeat_interleave(n),
        priority.repeat(batch),
        labels,
    )


def _whole(costs: Tensor, unit: Tensor) -> Tensor:
    return (costs.double() * unit).round().long()


def _units(node_costs: Tensor, edges: Tensor, edge_costs: Tensor) -> list[float]:
    """How many units of the whole numbers make a cost of one, for every item; raises on bad values.

    All that the host has to know of the costs comes over in one piece.
    """
    n, m = node_costs.shape[1], edge_costs.shape[1]
    facts = [node_costs.abs().flatten(1).amax(1)]
    if m:
        facts += [edge_costs.abs().amax(1), edges.aminmax().min[None], edges.aminmax().max[None]]
        facts += [(edges[:, 0] == edges[:, 1]).any()[None]]
    values = torch.cat([fact.double() for fact in facts]).tolist()
    batch = len(node_costs)
    for name, largest in (("node_costs", values[:batch]), ("edge_costs", values[batch : 2 * batch])):
        for index, value in enumerate(largest[:batch] if m or name == "node_costs" else ()):
            if not math.isfinite(value):
                raise ValueError(f"{name} must be finite, got NaN or infinity in instance {index}")
    if m:
        low, high, loop = values[2 * batch :]
        if low < 0 or high >= n:
            raise ValueError(f"edges must index nodes 0 to {n - 1}, but hold {low:.0f} to {high:.0f}")
        if loop:
            raise ValueError("edges must join different nodes, but one is a self-loop")
    units = []
    for index in range(batch):
        bits = math.frexp(values[index])[1] + n.bit_length()
        if m:
            bits = max(bits, math.frexp(values[batch + index])[1] + m.bit_length())
        units.append(math.ldexp(1.0, min(_BITS - 1 - bits, 1000)))
    return units


def _clusters_of(
    start: Tensor | TensorSolution, finest: BatchGraph, labels: Labels, shape: tuple[int, ...]
) -> State:
    batch, n, num_labels = shape
    if not isinstance(start, Tensor | TensorSolution):
        raise TypeError(f"start must be a tensor or a TensorSolution, got a {type(start).__name__}")
    label = start if isinstance(start, Tensor) else start.labels
    segment = start if isinstance(start, Tensor) else start.segments
    for name, part, count in (("start", label, num_labels), ("start.segments", segment, n)):
        if part.dtype.is_floating_point or part.dtype == torch.bool:
            raise TypeError(f"{name} must be integers, got {part.dtype}")
        if part.numel() != batch * n or part.shape[-1] != n:
            raise ValueError(
                f"{name} must hold a number for each of {batch} × {n} nodes, got shape {tuple(part.shape)}"
            )
        if part is not segment or part is not label or name == "start":
            low, high = torch.stack(part.aminmax()).tolist()
            if low < 0 or high >= count:
                raise ValueError(f"{name} must lie in 0 to {count - 1}, got {low} to {high}")
    label, segment = label.reshape(-1).long(), segment.reshape(-1).long()
    root = _connected(finest, label * n + segment if label is not segment else label)
    own = torch.where(labels.partitionable[label], labels.total + root, finest.item * num_labels + label)
    return State(own, label)


def _connected(finest: BatchGraph, group: Tensor) -> Tensor:
    """First node of the connected part of equal group that every node lies in."""
    tails, heads = finest.tails[: finest.num_edges], finest.heads[: finest.num_edges]
    inner = (group[tails] == group[heads]).nonzero().squeeze(1)
    return components(finest.num_nodes, tails[inner], heads[inner])


def _segments(finest: BatchGraph, state: State, labels: Labels, num_nodes: int) -> Tensor:
    """Segments (B, n) in the order of their first nodes."""
    nodes = torch.arange(finest.num_nodes, device=state.cluster.device)
    first = state.cluster.new_full((labels.total + len(nodes),), len(nodes))
    first.scatter_reduce_(0, state.cluster, nodes, "amin")
    stuff = state.cluster < labels.total
    root = torch.where(stuff, first[state.cluster], _connected(finest, state.cluster))
    number = (root == nodes).cumsum(0)[root].view(-1, num_nodes)
    return number - number[:, :1]


def _check_shapes(node_costs: Tensor, edges: Tensor, edge_costs: Tensor, partitionable: Tensor) -> None:
    for name, tensor in (
        ("node_costs", node_costs),
        ("edges", edges),
        ("edge_costs", edge_costs),
        ("partitionable", partitionable),
    ):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a tensor, got a {type(tensor).__name__}")
        if tensor.device != node_costs.device:
            raise ValueError(f"{name} is on {tensor.device}, but node_costs on {node_costs.device}")
    for name, costs in (("node_costs", node_costs), ("edge_costs", edge_costs)):
        if not costs.is_floating_point():
            raise TypeError(f"{name} must be floating, got {costs.dtype}")
    if node_costs.ndim not in (2, 3) or edge_costs.ndim != node_costs.ndim - 1:
        raise ValueError(
            "node_costs and edge_costs must have shapes (n, K) and (m,), or (B, n, K) and (B, m), "
            f"got {tuple(node_costs.shape)} and {tuple(edge_costs.shape)}"
        )
    if node_costs.numel() == 0:
        raise ValueError(
            f"node_costs must have at least one node and one label, got shape {tuple(node_costs.shape)}"
        )
    if edges.is_floating_point() or edges.dtype == torch.bool:
        raise TypeError(f"edges must be integers, got {edges.dtype}")
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"edges must have shape (m, 2), got {tuple(edges.shape)}")
    expected = (*node_costs.shape[:-2], len(edges))
    if edge_costs.shape != expected:
        raise ValueError(f"edge_costs must have shape {expected}, got {tuple(edge_costs.shape)}")
    if partitionable.dtype != torch.bool:
        raise TypeError(f"partitionable must be bool, got {partitionable.dtype}")
    if partitionable.shape != node_costs.shape[-1:]:
        raise ValueError(
            f"partitionable must have shape ({node_costs.shape[-1]},), got {tuple(partitionable.shape)}"
        )
