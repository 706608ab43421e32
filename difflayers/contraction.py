"""Contraction of cut problems: make every segment one node, so that a smaller problem is left to solve."""

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from difflayers._arguments import as_array
from difflayers.amwc import AMWC
from difflayers.graph.contraction import contract as contract_rows
from difflayers.graph.contraction import sum_rows
from difflayers.graph.rows import INDEX, compressed_rows
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.multicut import Multicut
from difflayers.mwc import MWC

Problem = TypeVar("Problem", Multicut, AMWC, MWC, LiftedMulticut)


def contract(problem: Problem, segments: np.ndarray) -> Problem:
    """The problem in which every segment is one node: costs of parallel edges and of merged nodes add up.

    A solution of the contracted problem is one of the problem itself in which no segment is split, at the
    same cost: `solution.segments[segments]`, and for labels `solution.labels[segments]`. Segments that edges
    do not connect are joined all the same; for a lifted multicut, such a solution may be infeasible.

    Args:
        problem: a `Multicut`, `AMWC`, `MWC` or `LiftedMulticut` of n nodes.
        segments: (n,) integers, the segment of every node, numbered from 0 without gaps, as in a solution.

    Returns:
        A problem of the same type with one node per segment. Its edges are sorted, the lesser node first.

    Raises:
        TypeError: if the problem or the segments have another type.
        ValueError: if the segments do not fit, are not contiguous, or join nodes that an infinite cost keeps
            apart.

    Examples:
        >>> problem = Multicut(3, np.array([[0, 1], [1, 2], [0, 2]]), np.array([3.0, 2.0, -2.5]))
        >>> coarse = contract(problem, np.array([0, 0, 1]))
        >>> coarse.edges.tolist(), coarse.edge_costs.tolist()
        ([[0, 1]], [-0.5])
    """
    if not isinstance(problem, Multicut | AMWC | MWC | LiftedMulticut):
        raise TypeError(f"problem must be a cut problem, got a {type(problem).__name__}")
    component, size = _checked(
        segments, len(problem.node_costs) if isinstance(problem, MWC) else problem.num_nodes
    )
    edges, costs = _summed(problem.edges, problem.edge_costs, component, size)
    changed: dict[str, Any] = {"edges": edges, "edge_costs": costs}
    if isinstance(problem, AMWC | MWC):
        node_costs = sum_rows(problem.node_costs.astype(np.float64), component, size)
        changed["node_costs"] = node_costs.astype(problem.node_costs.dtype)
    else:
        changed["num_nodes"] = size
    if isinstance(problem, LiftedMulticut):
        lifted = _summed(problem.lifted_edges, problem.lifted_costs, component, size)
        changed["lifted_edges"], changed["lifted_costs"] = lifted
    return replace(problem, **changed)


def _checked(segments: np.ndarray, num_nodes: int) -> tuple[np.ndarray, int]:
    """Segments (n,) INDEX and how many there are."""
    array = as_array("segments", segments)
    if array.dtype.kind not in "iu":
        raise TypeError(f"segments must be integers, got {array.dtype}")
    if array.shape != (num_nodes,):
        raise ValueError(f"segments must have shape ({num_nodes},), got {array.shape}")
    if int(array.min()) < 0 or int(array.max()) >= num_nodes or not np.bincount(array.astype(np.int64)).all():
        raise ValueError(
            "segments must be numbered from 0 without gaps; np.unique(segments, return_inverse=True)[1] is"
        )
    return array.astype(INDEX), int(array.max()) + 1


def _summed(
    edges: np.ndarray, costs: np.ndarray, component: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Edges (m', 2) between components, sorted, and the sums of their costs, added up in float64."""
    apart = (costs == -np.inf) & (component[edges[:, 0]] == component[edges[:, 1]])
    if apart.any():
        raise ValueError(
            f"segments join the ends of edge {int(apart.argmax())}, whose cost of -inf demands that it is cut"
        )
    indptr, heads, sums = contract_rows(
        *compressed_rows(len(component), edges, costs.astype(np.float64)), component, size
    )
    tails = np.repeat(np.arange(size, dtype=np.int64), indptr[1:] - indptr[:-1])
    later = heads > tails
    pairs, sums = np.stack([tails[later], heads[later].astype(np.int64)], axis=1), sums[later]
    if np.isnan(sums).any():
        pair = pairs[int(np.isnan(sums).argmax())].tolist()
        raise ValueError(
            f"segments {pair} must be joined and must be cut: costs of inf and -inf lie between them"
        )
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order], sums[order].astype(costs.dtype)
