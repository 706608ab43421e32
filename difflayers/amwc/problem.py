"""The asymmetric multiway cut problem and the checks at its front door."""

from dataclasses import dataclass, field

import numpy as np


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
            self-loop, a cost is NaN, a node cost is -inf or no label is allowed at a node.
    """

    node_costs: np.ndarray
    edges: np.ndarray
    edge_costs: np.ndarray
    partitionable: np.ndarray
    constrained: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        node_costs, all_finite = _costs("node_costs", self.node_costs, ndim=2, shape="(n, K)")
        edge_costs, edges_finite = _costs("edge_costs", self.edge_costs, ndim=1, shape="(m,)")
        if node_costs.shape[0] == 0 or node_costs.shape[1] == 0:
            raise ValueError(f"node_costs needs a node and a label at least, got shape {node_costs.shape}")
        partitionable = np.asarray(self.partitionable)
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
        object.__setattr__(self, "node_costs", _owned(node_costs, dtype))
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "edge_costs", _owned(edge_costs, dtype))
        object.__setattr__(self, "partitionable", _owned(partitionable, np.bool_))

    @property
    def num_nodes(self) -> int:
        """Number n of nodes."""
        return self.node_costs.shape[0]

    @property
    def num_labels(self) -> int:
        """Number K of labels."""
        return self.node_costs.shape[1]


def checked_edges(edges: np.ndarray, num_nodes: int) -> np.ndarray:
    """Edge list as writable, contiguous (m, 2) int32; raises as :class:`AMWC` says."""
    edges = np.asarray(edges)
    if edges.size == 0 and edges.shape in ((0,), (0, 2)):
        return np.empty((0, 2), np.int32)
    if edges.dtype.kind not in "iu":
        raise TypeError(f"edges must be integers, got {edges.dtype}")
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"edges must have shape (m, 2), got {edges.shape}")
    if edges.min() < 0 or edges.max() >= num_nodes:
        wrong = int(np.flatnonzero(((edges < 0) | (edges >= num_nodes)).any(axis=1))[0])
        raise ValueError(
            f"edges must index nodes 0 to {num_nodes - 1}, but row {wrong} is {edges[wrong].tolist()}"
        )
    loops = edges[:, 0] == edges[:, 1]
    if loops.any():
        wrong = int(np.argmax(loops))
        raise ValueError(f"edges must join different nodes, but row {wrong} is {edges[wrong].tolist()}")
    return _owned(edges, np.int32)


def _costs(name: str, costs: np.ndarray, ndim: int, shape: str) -> tuple[np.ndarray, bool]:
    array = np.asarray(costs)
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


def _check_forbidden(node_costs: np.ndarray) -> None:
    if (node_costs == -np.inf).any():
        wrong = np.argwhere(node_costs == -np.inf)[0].tolist()
        raise ValueError(f"node_costs may be +inf to forbid a label, but not -inf, got -inf at {wrong}")
    none = (node_costs == np.inf).all(axis=1)
    if none.any():
        raise ValueError(f"node_costs allow no label at node {int(none.argmax())}: all of them are +inf")


def _owned(array: np.ndarray, dtype: type) -> np.ndarray:
    # One layout and one writability flag, so that every kernel compiles once per dtype.
    array = np.ascontiguousarray(array, dtype)
    return array if array.flags.writeable else array.copy()
