"""What `PanopticLayer` is called with, checked at its front door."""

from collections.abc import Sequence

from torch import Tensor

from difflayers.panoptic.labels import VOID, PanopticLabels

EdgeCosts = Sequence[tuple[Tensor, Tensor]]
"""For each distance the costs of the vertical and of the horizontal edges."""


def checked_shape(
    node_costs: Tensor, edge_costs: EdgeCosts, distances: tuple[int, ...], num_classes: int
) -> tuple[int, int]:
    """Return height and width, or raise TypeError or ValueError if the costs do not fit together."""
    _check_floating("node_costs", node_costs)
    if node_costs.ndim != 4 or node_costs.shape[1] != num_classes:
        raise ValueError(
            f"node_costs must have shape (B, K, h, w) with K = {num_classes} classes, "
            f"got {tuple(node_costs.shape)}"
        )
    batch, _, height, width = node_costs.shape
    if height * width == 0:
        raise ValueError(f"node_costs must have at least one pixel, got shape {tuple(node_costs.shape)}")
    if len(edge_costs) != len(distances):
        raise ValueError(
            f"edge_costs must hold one pair per distance of {distances}, got {len(edge_costs)} pairs"
        )
    for d, pair in zip(distances, edge_costs, strict=True):
        vertical, horizontal = pair
        for side in pair:
            _check_floating(f"edge_costs at distance {d}", side)
            if side.device != node_costs.device:
                raise ValueError(
                    f"edge_costs at distance {d} must be on {node_costs.device}, got {side.device}"
                )
        expected = ((batch, max(height - d, 0), width), (batch, height, max(width - d, 0)))
        if (tuple(vertical.shape), tuple(horizontal.shape)) != expected:
            raise ValueError(
                f"edge_costs at distance {d} must be vertical {expected[0]} and horizontal "
                f"{expected[1]}, got {tuple(vertical.shape)} and {tuple(horizontal.shape)}"
            )
    return height, width


def _check_floating(name: str, costs: Tensor) -> None:
    if not isinstance(costs, Tensor) or not costs.is_floating_point():
        kind = costs.dtype if isinstance(costs, Tensor) else type(costs).__name__
        raise TypeError(f"{name} must be floating-point tensors, got {kind}")


def check_no_nan(name: str, costs: Tensor) -> None:
    """Raise ValueError with name and image if costs (B, ...) hold NaN."""
    wrong = costs.isnan()
    if wrong.any():
        image = int(wrong.flatten(1).any(1).int().argmax())
        raise ValueError(f"{name} must hold no NaN, got NaN in image {image}")


def check_targets(
    targets: Sequence[PanopticLabels] | None, batch: int, shape: tuple[int, int], num_classes: int
) -> None:
    """Raise TypeError or ValueError if targets do not fit a batch of images of that shape."""
    if targets is None:
        return
    if len(targets) != batch:
        raise ValueError(f"targets must hold one labeling per image, got {len(targets)} for {batch} images")
    for index, target in enumerate(targets):
        if not isinstance(target, PanopticLabels):
            raise TypeError(f"targets[{index}] must be PanopticLabels, got {type(target).__name__}")
        if target.segments.shape != shape:
            raise ValueError(f"targets[{index}] must have shape {shape}, got {target.segments.shape}")
        if target.classes.max(initial=VOID) >= num_classes:
            raise ValueError(
                f"targets[{index}] has class {target.classes.max()}, but there are {num_classes} classes"
            )
