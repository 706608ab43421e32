"""PanopticLayer: asymmetric multiway cut forward, lifted multiway cut backward (COPS, Section 3.3)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from difflayers import amwc
from difflayers._arguments import counts
from difflayers.engine.compiler import outside_compiler
from difflayers.engine.parallel import active_backend, check_jobs
from difflayers.engine.passes import without_autocast
from difflayers.engine.stateful import StatefulModule
from difflayers.graph.edges import grid_edges
from difflayers.layers.scales import Scales, as_scales
from difflayers.panoptic.checks import EdgeCosts, check_no_nan, check_targets, checked_shape
from difflayers.panoptic.labels import PanopticLabels, from_solution
from difflayers.panoptic.lifted import ArrayPasses, LiftedSolver, lifted_classes
from difflayers.panoptic.matching import unmatched_classes
from difflayers.panoptic.surrogate import SegmentMasks


class PanopticOutput(NamedTuple):
    """What `PanopticLayer` returns, with one entry per image.

    Attributes:
        masks: the indicator (J, h, w) of every lifted label, differentiable, and the label's class. The first
            rows are the predicted segments. The other rows are empty; they only receive gradients.
        labels: the panoptic labeling, not differentiable.

    Examples:
        >>> import torch
        >>> from difflayers import panoptic
        >>> layer = panoptic.PanopticLayer([False, True], distances=[])
        >>> output = layer(torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]]), [])
        >>> output.masks[0].masks.tolist(), output.labels[0].segments.tolist()
        ([[[1.0, 0.0]], [[0.0, 1.0]]], [[0, 1]])
    """

    masks: list[SegmentMasks]
    labels: list[PanopticLabels]


class PanopticLayer(StatefulModule):
    """Panoptic labels from class and boundary costs, differentiable in both (COPS, Eq. 2, 4 and Algorithm 1).

    The forward pass solves an asymmetric multiway cut per image. The backward pass solves a lifted multiway
    cut per image and λ. Pixels that the target leaves void or marks as crowd get no gradient, and neither do
    edges with such an end. An image whose incoming gradient is not finite gets NaN as its gradient, so that a
    `torch.amp.GradScaler` skips the step; under `torch.autograd.detect_anomaly` it is an error.

    The layer has no `on_failure`: its problems always have a solution, so a solver that fails has a bug.

    Args:
        is_thing: (K,) bool, the classes that have instances (P in Eq. 2).
        distances: positive distances of the horizontal and vertical edges, in pixels.
        scales: interpolation ranges λ: a number, or a rule such as `UniformScales(low, high)`. A relative
            rule is multiplied by ‖c_V‖ / ‖∂L/∂z‖ of each image. The state of the rule is part of the layer's
            `state_dict`.
        solver: AMWC solver of the forward pass.
        lifted_solver: solver of the backward pass, called as `lifted_solver(problem, start=labels)`. The
            problem is an AMWC without partitionable labels, which is a multiway cut.
        n_jobs: how many problems are solved at once, over images and λ; -1 uses every core.
        on_device: whether both passes run as tensor operations where the costs live, by `amwc.device.solve`
            ("fast") in place of the two solvers. The default is yes for costs on a GPU, unless another
            solver is given.

        loss_scale: a function that returns what the loss is multiplied by, such as `GradScaler.get_scale`.
            Incoming gradients are divided by this number before λ is applied, and the results are multiplied
            by it.

    Raises:
        ValueError: if `is_thing`, `distances`, `scales` or `n_jobs` is not as described.
        TypeError: if `scales` is neither a number nor a rule.

    Examples:
        >>> import torch
        >>> from difflayers import panoptic
        >>> target = panoptic.PanopticLabels([[0, 1]], classes=[1, 1])  # two things, side by side
        >>> layer = panoptic.PanopticLayer([False, True], distances=[1], scales=100.0)
        >>> node_costs = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]], requires_grad=True)
        >>> horizontal = torch.tensor([[[0.1]]], requires_grad=True)
        >>> output = layer(node_costs, [(torch.zeros(1, 0, 2), horizontal)], [target])
        >>> loss = panoptic.SoftPanopticQualityLoss([False, True], thing_area=0)(output.masks, [target])
        >>> loss.backward()
        >>> horizontal.grad.item() > 0  # the edge between them should be cheaper to cut
        True
    """

    stateful = ("scales",)

    def __init__(
        self,
        is_thing: Sequence[bool] | np.ndarray,
        distances: Sequence[int],
        scales: float | Scales = 1000.0,
        solver: LiftedSolver = amwc.solve,
        lifted_solver: LiftedSolver = amwc.solve,
        n_jobs: int = 1,
        on_device: bool | None = None,
        loss_scale: Callable[[], float] | None = None,
    ) -> None:
        super().__init__()
        check_jobs(n_jobs)
        self.is_thing: np.ndarray = np.asarray(is_thing, dtype=bool)
        if self.is_thing.ndim != 1 or len(self.is_thing) == 0:
            raise ValueError(f"is_thing must be (K,) bool with K >= 1, got shape {self.is_thing.shape}")
        self.distances: tuple[int, ...] = counts("distances", distances, "positive integers")
        self.scales: Scales = as_scales(scales)
        self.solver = solver
        self.lifted_solver = lifted_solver
        self.n_jobs = n_jobs
        self.on_device = on_device
        self.loss_scale = loss_scale

    @outside_compiler
    def forward(
        self, node_costs: Tensor, edge_costs: EdgeCosts, targets: Sequence[PanopticLabels] | None = None
    ) -> PanopticOutput:
        """Solve a batch.

        Args:
            node_costs: (B, K, h, w) floating, cost of giving a pixel a class. Infinite costs are the
                constraints of `amwc.AMWC`; the tensor operations of `on_device` take finite costs only.
            edge_costs: for each distance d a pair: vertical (B, h - d, w), of pixels (i, j) and (i + d, j),
                and horizontal (B, h, w - d). Paid if the edge is cut: positive = attractive.
            targets: ground truth (h, w) of each image. Its unmatched segments get a lifted label each, and
                its void and crowd pixels get no gradient. Without it only absent classes get a label.

        Returns:
            Masks with their classes, and the labeling, of each image.

        Raises:
            TypeError: if costs are no floating-point tensors, or targets no `PanopticLabels`.
            ValueError: if shapes or devices do not fit together, if a class of a target is not below K, or if
                costs hold NaN.
            SolverError: if a solver fails; the message names the image.
        """
        shape = checked_shape(node_costs, edge_costs, self.distances, len(self.is_thing))
        check_targets(targets, len(node_costs), shape, len(self.is_thing))
        if len(node_costs) == 0:
            return PanopticOutput([], [])
        flat = [side.flatten(1) for pair in edge_costs for side in pair]
        edges = torch.cat(flat, 1) if flat else node_costs.new_zeros(len(node_costs), 0)
        check_no_nan("node_costs", node_costs)
        check_no_nan("edge_costs", edges)
        labels: list[PanopticLabels] = []
        classes: list[np.ndarray] = []
        masks = _LiftedMultiwayCut.apply(node_costs, edges, self, shape, targets, labels, classes)
        of_rows = [torch.from_numpy(m) for m in classes]
        return PanopticOutput([SegmentMasks(*pair) for pair in zip(masks, of_rows, strict=True)], labels)

    def _passes(self, shape: tuple[int, int], where: torch.device) -> Any:
        default = self.solver is amwc.solve and self.lifted_solver is amwc.solve
        if where.type == "cuda" and default if self.on_device is None else self.on_device:
            from difflayers.panoptic.lifted_tensors import TensorPasses, edges_on  # most layers never need it

            is_thing = torch.from_numpy(self.is_thing).to(where)
            return TensorPasses(is_thing, edges_on(shape, self.distances, where))
        edges = grid_edges(shape, self.distances)
        backend = active_backend() if self.n_jobs != 1 else None
        return ArrayPasses(self.is_thing, edges, self.solver, self.lifted_solver, self.n_jobs, backend)

    def extra_repr(self) -> str:
        """Return what `print` shows of the settings."""
        return f"distances={self.distances}, scales={self.scales}, n_jobs={self.n_jobs}"


class _LiftedMultiwayCut(torch.autograd.Function):
    """Costs of a batch to the masks of its segments: Eq. 2 forward, Algorithm 1 and Eq. 4 backward."""

    @staticmethod
    def forward(
        ctx: Any,
        node_costs: Tensor,
        edge_costs: Tensor,
        layer: PanopticLayer,
        shape: tuple[int, int],
        targets: Sequence[PanopticLabels] | None,
        labels: list[PanopticLabels],
        classes: list[np.ndarray],
    ) -> tuple[Tensor, ...]:
        """Return the masks (J, h, w) of each image, and fill the lists of labelings and of row classes."""
        with without_autocast(node_costs.device):
            passes = layer._passes(shape, node_costs.device)
            solved, *found = passes.solve(node_costs.flatten(2).transpose(1, 2), edge_costs)
        for image, (of_nodes, segments) in enumerate(zip(*found, strict=True)):
            labels.append(from_solution(of_nodes, segments, shape))
            unmatched = unmatched_classes(labels[image], None if targets is None else targets[image])
            classes.append(lifted_classes(labels[image].classes, unmatched, len(layer.is_thing)))
        ctx.layer, ctx.passes, ctx.solved, ctx.classes, ctx.targets = layer, passes, solved, classes, targets
        ctx.node, ctx.edge = node_costs.new_empty(0), edge_costs.new_empty(0)  # their dtypes and devices
        ctx.shapes = node_costs.shape, edge_costs.shape
        finite = node_costs.detach().double().nan_to_num(posinf=0.0, neginf=0.0)
        ctx.norms = finite.flatten(1).norm(dim=1).tolist()
        return tuple(_indicators(*pair).to(ctx.node) for pair in zip(labels, classes, strict=True))

    @staticmethod
    @once_differentiable
    @outside_compiler
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the mean of Algorithm 1's gradients over the λ that the layer draws next."""
        node, edge = ctx.node.new_zeros(ctx.shapes[0]), ctx.edge.new_zeros(ctx.shapes[1])
        moving = []
        for image, gradient in enumerate(gradients):
            if not gradient.isfinite().all():
                if torch.is_anomaly_enabled():
                    raise ValueError(f"the incoming gradient has a NaN or infinite value in image {image}")
                node[image] = edge[image] = torch.nan
            elif gradient.any():  # otherwise Eq. 3 is W(c) − W(c), whatever a heuristic finds the second time
                moving.append(image)
        if moving:
            with without_autocast(ctx.node.device):
                _pull_back(ctx, moving, [gradients[image].flatten(1) for image in moving], node, edge)
        known = _known(ctx.targets, node.device)
        if known is not None:
            node *= known[:, None]
            edge *= _both_ends(known, ctx.layer.distances).to(edge.device)
        return node, edge, None, None, None, None, None


def _pull_back(ctx: Any, moving: list[int], gradients: list[Tensor], node: Tensor, edge: Tensor) -> None:
    """Write the gradients of the images whose masks have one, and tell the scales what they changed."""
    rule, of_loss = ctx.layer.scales, ctx.layer.loss_scale
    of_loss = 1.0 if of_loss is None else float(of_loss())
    gradients = [gradient / of_loss for gradient in gradients]
    drawn = rule.draw().tolist()
    scales = [drawn] * len(moving)
    if getattr(rule, "relative", False):
        norms = [float(gradient.double().norm()) for gradient in gradients]
        scales = [
            [λ * ctx.norms[image] / norm for λ in drawn] for image, norm in zip(moving, norms, strict=True)
        ]
    parts = zip(moving, gradients, scales, strict=True)
    problems = [
        (image, ctx.solved[image], ctx.classes[image], gradient, of_image)
        for image, gradient, of_image in parts
        if min(of_image) > 0  # with λ = 0 nothing can change
    ]
    if not problems:
        return
    changed = []
    estimates = ctx.passes.pull_back(*zip(*problems, strict=True))
    for (image, *_), (of_nodes, of_edges, counts_of_image) in zip(problems, estimates, strict=True):
        node[image] = of_nodes.T.reshape(node.shape[1:]) * of_loss
        edge[image] = of_edges * of_loss
        changed.append(counts_of_image)
    if hasattr(rule, "observe"):
        rule.observe((np.array(changed) > 0).mean(axis=0))
    if hasattr(rule, "adapt"):
        rule.adapt(float(np.mean(changed)))


def _indicators(labels: PanopticLabels, classes: np.ndarray) -> Tensor:
    rows = np.arange(len(classes), dtype=np.int32)[:, None, None]
    return torch.from_numpy(labels.segments == rows)


def _known(targets: Sequence[PanopticLabels] | None, where: torch.device) -> Tensor | None:
    """Return which pixels (B, h, w) are neither void nor crowd; None if all are."""
    if targets is None:
        return None
    known = np.stack([np.append(~target.is_crowd, False)[target.segments] for target in targets])
    return None if known.all() else torch.from_numpy(known).to(where)


def _both_ends(known: Tensor, distances: Sequence[int]) -> Tensor:
    """Return which edges (B, m) have two known ends, in the order of `grid_edges`."""
    pairs = [(known[:, d:] & known[:, :-d], known[:, :, d:] & known[:, :, :-d]) for d in distances]
    return torch.cat([known[:, :0, 0], *(side.flatten(1) for pair in pairs for side in pair)], 1)
