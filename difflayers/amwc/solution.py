"""Solutions of (asymmetric) multiway cut: construction, objective and feasibility."""

from dataclasses import dataclass

import numpy as np

from difflayers._arguments import as_array
from difflayers.amwc.problem import AMWC
from difflayers.graph.checks import check_problem
from difflayers.graph.components import components, connected_segments, cut_edges
from difflayers.graph.rows import INDEX


@dataclass(frozen=True, eq=False)
class Solution:
    """A feasible labeling and partition.

    Args:
        labels: (n,) int64, the label of every node.
        segments: (n,) int64, the segment of every node, numbered from 0 in the order of first nodes. A
            segment of a partitionable label is a connected component of the uncut edges. All nodes of any
            other label are one segment, connected or not.
        cuts: (m,) uint8, 1 where the two ends of an edge lie in different segments.
        cost: the objective of Eq. 2, in the unit of the costs.
        lower_bound: no solution costs less than this, if known.
        proven_optimal: whether the cost is proven to be the least possible: exactly if all costs are whole
            numbers (or multiples of any power of two) whose sums float64 holds exactly, otherwise up to its
            rounding.

    ```python
    >>> from difflayers import amwc
    >>> things = [True, False]  # cars may be split into several, the road may not
    >>> problem = amwc.AMWC([[0, 2], [0, 2], [3, 0]], [[0, 1], [1, 2]], [-1, 1], things)
    >>> solution = amwc.solve_exact(problem)
    >>> solution.segments.tolist(), solution.cuts.tolist(), solution.cost, solution.gap
    ([0, 1, 2], [1, 1], 0.0, 0.0)

    ```
    """

    labels: np.ndarray
    segments: np.ndarray
    cuts: np.ndarray
    cost: float
    lower_bound: float | None = None
    proven_optimal: bool = False

    @property
    def gap(self) -> float | None:
        """The most by which the cost can exceed the least possible cost; None without a bound."""
        return None if self.lower_bound is None else self.cost - self.lower_bound


def evaluate(problem: AMWC, labels: np.ndarray, cuts: np.ndarray) -> float:
    """Return the objective of Eq. 2, of a solution that may be infeasible, summed in float64.

    Args:
        problem: the problem.
        labels: (n,) integers.
        cuts: (m,) of 0 and 1.

    Returns:
        The cost, which is +inf if a constraint (an infinite cost) is broken.

    Raises:
        TypeError, ValueError: if the problem is no AMWC, or labels and cuts do not fit it.

    ```python
    >>> from difflayers import amwc
    >>> things = [True, False]  # cars may be split into several, the road may not
    >>> problem = amwc.AMWC([[0, 2], [0, 2], [3, 0]], [[0, 1], [1, 2]], [-1, 1], things)
    >>> amwc.evaluate(problem, [0, 0, 1], [0, 1])
    1.0

    ```
    """
    labels, cuts = _checked(problem, labels, cuts)
    return _cost(problem, labels, cuts)


def is_feasible(problem: AMWC, labels: np.ndarray, cuts: np.ndarray) -> bool:
    """Return whether the cuts are those of a partition that agrees with the labels, as Eq. 2 demands.

    Constraints, which are infinite costs, have to be kept too.

    Args:
        problem: the problem.
        labels: (n,) integers.
        cuts: (m,) of 0 and 1.

    Raises:
        TypeError, ValueError: if the problem is no AMWC, or labels and cuts do not fit it.

    ```python
    >>> from difflayers import amwc
    >>> things = [True, False]  # cars may be split into several, the road may not
    >>> problem = amwc.AMWC([[0, 2], [0, 2], [3, 0]], [[0, 1], [1, 2]], [-1, 1], things)
    >>> amwc.is_feasible(problem, [0, 0, 1], [1, 1]), amwc.is_feasible(problem, [0, 0, 1], [1, 0])
    (True, False)

    ```
    """
    labels, cuts = _checked(problem, labels, cuts)
    if problem.constrained and evaluate(problem, labels, cuts) == np.inf:
        return False
    ends = labels[problem.edges]
    differ = ends[:, 0] != ends[:, 1]
    may_cut = problem.partitionable[ends[:, 0]]
    if (cuts != differ)[differ | ~may_cut].any():
        return False
    uncut = np.ascontiguousarray(problem.edges[~cuts & ~differ & may_cut])
    component = components(problem.num_nodes, uncut.view(INDEX))
    inside = component[problem.edges[:, 0]] == component[problem.edges[:, 1]]
    return not (inside & cuts).any()


def solution_from_clusters(problem: AMWC, labels: np.ndarray, cluster: np.ndarray) -> Solution:
    """Return the solution of labels (n,) whose thing segments are connected parts of equal `cluster` (n,)."""
    labels = np.asarray(labels, np.int32)
    edges = problem.edges.view(INDEX)
    segments = connected_segments(edges, problem.partitionable, labels, np.asarray(cluster, INDEX))
    cuts = cut_edges(edges, segments)
    return Solution(labels.astype(np.int64), segments, cuts, _cost(problem, labels, cuts))


def _cost(problem: AMWC, labels: np.ndarray, cuts: np.ndarray) -> float:
    nodes = problem.node_costs[np.arange(problem.num_nodes), labels].sum(dtype=np.float64)
    if problem.constrained:
        if (problem.edge_costs[cuts == 0] == -np.inf).any():
            return float(np.inf)
        cut_costs = problem.edge_costs[cuts == 1]
        return float(nodes + cut_costs[cut_costs > -np.inf].sum(dtype=np.float64))
    # A product, as selecting by a mask takes five times as long; einsum, as the sum stays in float64.
    return float(nodes + np.einsum("e,e->", problem.edge_costs, cuts, dtype=np.float64))


def _checked(problem: AMWC, labels: np.ndarray, cuts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    check_problem(problem, AMWC)
    labels = checked_labels("labels", labels, problem.num_nodes, problem.num_labels)
    cuts = as_array("cuts", cuts)
    if cuts.shape != problem.edge_costs.shape:
        raise ValueError(f"cuts must have shape {problem.edge_costs.shape}, got {cuts.shape}")
    if not ((cuts == 0) | (cuts == 1)).all():
        raise ValueError("cuts must be 0 or 1")
    return labels, cuts.astype(bool)


def checked_labels(name: str, labels: np.ndarray, num_nodes: int, num_labels: int) -> np.ndarray:
    """Labels as (n,) int32; raises TypeError or ValueError naming the argument."""
    labels = as_array(name, labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {labels.dtype}")
    if labels.shape != (num_nodes,):
        raise ValueError(f"{name} must have shape ({num_nodes},), got {labels.shape}: one entry per node")
    if labels.min() < 0 or labels.max() >= num_labels:
        raise ValueError(
            f"{name} must lie in 0 to {num_labels - 1}, got {int(labels.min())} to {int(labels.max())}"
        )
    return np.array(labels, np.int32)
