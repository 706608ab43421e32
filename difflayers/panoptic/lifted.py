"""The lifted multiway cut of COPS on NumPy arrays: a label per segment, so that single instances can be
moved.

Source: Abbas & Swoboda, "Combinatorial Optimization for Panoptic Segmentation", NeurIPS 2021, Section 3.3.3
and Algorithm 1. `lifted_tensors` has the same passes on tensors.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from difflayers.amwc import AMWC, Solution
from difflayers.engine.parallel import map_instances

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

    There is one label per predicted segment, one per ground-truth segment that no prediction matches (so that
    a merged instance has somewhere to go), and one per class that has neither.

    Args:
        segment_classes: (S,) int, class of each predicted segment.
        unmatched_target_classes: (U,) int, class of each unmatched ground-truth segment.
        num_classes: K.

    Returns:
        (J,) int64 with S + U <= J <= S + U + K.

    Examples:
        >>> from difflayers.panoptic.lifted import lifted_classes
        >>> lifted_classes([0, 2, 2], unmatched_target_classes=[2], num_classes=4).tolist()
        [0, 2, 2, 2, 1, 3]
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
        solve: called as `solve(problem, start=labels)`. The problem is an AMWC without partitionable labels,
            which is a multiway cut. The labels to start from are the forward segments.

    Returns:
        ∂L/∂c_V (n, K) and ∂L/∂c_E (m,), of the costs' dtype.

    Examples:
        >>> import numpy as np
        >>> from difflayers import amwc
        >>> from difflayers.panoptic.lifted import Forward, lifted_backward
        >>> problem = amwc.AMWC([[0.0], [0.0]], [[0, 1]], [0.1], [True])  # two pixels of one thing
        >>> forward = Forward(problem, amwc.solve(problem), np.array([0, 0]))
        >>> gradient = np.array([[-1.0, 1.0], [1.0, -1.0]])  # pixel 1 should be a segment of its own
        >>> lifted_backward(forward, gradient, 2.0, amwc.solve)[1].tolist()
        [0.5]
    """
    problem, solution, classes = forward
    node_costs = problem.node_costs
    if not gradient.any():  # Eq. 3 is W(c) − W(c), whatever a heuristic finds the second time
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


@dataclass(frozen=True)
class ArrayPasses:
    """Both passes of a batch on NumPy arrays, one instance after another or several at once.

    Attributes:
        is_thing: (K,) bool.
        edges: (m, 2) int, the same for all instances.
        solver: AMWC solver of the forward pass.
        lifted_solver: solver of the backward pass, see `lifted_backward`.
        n_jobs: how many instances are solved at once.
        backend: joblib's backend of the thread that calls forward. Autograd runs the backward pass of a GPU's
            tensors in another thread, where `joblib.parallel_config` does not hold.
    """

    is_thing: np.ndarray
    edges: np.ndarray
    solver: LiftedSolver
    lifted_solver: LiftedSolver
    n_jobs: int
    backend: Any

    def solve(
        self, node_costs: Tensor, edge_costs: Tensor
    ) -> tuple[list[tuple[AMWC, Solution]], list[np.ndarray], list[np.ndarray]]:
        """Solve an AMWC per instance.

        Args:
            node_costs: (B, n, K) floating.
            edge_costs: (B, m) floating.

        Returns:
            What `pull_back` needs of each instance, and the labels (n,) and segments (n,) of each.
        """
        nodes, costs = _to_numpy(node_costs), _to_numpy(edge_costs)
        instances = list(zip(nodes, costs, strict=True))
        names = [f"image {image}" for image in range(len(nodes))]
        solved = map_instances(self._solve_one, instances, self.n_jobs, names=names, backend=self.backend)
        solutions = [solution for _, solution in solved]
        return solved, [each.labels for each in solutions], [each.segments for each in solutions]

    def _solve_one(self, node_costs: np.ndarray, edge_costs: np.ndarray) -> tuple[AMWC, Solution]:
        problem = AMWC(node_costs, self.edges, edge_costs, self.is_thing)
        return problem, self.solver(problem)

    def pull_back(
        self,
        images: Sequence[int],
        solved: Sequence[tuple[AMWC, Solution]],
        classes: Sequence[np.ndarray],
        gradients: Sequence[Tensor],
        scales: Sequence[Sequence[float]],
    ) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
        """Run Algorithm 1 for each instance and λ.

        Args:
            images: the numbers of the instances in their batch, for errors.
            solved: what `solve` returned for each.
            classes: the map m (J,) of each.
            gradients: ∂L/∂z (J, n) of each.
            scales: N values of λ for each.

        Yields:
            For each instance ∂L/∂c_V (n, K) and ∂L/∂c_E (m,), averaged over λ, and for each λ how many of
            their entries it changed.
        """
        forwards = [Forward(*pair, m) for pair, m in zip(solved, classes, strict=True)]
        arrays = [_to_numpy(gradient) for gradient in gradients]
        instances, names = [], []
        for image, forward, array, of_image in zip(images, forwards, arrays, scales, strict=True):
            instances += [(forward, array, scale, self.lifted_solver) for scale in of_image]
            names += [f"image {image} with λ = {scale:g}" for scale in of_image]
        estimates = map_instances(lifted_backward, instances, self.n_jobs, names=names, backend=self.backend)
        for number, of_image in enumerate(scales):
            own = estimates[number * len(of_image) : (number + 1) * len(of_image)]
            node, edge = (np.mean(part, axis=0) for part in zip(*own, strict=True))
            changed = [int(np.count_nonzero(node) + np.count_nonzero(edge)) for node, edge in own]
            yield torch.from_numpy(node), torch.from_numpy(edge), changed


def _to_numpy(tensor: Tensor) -> np.ndarray:
    """Return a copy in float64 or float32, because the caller may change the tensor before backward."""
    tensor = tensor.detach().cpu()
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float()
    return np.array(tensor.numpy(), order="C")
