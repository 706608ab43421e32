"""Shortest path on a graph whose edges have costs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numba import njit

from difflayers._arguments import count, indices
from difflayers.graph.checks import checked_edges
from difflayers.solver import Array
from difflayers.solvers.batch import batch_size, check_threads, checked_contexts, solve_batch, spend
from difflayers.solvers.heap import drop_first, push


@dataclass(frozen=True, eq=False)
class ShortestPath:
    """The cheapest path between two nodes of a graph.

    Exact. A directed graph without cycles is solved in O(n + m), for costs of any sign; all others by
    Dijkstra's algorithm in O((n + m) log m), for non-negative costs.

    Args:
        num_nodes: number n of nodes.
        edges: (m, 2) integers, from node and to node.
        source: the first node of the path.
        target: the last one; by default the last node.
        directed: False to let a path use every edge in both directions.
        clip_negative: take 0 in place of negative costs where Dijkstra's algorithm needs them to be
            non-negative; they are an error otherwise. Under `SPOPlusLoss` and `StructuredSVMLoss`, which need
            the solution of the negative costs, clipping makes losses that are no upper bounds.
        n_threads: threads among which a batch is shared out.

    Attributes:
        acyclic: whether the graph is directed and has no cycle, so that costs may be negative.

    Raises:
        TypeError, ValueError: an argument has the wrong form or is out of range.
    """

    sense: ClassVar[str] = "minimize"
    num_nodes: int
    edges: Array
    source: int = 0
    target: int | None = None
    directed: bool = True
    clip_negative: bool = False
    n_threads: int = 1
    acyclic: bool = field(init=False)
    _ends: Array = field(init=False, repr=False)
    _arcs: tuple[Array, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_nodes", count("num_nodes", self.num_nodes))
        check_threads(self.n_threads)
        edges = checked_edges(self.edges, self.num_nodes)
        object.__setattr__(self, "edges", edges)
        if self.target is None:
            object.__setattr__(self, "target", self.num_nodes - 1)
        ends = indices("source and target", [self.source, self.target], (2,))
        if not ((ends >= 0) & (ends < self.num_nodes)).all():
            raise ValueError(
                f"source and target must be nodes 0 to {self.num_nodes - 1}, got {ends.tolist()}"
            )
        object.__setattr__(self, "_ends", ends)
        arcs = compressed_arcs(self.num_nodes, edges, self.directed)
        order = topological_order(arcs[0], arcs[1]) if self.directed else None
        if order is not None:
            position = np.empty(self.num_nodes, np.int64)
            position[order] = np.arange(self.num_nodes)
            by_tail = np.argsort(position[edges[:, 0]], kind="stable")
            arcs = (edges[by_tail, 0].copy(), edges[by_tail, 1].copy(), by_tail.astype(np.int32))
        object.__setattr__(self, "acyclic", order is not None)
        object.__setattr__(self, "_arcs", arcs)

    def __call__(self, costs: Any, contexts: Sequence[Any] | None = None) -> Array:
        """Solve a batch.

        Args:
            costs: (B, m) numbers; infinity forbids an edge.
            contexts: for each instance its ends (source, target), in place of the fixed ones.

        Returns:
            (B, m) in the costs' dtype: 1 for the edges on the path, 0 for the others.

        Raises:
            ValueError: the costs have a wrong shape, a NaN, or a negative value in a graph with cycles; or
                an end is no node.
            InfeasibleError: an instance has no path of finite cost.
        """
        ends = checked_contexts(contexts, batch_size(costs), self._ends)
        if contexts is not None:
            wrong = ((ends < 0) | (ends >= self.num_nodes)).any(axis=1)
            if wrong.any():
                instance = int(wrong.argmax())
                raise ValueError(
                    f"the context of instance {instance} must be nodes 0 to {self.num_nodes - 1}, "
                    f"but is {ends[instance].tolist()}"
                )
        return solve_batch(
            _acyclic_paths if self.acyclic else _dijkstra_paths,
            costs,
            (len(self.edges),),
            (self.num_nodes, *self._arcs),
            failure="no path of finite cost between source and target",
            n_threads=self.n_threads,
            per_instance=(ends,),
            domain="any" if self.acyclic else "clip" if self.clip_negative else "non-negative",
        )


def monotone_grid_path(shape: tuple[int, int], n_threads: int = 1) -> ShortestPath:
    """The shortest path from corner to corner of a grid that only steps right or down and pays for steps.

    The edges, which are those of PyEPO's shortest path model and in its order, go by row: first the steps to
    the right in this row, then those down from it. Solved in O(n); costs may be negative.

    Raises ValueError if the shape is not two positive integers.
    """
    if len(shape) != 2 or any(int(size) != size or size < 1 for size in shape):
        raise ValueError(f"shape must be two positive integers (height, width), got {tuple(shape)}")
    height, width = (int(size) for size in shape)
    cells = np.arange(height * width).reshape(height, width)
    edges = []
    for i in range(height):
        edges.append(np.stack([cells[i, :-1], cells[i, 1:]], axis=1))
        if i + 1 < height:
            edges.append(np.stack([cells[i], cells[i + 1]], axis=1))
    return ShortestPath(height * width, np.concatenate(edges), n_threads=n_threads)


def compressed_arcs(num_nodes: int, edges: Array, directed: bool) -> tuple[Array, Array, Array]:
    """Where each node's arcs begin (n + 1,), and of each arc its head and its edge, all int32."""
    tails, heads, ids = edges[:, 0], edges[:, 1], np.arange(len(edges))
    if not directed:
        tails, heads, ids = np.append(tails, heads), np.append(heads, tails), np.append(ids, ids)
    order = np.argsort(tails, kind="stable")
    begins = np.zeros(num_nodes + 1, np.int32)
    np.cumsum(np.bincount(tails, minlength=num_nodes), out=begins[1:])
    return begins, heads[order].astype(np.int32), ids[order].astype(np.int32)


def topological_order(begins: Array, heads: Array) -> Array | None:
    """Nodes in an order in which all arcs lead onwards, or None if there is a cycle; O(n + m)."""
    num_nodes = len(begins) - 1
    waiting = np.bincount(heads, minlength=num_nodes).tolist()
    order = [node for node in range(num_nodes) if waiting[node] == 0]
    targets = heads.tolist()
    for node in order:  # grows while it is walked
        for head in targets[begins[node] : begins[node + 1]]:
            waiting[head] -= 1
            if waiting[head] == 0:
                order.append(head)
    return np.array(order) if len(order) == num_nodes else None


@njit(nogil=True, cache=True)
def _acyclic_paths(
    costs: np.ndarray,
    solutions: np.ndarray,
    meter: np.ndarray,
    ends: np.ndarray,
    num_nodes: int,
    tails: np.ndarray,
    heads: np.ndarray,
    ids: np.ndarray,
) -> int:
    """Relax the arcs in topological order of their tails, O(n + m) an instance."""
    distance = np.empty(num_nodes)
    last = np.empty(num_nodes, np.int32)
    for row in range(len(costs)):
        if spend(meter, 5 * tails.size):
            return row
        distance[:] = np.inf
        distance[ends[row, 0]] = 0
        for arc in range(tails.size):
            through = distance[tails[arc]] + costs[row, ids[arc]]
            head = heads[arc]
            better = through < distance[head]
            # Written in any case: whether an arc is better is a coin toss, and a branch on it costs more.
            distance[head] = through if better else distance[head]
            last[head] = arc if better else last[head]
        node = ends[row, 1]
        if distance[node] == np.inf:
            return row
        while node != ends[row, 0]:
            arc = last[node]
            solutions[row, ids[arc]] = 1
            node = tails[arc]
    return -1


@njit(nogil=True, cache=True)
def _dijkstra_paths(
    costs: np.ndarray,
    solutions: np.ndarray,
    meter: np.ndarray,
    ends: np.ndarray,
    num_nodes: int,
    begins: np.ndarray,
    heads: np.ndarray,
    ids: np.ndarray,
) -> int:
    """Dijkstra's algorithm, skipping overtaken entries of the heap; O((n + m) log m) an instance."""
    distance = np.empty(num_nodes)
    previous = np.empty(num_nodes, np.int32)
    last = np.empty(num_nodes, np.int32)
    keys = np.empty(heads.size + 2)
    nodes = np.empty(heads.size + 2, np.int32)
    for row in range(len(costs)):
        source, target = ends[row]
        distance[:] = np.inf
        distance[source] = 0
        keys[0], nodes[0] = 0, source
        size = 1
        while size and nodes[0] != target:
            if spend(meter, 100):
                return row
            key, node = keys[0], nodes[0]
            drop_first(keys, nodes, size)
            size -= 1
            if key > distance[node]:
                continue
            for arc in range(begins[node], begins[node + 1]):
                through = key + costs[row, ids[arc]]
                head = heads[arc]
                if through < distance[head]:
                    distance[head] = through
                    previous[head] = node
                    last[head] = ids[arc]
                    push(keys, nodes, size, through, head)
                    size += 1
        if distance[target] == np.inf:
            return row
        node = target
        while node != source:
            solutions[row, last[node]] = 1
            node = previous[node]
    return -1
