"""The asymmetric multiway cut problem and the checks at its front door."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from difflayers._arguments import as_array
from difflayers.graph.checks import checked_edges, owned
from difflayers.graph.rows import compressed_rows


@dataclass(frozen=True, eq=False)
class AMWC:
    """Label the nodes of a graph and split some of the labels into segments at least cost (Eq. 2).

    The cost of a solution is the sum of ``node_costs[v, labels[v]]`` over the nodes and of ``edge_costs[e]``
    over the cut edges. An edge between different labels is cut, an edge inside a label is uncut unless the
    label is partitionable; cut edges never join two nodes of one segment.

    Args:
        node_costs: (n, K) float, cost of every label at every node; lower is more likely.
        edges: (m, 2) integers, pairs of different nodes. Parallel edges add up.
        edge_costs: (m,) float, cost of cutting; positive attracts, negative repels.
        partitionable: (K,) bool, labels that may be split into segments ("things").

    Infinite costs are hard constraints: a node cost of +inf forbids the label at the node, an edge cost of
    +inf demands that the edge is not cut (must-link, of neighbours or not), one of -inf that it is
    (cannot-link). Kept constraints add nothing to the cost of a solution; a broken one makes it +inf.

    Costs of two float32 arrays stay float32; everything else becomes float64.

    Raises:
        TypeError: if an array has a kind that cannot be meant (text, float edges, integer ``partitionable``).
        ValueError: if shapes disagree, the problem is empty, an index is out of range, an edge is a
            self-loop, a cost is NaN, costs are so large that sums overflow, a node cost is -inf or no label
            is allowed at a node.
    """

    node_costs: np.ndarray
    edges: np.ndarray
    edge_costs: np.ndarray
    partitionable: np.ndarray
    constrained: bool = field(init=False, repr=False)
    _largest: tuple[float, float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        node_costs, all_finite = _costs("node_costs", self.node_costs, ndim=2, shape="(n, K)")
        edge_costs, edges_finite = _costs("edge_costs", self.edge_costs, ndim=1, shape="(m,)")
        if node_costs.shape[0] == 0 or node_costs.shape[1] == 0:
            raise ValueError(f"node_costs needs a node and a label at least, got shape {node_costs.shape}")
        partitionable = as_array("partitionable", self.partitionable)
        if partitionable.dtype != np.bool_:
            raise TypeError(f"partitionable must be bool, got {partitionable.dtype}")
        if partitionable.shape != node_costs.shape[1:]:
            raise ValueError(
                f"partitionable has shape {partitionable.shape}, "
                f"but node_costs has {node_costs.shape[1]} columns"
            )
        edges = checked_edges(self.edges, node_costs.shape[0])
        if len(edge_costs) != len(edges):
            raise ValueError(f"edge_costs has shape {edge_costs.shape}, but edges has {len(edges)} rows")
        if not all_finite:
            _check_forbidden(node_costs)
        object.__setattr__(self, "constrained", not (all_finite and edges_finite))
        dtype = np.float32 if node_costs.dtype == edge_costs.dtype == np.float32 else np.float64
        largest_node = _check_sums("node_costs", node_costs, all_finite, dtype)
        largest_edge = _check_sums("edge_costs", edge_costs, edges_finite, dtype)
        object.__setattr__(self, "_largest", (largest_node, largest_edge))
        object.__setattr__(self, "node_costs", owned(node_costs, dtype))
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "edge_costs", owned(edge_costs, dtype))
        object.__setattr__(self, "partitionable", owned(partitionable, np.bool_))

    @cached_property
    def rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The graph as the solvers read it, sorted once; see `difflayers.graph.rows`."""
        return compressed_rows(self.num_nodes, self.edges, self.edge_costs)

    def with_node_costs(self, node_costs: np.ndarray, partitionable: np.ndarray) -> "AMWC":
        """The problem of other labels on the same graph, whose edges are not checked and sorted again.

        Args:
            node_costs: (n, K') float, for the same nodes.
            partitionable: (K',) bool.

        Raises:
            TypeError, ValueError: as the constructor does.
        """
        checked = AMWC(node_costs, np.empty((0, 2), np.int32), self.edge_costs[:0], partitionable)
        if checked.num_nodes != self.num_nodes:
            raise ValueError(
                f"node_costs has {checked.num_nodes} rows, but the problem has {self.num_nodes} nodes"
            )
        dtype = np.result_type(checked.node_costs, self.edge_costs)
        object.__setattr__(checked, "node_costs", owned(checked.node_costs, dtype))
        # The old node costs may have been the only infinite ones.
        links = self.constrained and not np.isfinite(self.edge_costs).all()
        object.__setattr__(checked, "constrained", checked.constrained or links)
        object.__setattr__(checked, "_largest", (checked._largest[0], self._largest[1]))
        object.__setattr__(checked, "edges", self.edges)
        object.__setattr__(checked, "edge_costs", owned(self.edge_costs, dtype))
        indptr, neighbours, weights = self.rows
        checked.__dict__["rows"] = indptr, neighbours, owned(weights, dtype)
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


def check_problem(problem: AMWC) -> None:
    """Raise TypeError for what is no AMWC, such as a Multicut, whose solvers are its own module's."""
    if not isinstance(problem, AMWC):
        raise TypeError(f"problem must be an AMWC, got a {type(problem).__name__}")


def _costs(name: str, costs: np.ndarray, ndim: int, shape: str) -> tuple[np.ndarray, bool]:
    array = as_array(name, costs)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers, got {array.dtype}")
    if array.ndim != ndim:
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    # A finite sum proves finite entries; the slower tests are for sums that overflow and for constraints.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = bool(np.isfinite(array.sum(dtype=np.float64)) or np.isfinite(array).all())
    if not finite and np.isnan(array).any():
        raise ValueError(f"{name} must be no NaN, got NaN at {np.argwhere(np.isnan(array))[0].tolist()}")
    return array, finite


def _check_sums(name: str, costs: np.ndarray, finite: bool, dtype: type[np.floating]) -> float:
    """Largest absolute value of the finite costs; raises if sums of that size may overflow."""
    if costs.size == 0:
        return 0.0
    used = costs if finite else costs[np.isfinite(costs)]
    largest = max(used.max(initial=0), -float(used.min(initial=0)))
    # An eighth, for what solvers add to sums and take off them.
    if largest > np.finfo(dtype).max / 8 / costs.size:
        raise ValueError(
            f"{name} are too large: sums of {costs.size} numbers up to {largest:g} overflow {np.dtype(dtype)}"
        )
    return float(largest)


def _check_forbidden(node_costs: np.ndarray) -> None:
    if (node_costs == -np.inf).any():
        wrong = np.argwhere(node_costs == -np.inf)[0].tolist()
        raise ValueError(f"node_costs may be +inf to forbid a label, but not -inf, got -inf at {wrong}")
    none = (node_costs == np.inf).all(axis=1)
    if none.any():
        raise ValueError(f"node_costs allow no label at node {int(none.argmax())}: all of them are +inf")
