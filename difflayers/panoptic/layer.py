"""PanopticLayer: asymmetric multiway cut forward, lifted multiway cut backward (COPS, Section 3.3)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from difflayers import amwc
from difflayers.engine.compiler import outside_compiler
from difflayers.engine.parallel import active_backend, map_instances
from difflayers.graph.edges import grid_edges
from difflayers.layers.scales import Scales, as_scales
from difflayers.panoptic.labels import PanopticLabels, from_solution
from difflayers.panoptic.lifted import Forward, LiftedSolver, lifted_backward, lifted_classes
from difflayers.panoptic.matching import unmatched_classes
from difflayers.panoptic.surrogate import SegmentMasks

EdgeCosts = Sequence[tuple[Tensor, Tensor]]


class PanopticOutput(NamedTuple):
    """What :class:`PanopticLayer` returns, one entry an image.

    Attributes:
        masks: indicator (J, h, w) of every lifted label, differentiable, with the label's class. The first
            rows are the predicted segments; the others are empty and only give a gradient somewhere to go.
        labels: the panoptic labelling, not differentiable.
    """

    masks: list[SegmentMasks]
    labels: list[PanopticLabels]


class PanopticLayer(nn.Module):
    """Panoptic labels from class and boundary costs, differentiable in both (COPS, Eq. 2, 4 and Algorithm 1).

    Args:
        is_thing: (K,) bool, the classes that have instances (P in Eq. 2).
        distances: pixel distances of the horizontal and vertical edges.
        scales: interpolation ranges λ: a number, or a rule such as ``UniformScales(low, high)``.
        solver: AMWC solver of the forward pass.
        lifted_solver: of the backward pass, called as ``lifted_solver(problem, start=labels)`` with an AMWC
            that has no partitionable label, a multiway cut.
        n_jobs: solves at once, over images and λ; -1 uses every core.
        on_device: whether both passes run as tensor operations where the costs live, by
            :func:`difflayers.amwc.device.solve` ("fast") in place of the two solvers. By default for costs on
            a GPU, unless another solver is given.
    """

    def __init__(
        self,
        is_thing: Sequence[bool] | np.ndarray,
        distances: Sequence[int],
        scales: float | Scales = 1000.0,
        solver: LiftedSolver = amwc.solve,
        lifted_solver: LiftedSolver = amwc.solve,
        n_jobs: int = 1,
        on_device: bool | None = None,
    ) -> None:
        super().__init__()
        self.is_thing: np.ndarray = np.asarray(is_thing, dtype=bool)
        self.distances: tuple[int, ...] = tuple(distances)
        self.scales: Scales = as_scales(scales)
        self.solver = solver
        self.lifted_solver = lifted_solver
        self.n_jobs = n_jobs
        self.on_device = on_device

    @outside_compiler
    def forward(
        self, node_costs: Tensor, edge_costs: EdgeCosts, targets: Sequence[PanopticLabels] | None = None
    ) -> PanopticOutput:
        """Solve a batch.

        Args:
            node_costs: (B, K, h, w) floating, cost of giving a pixel a class.
            edge_costs: for each distance d a pair: vertical (B, h - d, w), of pixels (i, j) and (i + d, j),
                and horizontal (B, h, w - d). Paid where the edge is cut: positive = attractive.
            targets: ground truth (h, w) for each image; gives unmatched segments a lifted label each.
                Without it only absent classes have one.

        Returns:
            Masks with their classes, and the labelling, for each image.

        Raises:
            TypeError: on costs that are no floating-point tensors.
            ValueError: on shapes that do not fit together, and on costs with NaN.
        """
        shape = self._check(node_costs, edge_costs, targets)
        flat = [side.flatten(1) for pair in edge_costs for side in pair]
        edges = torch.cat(flat, 1) if flat else node_costs.new_zeros(len(node_costs), 0)
        results: list[tuple[Any, PanopticLabels]] = []
        masks = self._passes(node_costs).apply(node_costs, edges, self, shape, targets, results)
        return PanopticOutput(
            [
                SegmentMasks(mask, torch.as_tensor(forward.classes))
                for mask, (forward, _) in zip(masks, results, strict=True)
            ],
            [labels for _, labels in results],
        )

    def _passes(self, node_costs: Tensor) -> type[torch.autograd.Function]:
        default = self.solver is amwc.solve and self.lifted_solver is amwc.solve
        on_device = node_costs.is_cuda and default if self.on_device is None else self.on_device
        if not on_device:
            return _LiftedMultiwayCut
        from difflayers.panoptic.device import DeviceLiftedMultiwayCut  # most layers never need it

        return DeviceLiftedMultiwayCut

    def _check(
        self, node_costs: Tensor, edge_costs: EdgeCosts, targets: Sequence[PanopticLabels] | None
    ) -> tuple[int, int]:
        _check_floating("node_costs", node_costs)
        if node_costs.ndim != 4 or node_costs.shape[1] != len(self.is_thing):
            raise ValueError(
                f"node_costs must be (B, K, h, w) with K = {len(self.is_thing)} classes, "
                f"but has shape {tuple(node_costs.shape)}"
            )
        batch, _, height, width = node_costs.shape
        if len(edge_costs) != len(self.distances):
            raise ValueError(
                f"edge_costs must hold a pair for each of the distances {self.distances}, "
                f"but holds {len(edge_costs)}"
            )
        for d, pair in zip(self.distances, edge_costs, strict=True):
            for side in pair:
                _check_floating(f"edge_costs at distance {d}", side)
            vertical, horizontal = pair
            expected = ((batch, max(height - d, 0), width), (batch, height, max(width - d, 0)))
            if (tuple(vertical.shape), tuple(horizontal.shape)) != expected:
                raise ValueError(
                    f"edge_costs at distance {d} must be vertical {expected[0]} and horizontal "
                    f"{expected[1]}, but are {tuple(vertical.shape)} and {tuple(horizontal.shape)}"
                )
        if targets is not None and len(targets) != batch:
            raise ValueError(f"targets has {len(targets)} labellings, but node_costs has {batch} images")
        for index, target in enumerate(targets or ()):
            if target.segments.shape != (height, width):
                raise ValueError(
                    f"targets[{index}] is {target.segments.shape}, but node_costs are {(height, width)}"
                )
        return height, width

    def extra_repr(self) -> str:
        """Return what `print` shows of the settings."""
        return f"distances={self.distances}, scales={self.scales}, n_jobs={self.n_jobs}"


def _check_floating(name: str, costs: Tensor) -> None:
    if not isinstance(costs, Tensor) or not costs.is_floating_point():
        kind = costs.dtype if isinstance(costs, Tensor) else type(costs).__name__
        raise TypeError(f"{name} must be floating-point tensors, but one is {kind}")


class _LiftedMultiwayCut(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        node_costs: Tensor,
        edge_costs: Tensor,
        layer: PanopticLayer,
        shape: tuple[int, int],
        targets: Sequence[PanopticLabels] | None,
        results: list[tuple[Forward, PanopticLabels]],
    ) -> tuple[Tensor, ...]:
        edges = grid_edges(shape, layer.distances)
        nodes = _to_numpy(node_costs.flatten(2).transpose(1, 2))
        costs = _to_numpy(edge_costs)
        per_image = [None] * len(nodes) if targets is None else targets

        def solve(node: np.ndarray, cost: np.ndarray, target: PanopticLabels | None) -> Any:
            return _solve_image(layer, node, edges, cost, target, shape)

        instances = list(zip(nodes, costs, per_image, strict=True))
        ctx.backend = active_backend() if layer.n_jobs != 1 else None
        results.extend(map_instances(solve, instances, layer.n_jobs, backend=ctx.backend))
        ctx.layer, ctx.forwards = layer, [forward for forward, _ in results]
        ctx.node_shape, ctx.edge_shape = node_costs.shape, edge_costs.shape
        ctx.options = {"device": node_costs.device, "dtype": node_costs.dtype}
        ctx.edge_options = {"device": edge_costs.device, "dtype": edge_costs.dtype}
        return tuple(_indicators(forward, shape).to(**ctx.options) for forward in ctx.forwards)

    @staticmethod
    @once_differentiable
    @outside_compiler
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        layer: PanopticLayer = ctx.layer
        scales = layer.scales.draw()
        pairs = [(image, float(scale)) for image in range(len(gradients)) for scale in scales]
        arrays = [_to_numpy(gradient.flatten(1)) for gradient in gradients]
        instances = [
            (ctx.forwards[image], arrays[image], scale, layer.lifted_solver) for image, scale in pairs
        ]
        names = [f"image {image} with λ = {scale:g}" for image, scale in pairs]
        solved = map_instances(lifted_backward, instances, layer.n_jobs, names=names, backend=ctx.backend)
        node = torch.zeros(ctx.node_shape, **ctx.options)
        edge = torch.zeros(ctx.edge_shape, **ctx.edge_options)
        for image in range(len(gradients)):
            estimates = solved[image * len(scales) : (image + 1) * len(scales)]
            node_gradient, edge_gradient = (np.mean(part, axis=0) for part in zip(*estimates, strict=True))
            node[image] = torch.from_numpy(node_gradient.T.copy()).view(ctx.node_shape[1:])
            edge[image] = torch.from_numpy(edge_gradient)
        return node, edge, None, None, None, None


def _solve_image(
    layer: PanopticLayer,
    node_costs: np.ndarray,
    edges: np.ndarray,
    edge_costs: np.ndarray,
    target: PanopticLabels | None,
    shape: tuple[int, int],
) -> tuple[Forward, PanopticLabels]:
    problem = amwc.AMWC(node_costs, edges, edge_costs, layer.is_thing)
    solution = layer.solver(problem)
    labels = from_solution(solution.labels, solution.segments, shape)
    unmatched = unmatched_classes(labels, target)
    classes = lifted_classes(labels.classes, unmatched, len(layer.is_thing))
    return Forward(problem, solution, classes), labels


def _indicators(forward: Forward, shape: tuple[int, int]) -> Tensor:
    segments = torch.from_numpy(forward.solution.segments.astype(np.int64)).view(shape)
    labels = torch.arange(len(forward.classes)).view(-1, 1, 1)
    return segments == labels


def _to_numpy(costs: Tensor) -> np.ndarray:
    costs = costs.detach().cpu()
    if costs.dtype not in (torch.float32, torch.float64):
        costs = costs.float()
    return np.ascontiguousarray(costs.numpy())
