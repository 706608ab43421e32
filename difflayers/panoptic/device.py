"""The passes of :class:`PanopticLayer` as tensor operations, so that no costs leave their device.

Source: COPS, Eq. 2 and 4 and Algorithm 1, as in ``layer.py`` and ``lifted.py``, which go through NumPy. Here
only the segmentation goes to the host: the labels are returned there, and segments are matched there.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from difflayers.amwc import device
from difflayers.engine.compiler import outside_compiler
from difflayers.graph.edges import grid_edges
from difflayers.panoptic.labels import PanopticLabels, from_solution
from difflayers.panoptic.lifted import lifted_classes
from difflayers.panoptic.matching import unmatched_classes

if TYPE_CHECKING:
    from difflayers.panoptic.layer import PanopticLayer


class TensorForward(NamedTuple):
    """A solved AMWC instance on its way to Algorithm 1, as tensors on one device.

    Attributes:
        node_costs: (n, K) floating, cost of giving a node a class.
        edges: (m, 2) int64, ends of each edge.
        edge_costs: (m,) floating, paid where the edge is cut.
        solution: x (labels), y (cuts) and z (segments) of the forward pass.
        classes: (J,) int64, the map m from lifted labels to classes. The first labels are the segments.
    """

    node_costs: Tensor
    edges: Tensor
    edge_costs: Tensor
    solution: device.TensorSolution
    classes: Tensor


def lifted_backward(
    forward: TensorForward, gradient: Tensor, scales: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Run Algorithm 1 for one instance, averaged over interpolation ranges λ that are solved side by side.

    Args:
        forward: the forward pass.
        gradient: (J, n) floating, ∂L/∂z for each lifted label and node.
        scales: each λ > 0.

    Returns:
        ∂L/∂c_V (n, K) and ∂L/∂c_E (m,), of the costs' dtype.
    """
    node_costs, edges, edge_costs, solution, classes = forward
    node_gradient, edge_gradient = torch.zeros_like(node_costs), torch.zeros_like(edge_costs)
    if not gradient.any():  # Eq. 3 is W(c) - W(c), whatever a heuristic finds the second time
        return node_gradient, edge_gradient
    lifted, direction = node_costs[:, classes], gradient.T.to(node_costs.dtype)
    perturbed = device.solve(
        torch.stack([lifted + scale * direction for scale in scales]),
        edges,
        edge_costs.expand(len(scales), -1),
        torch.zeros_like(classes, dtype=torch.bool),
        start=solution.segments.expand(len(scales), -1),
    )
    for labels, cuts, scale in zip(perturbed.labels, perturbed.cuts, scales, strict=True):
        for chosen, step in ((classes[labels], 1 / scale), (solution.labels, -1 / scale)):
            change = torch.full_like(chosen, step / len(scales), dtype=node_costs.dtype)
            node_gradient.scatter_add_(1, chosen[:, None], change[:, None])
        cut_change = cuts.to(edge_costs.dtype) - solution.cuts.to(edge_costs.dtype)
        edge_gradient += cut_change / (scale * len(scales))
    return node_gradient, edge_gradient


class DeviceLiftedMultiwayCut(torch.autograd.Function):
    """What ``_LiftedMultiwayCut`` in ``layer.py`` is, with the same arguments."""

    @staticmethod
    def forward(
        ctx: Any,
        node_costs: Tensor,
        edge_costs: Tensor,
        layer: "PanopticLayer",
        shape: tuple[int, int],
        targets: Sequence[PanopticLabels] | None,
        results: list[tuple[TensorForward, PanopticLabels]],
    ) -> tuple[Tensor, ...]:
        """Solve an asymmetric multiway cut for each image, and return the masks of its segments."""
        edges = _edges_on(shape, layer.distances, node_costs.device)
        nodes = _single_or_double(node_costs.flatten(2).transpose(1, 2))
        costs = _single_or_double(edge_costs)
        is_thing = torch.as_tensor(layer.is_thing, device=nodes.device)
        solutions = device.solve(nodes, edges, costs, is_thing, "fast")
        found = solutions.labels.cpu().numpy(), solutions.segments.cpu().numpy()
        for image, solution in enumerate(zip(*solutions, strict=True)):
            labels = from_solution(found[0][image], found[1][image], shape)
            unmatched = unmatched_classes(labels, None if targets is None else targets[image])
            classes = lifted_classes(labels.classes, unmatched, len(layer.is_thing))
            results.append(
                (
                    TensorForward(
                        nodes[image],
                        edges,
                        costs[image],
                        device.TensorSolution(*solution),
                        torch.as_tensor(classes, device=nodes.device),
                    ),
                    labels,
                )
            )
        ctx.layer, ctx.forwards = layer, [forward for forward, _ in results]
        ctx.node_shape, ctx.dtypes = node_costs.shape, (node_costs.dtype, edge_costs.dtype)
        return tuple(_indicators(forward, shape).to(node_costs.dtype) for forward in ctx.forwards)

    @staticmethod
    @once_differentiable
    @outside_compiler
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the mean of Algorithm 1's gradients over the layer's next scales."""
        scales = [float(scale) for scale in ctx.layer.scales.draw()]
        estimates = [
            lifted_backward(forward, gradient.flatten(1), scales)
            for forward, gradient in zip(ctx.forwards, gradients, strict=True)
        ]
        node, edge = (torch.stack(part) for part in zip(*estimates, strict=True))
        node = node.transpose(1, 2).reshape(ctx.node_shape)
        return node.to(ctx.dtypes[0]), edge.to(ctx.dtypes[1]), None, None, None, None


@lru_cache(maxsize=8)
def _edges_on(shape: tuple[int, int], distances: tuple[int, ...], where: torch.device) -> Tensor:
    """Edges of the grid; kept, as a network sees few image sizes and its edges outweigh its costs."""
    return torch.as_tensor(grid_edges(shape, distances), device=where)


def _indicators(forward: TensorForward, shape: tuple[int, int]) -> Tensor:
    labels = torch.arange(len(forward.classes), device=forward.classes.device).view(-1, 1, 1)
    return forward.solution.segments.view(shape) == labels


def _single_or_double(costs: Tensor) -> Tensor:
    costs = costs.detach()
    return costs if costs.dtype in (torch.float32, torch.float64) else costs.float()
