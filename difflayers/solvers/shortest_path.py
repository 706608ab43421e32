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

    Exact. A directed graph without cycles is solved in O(n + m) per instance, and costs may have any sign.
    All other graphs are solved by Dijkstra's algorithm in O((n + m) log m), and costs must be non-negative.

    Args:
        num_nodes: number n of nodes.
        edges: (m, 2) integers, the node that an edge leaves and the node that it enters.
        source: the first node of the path.
        target: the last node of the path; by default the last node of the graph.
        directed: False to let a path use every edge in both directions.
        clip_negative: replace negative costs by 0 if Dijkstra's algorithm is used. Otherwise negative costs
            are an error there. Under `SPOPlusLoss` and `StructuredSVMLoss`, which need the solution of the
            negative costs, clipping makes losses that are no upper bounds.
        n_threads: number of threads that share a batch.

    Attributes:
        acyclic: whether the graph is directed and has no cycle, so that costs may be negative.

    Raises:
        TypeError, ValueError: an argument has the wrong form or is out of range.

    Examples:
        >>> import numpy as np
        >>> solver = ShortestPath(3, [[0, 1], [1, 2], [0, 2]])
        >>> solver(np.array([[1.0, 1.0, 3.0], [1.0, 1.0, 1.0]]))
        array([[1., 1., 0.],
               [0., 0., 1.]])
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
            contexts: per instance its ends (source, target), in place of source and target.

        Returns:
            (B, m) in the costs' dtype: 1 for the edges on the path, 0 for the others.

        Raises:
            ValueError: the costs have a wrong shape, a NaN, or a negative value in a graph with cycles; or
                an end is not a node.
            InfeasibleError: an instance has no path of finite cost.
        """
        ends = checked_contexts(contexts, batch_size(costs), self._ends)
        if contexts is not None:
            wrong = ((ends < 0) | (ends >= self.num_nodes)).any(axis=1)
            if wrong.any():
                instance = int(wrong.argmax())
                raise ValueError(
                    f"the context of instance {instance} must be nodes 0 to {self.num_nodes - 1}, "
                    f"got {ends[instance].tolist()}"
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

    The edges and their order are those of PyEPO's shortest path model. They go by row: first the steps to the
    right in this row, then the steps down from it. Solved in O(n) per instance; costs may be negative.

    Args:
        shape: height and width of the grid.
        n_threads: number of threads that share a batch.

    Returns:
        A solver from (B, m) costs of steps to (B, m) steps taken.

    Raises:
        ValueError: the shape is not two positive integers.

    Examples:
        >>> import numpy as np
        >>> solver = monotone_grid_path((2, 2))
        >>> solver.edges.tolist()
        [[0, 1], [0, 2], [1, 3], [2, 3]]
        >>> solver(np.array([[1.0, 5.0, 1.0, 0.0]]))
        array([[1., 0., 1., 0.]])
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
    """Where the arcs of every node begin (n + 1,), and head and edge of every arc, all int32."""
    tails, heads, ids = edges[:, 0], edges[:, 1], np.arange(len(edges))
    if not directed:
        tails, heads, ids = np.append(tails, heads), np.append(heads, tails), np.append(ids, ids)
    order = np.argsort(tails, kind="stable")
    begins = np.zeros(num_nodes + 1, np.int32)
    np.cumsum(np.bincount(tails, minlength=num_nodes), out=begins[1:])
    return begins, heads[order].astype(np.int32), ids[order].astype(np.int32)


def topological_order(begins: Array, heads: Array) -> Array | None:
    """Nodes in an order in which all arcs lead to later nodes, or None if there is a cycle; O(n + m)."""
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
    """Relax the arcs in topological order of their tails, O(n + m) per instance."""
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
            # Written whether better or not, because a branch that cannot be predicted would cost more.
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
    """Dijkstra's algorithm, which skips outdated entries of the heap; O((n + m) log m) per instance."""
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
