"""The asymmetric multiway cut problem and the checks at its front door."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from difflayers._arguments import as_array
from difflayers.graph.checks import MOST, check_length, checked_costs, checked_edges
from difflayers.graph.rows import compressed_rows


@dataclass(frozen=True, eq=False)
class AMWC:
    """Label the nodes of a graph and split some of the labels into segments at least cost (Eq. 2).

    The cost of a solution is the sum of `node_costs[v, labels[v]]` over the nodes and of `edge_costs[e]`
    over the cut edges. An edge between different labels is cut. An edge inside a label is uncut unless the
    label is partitionable. No cut edge joins two nodes of one segment.

    Args:
        node_costs: (n, K) float, cost of every label at every node; lower is more likely.
        edges: (m, 2) integers, pairs of different nodes. Parallel edges add up.
        edge_costs: (m,) float, cost of cutting; positive attracts, negative repels.
        partitionable: (K,) bool, labels that may be split into segments ("things").

    Infinite costs are hard constraints. A node cost of +inf forbids the label at the node. An edge cost of
    +inf demands that the edge is not cut (must-link), and an edge cost of -inf that it is cut
    (cannot-link). A kept constraint adds nothing to the cost of a solution; a broken one makes it +inf.

    The problem copies its arrays. If both costs are float32, they stay float32 (unless there are more than
    2²⁴ labels); everything else becomes float64.

    Raises:
        TypeError: if an array has a kind that cannot be meant (text, float edges, integer `partitionable`).
        ValueError: if shapes disagree, the problem is empty, an index is out of range, an edge is a
            self-loop, a cost is NaN, costs are so large that sums overflow, a node cost is -inf or no label
            is allowed at a node; or if there are 2³⁰ edges, or nodes and labels, or more.

    ```python
    >>> from difflayers import amwc
    >>> things = [True, False]  # cars may be split into several, the road may not
    >>> problem = amwc.AMWC([[0, 2], [0, 2], [3, 0]], [[0, 1], [1, 2]], [-1, 1], things)
    >>> problem.num_nodes, problem.num_labels
    (3, 2)
    >>> amwc.solve(problem).labels.tolist()
    [0, 0, 1]

    ```
    """

    node_costs: np.ndarray
    edges: np.ndarray
    edge_costs: np.ndarray
    partitionable: np.ndarray
    constrained: bool = field(init=False, repr=False)
    _largest: tuple[float, float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_size(as_array("node_costs", self.node_costs).shape)
        node_costs, all_finite, largest_node = checked_costs("node_costs", self.node_costs, 2, "(n, K)")
        if not all_finite:
            _check_forbidden(node_costs)
        partitionable = as_array("partitionable", self.partitionable)
        if partitionable.dtype != np.bool_:
            raise TypeError(f"partitionable must be bool, got {partitionable.dtype}")
        if partitionable.shape != node_costs.shape[1:]:
            raise ValueError(
                f"partitionable must have shape {node_costs.shape[1:]}, got {partitionable.shape}: "
                f"one entry per column of node_costs"
            )
        edges = checked_edges(self.edges, len(node_costs))
        expected = f"({len(edges)},)"
        edge_costs, edges_finite, largest_edge = checked_costs("edge_costs", self.edge_costs, 1, expected)
        check_length("edge_costs", edge_costs, "edges", edges)
        # In float32, larger numbers of labels than 2²⁴ are not all different.
        single = node_costs.dtype == edge_costs.dtype == np.float32 and node_costs.shape[1] <= 2**24
        dtype = np.float32 if single else np.float64
        object.__setattr__(self, "constrained", not (all_finite and edges_finite))
        object.__setattr__(self, "_largest", (largest_node, largest_edge))
        object.__setattr__(self, "node_costs", node_costs.astype(dtype, copy=False))
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "edge_costs", edge_costs.astype(dtype, copy=False))
        object.__setattr__(self, "partitionable", np.array(partitionable))

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The graph as the solvers read it, sorted once; see `difflayers.graph.rows`."""
        return compressed_rows(self.num_nodes, self.edges, self.edge_costs)

    def with_node_costs(self, node_costs: np.ndarray, partitionable: np.ndarray) -> "AMWC":
        """Return the problem of other labels on the same graph, whose edges are not checked and sorted again.

        Args:
            node_costs: (n, K') float, for the same nodes.
            partitionable: (K',) bool.

        Raises:
            TypeError, ValueError: as the constructor does.

        ```python
        >>> from difflayers import amwc
        >>> problem = amwc.AMWC([[0, 2], [2, 0]], [[0, 1]], [3.0], [False, False])
        >>> other = problem.with_node_costs(problem.node_costs * 2, problem.partitionable)
        >>> amwc.solve(problem).cost, amwc.solve(other).cost
        (2.0, 3.0)

        ```
        """
        checked = AMWC(node_costs, np.empty((0, 2), np.int32), self.edge_costs[:0], partitionable)
        if checked.num_nodes != self.num_nodes:
            raise ValueError(
                f"node_costs must have shape ({self.num_nodes}, K), got {checked.node_costs.shape}: "
                f"one row per node of the problem"
            )
        dtype = np.result_type(checked.node_costs, self.edge_costs)
        object.__setattr__(checked, "node_costs", checked.node_costs.astype(dtype, copy=False))
        # The old node costs may have been the only infinite ones.
        links = self.constrained and not np.isfinite(self.edge_costs).all()
        object.__setattr__(checked, "constrained", checked.constrained or links)
        object.__setattr__(checked, "_largest", (checked._largest[0], self._largest[1]))
        object.__setattr__(checked, "edges", self.edges)
        object.__setattr__(checked, "edge_costs", self.edge_costs.astype(dtype, copy=False))
        indptr, neighbours, weights = self.rows
        checked.__dict__["rows"] = indptr, neighbours, weights.astype(dtype, copy=False)
        return checked

    @property
    def largest_cost(self) -> float:
        """Largest absolute value among the finite costs, before rounding to their dtype."""
        return max(self._largest)

    @property
    def num_nodes(self) -> int:
        """Number n of nodes."""
        return self.node_costs.shape[0]

    @property
    def num_labels(self) -> int:
        """Number K of labels."""
        return self.node_costs.shape[1]


def _check_size(shape: tuple[int, ...]) -> None:
    if 0 in shape and len(shape) == 2:
        raise ValueError(f"node_costs must have at least one node and one label, got shape {shape}")
    if sum(shape) >= MOST:
        raise ValueError(f"node_costs must have fewer than 2**30 rows and columns together, got {shape}")


def _check_forbidden(node_costs: np.ndarray) -> None:
    if (node_costs == -np.inf).any():
        wrong = np.argwhere(node_costs == -np.inf)[0].tolist()
        raise ValueError(f"node_costs may be +inf to forbid a label, but not -inf, got -inf at {wrong}")
    none = (node_costs == np.inf).all(axis=1)
    if none.any():
        raise ValueError(f"node_costs allow no label at node {int(none.argmax())}: all of them are +inf")
