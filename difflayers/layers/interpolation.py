"""The λ of one backward call, drawn from a rule, and what the rule learns from the call."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from difflayers.engine.call import Call
from difflayers.engine.instances import norms
from difflayers.layers.scales import Scales


def draw(rule: Scales, costs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Return the λ of one backward call, float64 of shape (N, 1), or (N, M) if they differ per instance."""
    scales = torch.from_numpy(np.ascontiguousarray(rule.draw(), dtype=np.float64))[:, None]
    if getattr(rule, "relative", False):
        scales = scales.to(costs[0].device) * (norms(costs).double() / norms(gradients).double())
    return scales.to(costs[0].device)


def reciprocal(scales: Tensor) -> Tensor:
    """Return 1 / λ, and 0 where λ is 0 and nothing can have changed."""
    return torch.where(scales > 0, 1 / scales, 0)


def notes(scales: Tensor) -> list[str]:
    """Return what errors say of the problems of each λ."""
    return [
        f"perturbed with scale {row[0]:g}" if len(set(row)) == 1 else "perturbed with scales per instance"
        for row in scales.tolist()
    ]


def learn(rule: Scales, call: Call, moved: Sequence[Tensor], solutions: Sequence[Tensor]) -> None:
    """Tell a rule that learns how much each λ changed.

    Args:
        rule: its `observe` gets the share of solutions that each λ changed, its `adapt` the mean number of
            entries that changed in a solution; a rule without both learns nothing.
        call: the call, of M instances.
        moved: solutions (N, …, M, *shape) for N λ.
        solutions: what they are compared with, (…, M, *shape).
    """
    observe, adapt = getattr(rule, "observe", None), getattr(rule, "adapt", None)
    if observe is None and adapt is None:
        return
    counts = sum(
        (there != here).reshape(*there.shape[: there.ndim - cost.ndim + 1], -1).sum(-1)
        for there, here, cost in zip(moved, solutions, call.costs, strict=True)
    )
    assert isinstance(counts, Tensor)
    if call.failed is not None:
        counts = counts[..., ~call.failed]
    if counts.numel() and observe is not None:
        observe((counts > 0).flatten(1).double().mean(1).cpu().numpy())
    if counts.numel() and adapt is not None:
        adapt(float(counts.double().mean()))
