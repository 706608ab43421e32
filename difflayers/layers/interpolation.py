"""The λ of one backward call, drawn from a rule, and what the rule learns from the call."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from difflayers.engine.call import Call
from difflayers.engine.instances import each, norms
from difflayers.layers.scales import Scales

Scale = Sequence[Any]
"""A λ for each cost: a float, or from a relative rule a tensor that multiplies tensors (…, M, *shape)."""


def draw(rule: Scales, costs: Sequence[Tensor], gradients: list[Tensor]) -> tuple[list[Scale], list[Tensor]]:
    """Return the λ of one backward call, and the gradients that they belong to.

    An instance whose costs are all zero has no relative λ; its gradients become zero.
    """
    scales = rule.draw().tolist()
    if not getattr(rule, "relative", False):
        return [[scale] * len(costs) for scale in scales], gradients
    sizes = norms(costs).double()
    usable = (sizes > 0) & (max(scales) > 0)
    ratios = torch.where(usable, sizes / norms(gradients).double(), 1)
    gradients = [gradient * each(usable, gradient) for gradient in gradients]
    return [[each((scale or 1.0) * ratios, cost) for cost in costs] for scale in scales], gradients


def moved(costs: Sequence[Tensor], scale: Scale, gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return c + λ g for costs (…, M, *shape) and gradients (M, *shape)."""
    return [
        torch.add(c, g, alpha=own) if isinstance(own, float) else c + own * g
        for c, own, g in zip(costs, scale, gradients, strict=True)
    ]


def slope(there: Sequence[Tensor], here: Sequence[Tensor], scale: Scale) -> list[Tensor]:
    """Return (y' − y) / λ for solutions (…, M, *shape)."""
    return [_quotient(a, b, own) for a, b, own in zip(there, here, scale, strict=True)]


def _quotient(there: Tensor, here: Tensor, scale: Any) -> Tensor:
    if there.is_cpu and isinstance(scale, float):  # for small batches NumPy takes two thirds of the time
        return torch.from_numpy((there.numpy() - here.numpy()) / scale)
    return (there - here).div_(scale)


def mean(parts: Sequence[list[Tensor]]) -> list[Tensor]:
    """Return the mean over λ of the tensors of each output."""
    if len(parts) == 1:
        return parts[0]
    return [torch.stack(column).mean(0) for column in zip(*parts, strict=True)]


def notes(scales: Sequence[Scale]) -> list[str]:
    """Return what errors say of the problems of each λ."""
    return [
        _note(scale) if isinstance(scale, float) else "perturbed with relative scales" for scale, *_ in scales
    ]


@functools.lru_cache
def _note(scale: float) -> str:  # at each call anew, this sentence would take as long as a subtraction
    return f"perturbed with scale {scale:g}"


def learn(rule: Scales, call: Call, solutions: Sequence[Sequence[Tensor]], known: Sequence[Tensor]) -> None:
    """Tell a rule that learns how much each λ changed.

    Args:
        rule: its `observe` gets the share of solutions that each λ changed, its `adapt` the mean number of
            entries that changed in a solution; a rule without both learns nothing.
        call: the call, of M instances.
        solutions: those of each λ, (…, M, *shape) for each cost.
        known: what they are compared with.
    """
    observe, adapt = getattr(rule, "observe", None), getattr(rule, "adapt", None)
    if observe is None and adapt is None:
        return
    counts = torch.stack([_changes(call, there, known) for there in solutions]).double()  # (N, …, M)
    if call.failed is not None:
        counts = counts[..., ~call.failed]
    if counts.numel() and observe is not None:
        observe((counts > 0).double().flatten(1).mean(1).cpu().numpy())
    if counts.numel() and adapt is not None:
        adapt(float(counts.mean()))


def _changes(call: Call, there: Sequence[Tensor], here: Sequence[Tensor]) -> Tensor:
    """How many entries differ in each solution (…, M), over all outputs."""
    counts = [
        (a != b).reshape(*a.shape[: a.ndim - cost.ndim + 1], -1).sum(-1)
        for a, b, cost in zip(there, here, call.costs, strict=True)
    ]
    return torch.stack(counts).sum(0)
