"""The forward and the backward pass of a call, between tensors of the caller and those of an estimator."""

import contextlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from difflayers.engine.call import Call, Plan
from difflayers.engine.checks import checked, surely_finite
from difflayers.engine.instances import any_nonzero, each, flat


def forward(plan: Plan, tensors: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Plan]:
    """Run the forward pass of a plan on costs and targets.

    Returns:
        The outputs, which are copies on the device of the costs, because the caller may change them in place;
        the tensors that `backward` needs beside the costs; and its plan.
    """
    device = tensors[0].device
    with without_autocast(device):
        call = opened(plan, tensors)
        outputs = plan.estimator.solve(call)
        copies = tuple(
            [output.to(device, copy=True) for output in (outputs if plan.solutions else outputs[:1])]
        )
        if call.failed is not None:
            if call.failed.all():
                warnings.warn(
                    f"the solver found no solution for any of the {call.batch} instances of a batch, "
                    "so that this step has no gradient",
                    RuntimeWarning,
                    stacklevel=2,
                )
            for copy in copies:
                copy[call.failed.to(device)] = torch.nan if plan.solver.on_failure == "skip" else 0
        return copies, call.kept(), call.continued()


def opened(plan: Plan, tensors: Sequence[Tensor]) -> Call:
    """Check costs and targets, bring them to where the solver works, and return the call on them.

    Raises:
        ValueError: there is a NaN, or for a loss an infinite value: 0 · ∞ is not 0, so it has no value.
    """
    place, infinite = tensors[0].device if plan.solver.tensors else _CPU, not plan.loss
    costs = [checked(c, f"costs[{i}]", place, infinite=infinite) for i, c in enumerate(tensors[: plan.costs])]
    targets: dict[str, list[Tensor]] = {}
    for index, target in enumerate(tensors[plan.costs :]):
        group, number = divmod(index, plan.costs)
        name, dtype = plan.targets[group], costs[number].dtype
        value = checked(target, f"{name}[{number}]", place, dtype, infinite=infinite)
        targets.setdefault(name, []).append(value)
    return Call(plan, costs, targets)


def backward(
    plan: Plan, costs: Sequence[Tensor], kept: Sequence[Tensor], incoming: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    """Return the gradients of the costs from those of the outputs, where None is zero.

    An instance that failed or has no incoming gradient gets the gradient zero. An instance whose incoming
    gradient is not finite gets NaN, so that a GradScaler notices. The estimator sees all others. A
    `loss_scale` is divided out before and multiplied in after.
    """
    if all(gradient is None for gradient in incoming):
        return tuple([torch.zeros_like(cost) for cost in costs])
    solver, device = plan.solver, costs[0].device
    place = device if solver.tensors else _CPU
    with without_autocast(device):
        call = Call.resumed(plan, [_detached(cost, place) for cost in costs], kept)
        outputs = call.costs[:1] if plan.loss else call.costs
        gradients = [
            torch.zeros_like(cost) if gradient is None else _detached(gradient, place)
            for gradient, cost in zip(incoming, outputs, strict=False)
        ]
        rows, broken = _instances(call, gradients)
        part = call if rows is None else call.part(rows)
        results = [torch.zeros_like(cost) for cost in part.costs]
        if part.batch:
            if rows is not None:
                gradients = [gradient[rows] for gradient in gradients]
            scale = 1.0 if solver.loss_scale is None else float(solver.loss_scale())
            if scale != 1.0:
                gradients = [gradient / scale for gradient in gradients]
            results = plan.estimator.pull_back(part, gradients)
            if part.failed is not None:
                results = [_filled(result, part.failed, 0.0) for result in results]
            if scale != 1.0:
                results = [result * scale for result in results]
        if rows is not None:
            results = [
                torch.zeros_like(cost).index_copy_(0, rows, result.to(cost.dtype))
                for cost, result in zip(call.costs, results, strict=True)
            ]
        if broken is not None:
            results = [_filled(result, broken, torch.nan) for result in results]
        return tuple([result.to(cost) for result, cost in zip(results, costs, strict=True)])


def _instances(call: Call, gradients: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """Which instances (M,) are left to the estimator, None for all; which (B,) have no finite gradient."""
    broken, moving = None, None
    for gradient in gradients:
        if not surely_finite(gradient):
            bad = ~flat(gradient).isfinite().all(1)
            broken = bad if broken is None else broken | bad
    out = call.failed
    if broken is not None:
        if out is not None:
            broken = broken & ~out  # NaN flows back into what "skip" made NaN, and stays there
        count = int(broken.sum())
        call.solver.statistics.nonfinite_gradients += count
        if count and torch.is_anomaly_enabled():
            row = int(broken.int().argmax())
            raise ValueError(f"the incoming gradient has a NaN or infinite value in instance {row}")
        out = broken if out is None else out | broken
        broken = broken if count else None
    if not gradients[0].all():  # a gradient without any 0 needs no closer look
        moving = any_nonzero(gradients)
    if out is not None:
        moving = ~out if moving is None else moving & ~out
    return (None if moving is None or moving.all() else moving.nonzero()[:, 0]), broken


def _filled(result: Tensor, instances: Tensor, value: float) -> Tensor:
    return result.masked_fill(each(instances, result).bool(), value)


def _detached(tensor: Tensor, place: torch.device) -> Tensor:
    return tensor.detach().to(place).resolve_neg().contiguous()


_CPU = torch.device("cpu")
_NO_CONTEXT = contextlib.nullcontext()


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Leave autocast, which would round what lies between costs and solution."""
    if not (_autocasts("cpu") or (device.type != "cpu" and _autocasts(device.type))):
        return _NO_CONTEXT
    stack = contextlib.ExitStack()
    for kind in {"cpu", device.type}:
        if _autocasts(kind):
            stack.enter_context(torch.autocast(kind, enabled=False))
    return stack


def _autocasts(kind: str) -> bool:
    try:
        return torch.is_autocast_enabled(kind)
    except RuntimeError:  # a device type that has no autocast, such as "meta"
        return False
