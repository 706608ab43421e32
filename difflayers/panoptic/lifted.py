"""The lifted multiway cut of COPS: a label for every segment, so that single instances can be perturbed.

Source: Abbas & Swoboda, "Combinatorial Optimization for Panoptic Segmentation", NeurIPS 2021, Section 3.3.3
and Algorithm 1. NumPy in, NumPy out; the autograd side is in ``layer.py``.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from difflayers.amwc import Solution
from difflayers.mwc import MWC

LiftedSolver = Callable[..., Solution]


class Forward(NamedTuple):
    """A solved AMWC instance on its way to Algorithm 1.

    Attributes:
        node_costs: (n, K) floating, cost of giving a node a class.
        edges: (m, 2) int, ends of each edge.
        edge_costs: (m,) floating, paid where the edge is cut.
        solution: x (labels), y (cuts) and z (segments) of the forward pass.
        classes: (J,) int, the map m from lifted labels to classes. The first labels are the segments.
    """

    node_costs: np.ndarray
    edges: np.ndarray
    edge_costs: np.ndarray
    solution: Solution
    classes: np.ndarray


def lifted_classes(
    segment_classes: np.ndarray, unmatched_target_classes: np.ndarray, num_classes: int
) -> np.ndarray:
    """Return the map m from lifted labels to classes (Section 3.3.3).

    A label for each predicted segment, one for each ground-truth segment that no prediction matches (so that
    a merged instance has somewhere to go), and one for each class that has neither.

    Args:
        segment_classes: (S,) int, class of each predicted segment.
        unmatched_target_classes: (U,) int, class of each unmatched ground-truth segment.
        num_classes: K.

    Returns:
        (J,) int64 with S + U <= J <= S + U + K.
    """
    present = np.concatenate([segment_classes, unmatched_target_classes]).astype(np.int64)
    absent = np.setdiff1d(np.arange(num_classes, dtype=np.int64), present)
    return np.concatenate([present, absent])


def lifted_backward(
    forward: Forward, gradient: np.ndarray, scale: float, solve: LiftedSolver
) -> tuple[np.ndarray, np.ndarray]:
    """Run Algorithm 1 once, for one instance and one interpolation range λ.

    Args:
        forward: the forward pass.
        gradient: (J, n) floating, ∂L/∂z for each lifted label and node.
        scale: λ > 0.
        solve: MWC solver, called as ``solve(problem, start=labels)`` with the forward labelling as the start.

    Returns:
        ∂L/∂c_V (n, K) and ∂L/∂c_E (m,), of the costs' dtype.
    """
    node_costs, solution, classes = forward.node_costs, forward.solution, forward.classes
    if not gradient.any():  # Eq. 3 is W(c) - W(c), whatever a heuristic finds the second time
        return np.zeros_like(node_costs), np.zeros_like(forward.edge_costs)
    perturbed_costs = node_costs[:, classes] + np.asarray(scale * gradient.T, node_costs.dtype)
    perturbed = solve(MWC(perturbed_costs, forward.edges, forward.edge_costs), start=solution.segments)
    nodes = np.arange(len(node_costs))
    node_gradient = np.zeros_like(node_costs)
    node_gradient[nodes, classes[perturbed.labels]] += 1 / scale
    node_gradient[nodes, solution.labels] -= 1 / scale
    cut_change = perturbed.cuts.astype(np.int8) - solution.cuts.astype(np.int8)
    return node_gradient, cut_change.astype(node_costs.dtype) / node_costs.dtype.type(scale)
