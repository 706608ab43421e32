"""The lifted multiway cut of COPS as tensor operations, so that no costs leave their device.

Source: COPS, Eq. 2 and 4 and Algorithm 1, as in `lifted`, which goes through NumPy. Only the segmentation
comes to the host, where it is returned and where segments are matched.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from difflayers.amwc import device
from difflayers.graph.edges import grid_edges


class TensorForward(NamedTuple):
    """A solved AMWC instance on its way to Algorithm 1, as tensors on one device.

    Attributes:
        node_costs: (n, K) floating, cost of giving a node a class.
        edges: (m, 2) int64, ends of each edge.
        edge_costs: (m,) floating, paid if the edge is cut.
        solution: x (labels), y (cuts) and z (segments) of the forward pass.
    """

    node_costs: Tensor
    edges: Tensor
    edge_costs: Tensor
    solution: device.TensorSolution


def lifted_backward(
    forward: TensorForward, classes: Tensor, gradient: Tensor, scales: Sequence[float]
) -> tuple[Tensor, Tensor, list[int]]:
    """Run Algorithm 1 for one instance, averaged over interpolation ranges λ that are solved side by side.

    Args:
        forward: the forward pass.
        classes: (J,) int64, the map m from lifted labels to classes. The first labels are the segments.
        gradient: (J, n) floating, ∂L/∂z for each lifted label and node.
        scales: each λ > 0.

    Returns:
        ∂L/∂c_V (n, K) and ∂L/∂c_E (m,), of the costs' dtype, and for each λ how many of their entries it
        changed.
    """
    node_costs, edges, edge_costs, solution = forward
    node_gradient, edge_gradient = torch.zeros_like(node_costs), torch.zeros_like(edge_costs)
    lifted, direction = node_costs[:, classes], gradient.T.to(node_costs.dtype)
    perturbed = device.solve(
        torch.stack([lifted + scale * direction for scale in scales]),
        edges,
        edge_costs.expand(len(scales), -1),
        torch.zeros_like(classes, dtype=torch.bool),
        start=solution.segments.expand(len(scales), -1),
    )
    labels = classes[perturbed.labels]
    for chosen, cuts, scale in zip(labels, perturbed.cuts, scales, strict=True):
        for label, step in ((chosen, 1 / scale), (solution.labels, -1 / scale)):
            change = torch.full_like(label, step / len(scales), dtype=node_costs.dtype)
            node_gradient.scatter_add_(1, label[:, None], change[:, None])
        cut_change = cuts.to(edge_costs.dtype) - solution.cuts.to(edge_costs.dtype)
        edge_gradient += cut_change / (scale * len(scales))
    changed = 2 * (labels != solution.labels).sum(1) + (perturbed.cuts != solution.cuts).sum(1)
    return node_gradient, edge_gradient, changed.tolist()


class TensorPasses(NamedTuple):
    """Both passes of a batch on tensors: the methods of `ArrayPasses`, with `amwc.device.solve` as the
    solver.

    Attributes:
        is_thing: (K,) bool, on the device of the costs.
        edges: (m, 2) int64, on the same device.
    """

    is_thing: Tensor
    edges: Tensor

    def solve(
        self, node_costs: Tensor, edge_costs: Tensor
    ) -> tuple[list[TensorForward], np.ndarray, np.ndarray]:
        """Solve an AMWC per instance, all of them side by side; arguments and results as in `ArrayPasses`."""
        nodes, costs = _copied(node_costs), _copied(edge_costs)
        solutions = device.solve(nodes, self.edges, costs, self.is_thing, "fast")
        solved = [
            TensorForward(node, self.edges, cost, device.TensorSolution(*solution))
            for node, cost, *solution in zip(nodes, costs, *solutions, strict=True)
        ]
        return solved, solutions.labels.cpu().numpy(), solutions.segments.cpu().numpy()

    def pull_back(
        self,
        images: Sequence[int],
        solved: Sequence[TensorForward],
        classes: Sequence[np.ndarray],
        gradients: Sequence[Tensor],
        scales: Sequence[Sequence[float]],
    ) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
        """Run Algorithm 1 for each instance and all λ at once; arguments and results as in `ArrayPasses`."""
        for forward, m, gradient, of_image in zip(solved, classes, gradients, scales, strict=True):
            yield lifted_backward(forward, torch.from_numpy(m).to(gradient.device), gradient, of_image)


@lru_cache(maxsize=8)
def edges_on(shape: tuple[int, int], distances: tuple[int, ...], where: torch.device) -> Tensor:
    """Return the edges of a grid on a device. They are kept, because a network sees few sizes of images."""
    return torch.from_numpy(grid_edges(shape, distances)).to(where)


def _copied(costs: Tensor) -> Tensor:
    """Return a copy in float64 or float32, because the caller may change the tensor before backward."""
    dtype = costs.dtype if costs.dtype in (torch.float32, torch.float64) else torch.float32
    return costs.detach().to(dtype).clone(memory_format=torch.contiguous_format)
