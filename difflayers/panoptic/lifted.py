"""The lifted multiway cut of COPS: a label for every segment, so that single instances can be perturbed.

Source: Abbas & Swoboda, "Combinatorial Optimization for Panoptic Segmentation", NeurIPS 2021, Section 3.3.3
and Algorithm 1. NumPy in, NumPy out; the autograd side is in ``layer.py``.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from difflayers.amwc import AMWC, Solution

LiftedSolver = Callable[..., Solution]


class Forward(NamedTuple):
    """A solved AMWC instance on its way to Algorithm 1.

    Attributes:
        problem: the n nodes, their K classes and the m edges.
        solution: x (labels), y (cuts) and z (segments) of the forward pass.
        classes: (J,) int, the map m from lifted labels to classes. The first labels are the segments.
    """

    problem: AMWC
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
        solve: called as ``solve(problem, start=labels)`` with an AMWC without partitionable labels, which is
            a multiway cut, and the forward segments as the labels to start from.

    Returns:
        ∂L/∂c_V (n, K) and ∂L/∂c_E (m,), of the costs' dtype.
    """
    problem, solution, classes = forward
    node_costs = problem.node_costs
    if not gradient.any():  # Eq. 3 is W(c) - W(c), whatever a heuristic finds the second time
        return np.zeros_like(node_costs), np.zeros_like(problem.edge_costs)
    lifted_costs = node_costs[:, classes] + np.asarray(scale * gradient.T, node_costs.dtype)
    multiway_cut = problem.with_node_costs(lifted_costs, np.zeros(len(classes), bool))  # no label is split
    perturbed = solve(multiway_cut, start=solution.segments)
    nodes = np.arange(len(node_costs))
    node_gradient = np.zeros_like(node_costs)
    node_gradient[nodes, classes[perturbed.labels]] += 1 / scale
    node_gradient[nodes, solution.labels] -= 1 / scale
    cut_change = perturbed.cuts.astype(np.int8) - solution.cuts.astype(np.int8)
    return node_gradient, cut_change.astype(node_costs.dtype) / node_costs.dtype.type(scale)
