"""The forward and the backward pass of a call, between tensors of the caller and those of an estimator."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from difflayers.engine.call import Call, Plan
from difflayers.engine.checks import checked, placed, surveyed
from difflayers.engine.instances import any_nonzero, each, flat


def forward(plan: Plan, tensors: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Plan]:
    """Run the forward pass of a plan on costs and targets.

    Returns:
        The outputs, which are copies on the device of the costs, because the caller may change them in place;
        the tensors that `backward` needs beside the costs; and its plan.
    """
    device = tensors[0].device
    if _any_autocast() and autocasts(device):
        with without_autocast(device):
            return forward(plan, tensors)
    call = opened(plan, tensors)
    outputs = plan.estimator.solve(call)
    if not plan.solutions:
        outputs = outputs[:1]
    copies = tuple(map(torch.clone, outputs))
    if device != call.costs[0].device:
        copies = tuple([copy.to(device) for copy in copies])
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
    return copies, call.kept(), call.plan


def opened(plan: Plan, tensors: Sequence[Tensor]) -> Call:
    """Check costs and targets, bring them to where the solver works, and return the call on them.

    Raises:
        ValueError: there is a NaN, or for a loss an infinite value: 0 · ∞ is not 0, so it has no value.
    """
    place, infinite = tensors[0].device if plan.solver.tensors else _CPU, not plan.loss
    costs: list[Tensor] = []
    for cost in tensors[: plan.costs]:
        costs.append(checked(cost, f"costs[{len(costs)}]", place, infinite=infinite))
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
    device = costs[0].device
    if _any_autocast() and autocasts(device):
        with without_autocast(device):
            return backward(plan, costs, kept, incoming)
    place = device if plan.solver.tensors else _CPU
    own, gradients = [], []
    for cost in costs:
        own.append(placed(cost, place))
    for gradient, cost in zip(incoming, own[:1] if plan.loss else own, strict=False):
        gradients.append(torch.zeros_like(cost) if gradient is None else placed(gradient, place))
    call = Call.resumed(plan, own, kept)
    rows, broken = _instances(call, gradients)
    results = _pulled_back(call, gradients, rows)
    if broken is not None:
        results = [_filled(result, broken, torch.nan) for result in results]
    for index, cost in enumerate(costs):
        if results[index].dtype != cost.dtype or results[index].device != device:
            results[index] = results[index].to(cost)
    return tuple(results)


def _pulled_back(call: Call, gradients: list[Tensor], rows: Tensor | None) -> list[Tensor]:
    """The estimator's gradients, which are zero outside of the given instances."""
    solver, part = call.solver, call
    if rows is not None:
        part, gradients = call.part(rows), [gradient[rows] for gradient in gradients]
    if part.batch == 0:
        return [torch.zeros_like(cost) for cost in call.costs]
    scale = 1.0 if solver.loss_scale is None else float(solver.loss_scale())
    if scale != 1.0:
        gradients = [gradient / scale for gradient in gradients]
    results = call.plan.estimator.pull_back(part, gradients)
    if part.failed is not None:
        results = [_filled(result, part.failed, 0.0) for result in results]
    if scale != 1.0:
        results = [result * scale for result in results]
    if rows is None:
        return results
    return [
        torch.zeros_like(cost).index_copy_(0, rows, result.to(cost.dtype))
        for cost, result in zip(call.costs, results, strict=True)
    ]


def _instances(call: Call, gradients: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """Which instances (M,) are left to the estimator, None for all; which (B,) have no finite gradient."""
    broken, moving = None, None
    nonzero = False
    for gradient in gradients:
        finite, without_zero = surveyed(gradient)
        nonzero = nonzero or without_zero
        if not finite:
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
    if not nonzero:
        moving = any_nonzero(gradients)
    if out is not None:
        moving = ~out if moving is None else moving & ~out
    return (None if moving is None or moving.all() else moving.nonzero()[:, 0]), broken


def _filled(result: Tensor, instances: Tensor, value: float) -> Tensor:
    return result.masked_fill(each(instances, result).bool(), value)


_CPU = torch.device("cpu")

# Whether there is autocast on any device; torch itself asks this in a fraction of the time that it takes to
# ask for one device.
_any_autocast = getattr(torch._C, "_is_any_autocast_enabled", lambda: True)


def autocasts(device: torch.device) -> bool:
    """Whether autocast would round what lies between costs on a device and their solutions."""
    if torch.is_autocast_enabled("cpu"):
        return True
    try:
        return device.type != "cpu" and torch.is_autocast_enabled(device.type)
    except RuntimeError:  # a device type that has no autocast, such as "meta"
        return False


@contextlib.contextmanager
def without_autocast(device: torch.device) -> Iterator[None]:
    """Leave autocast on a device and on the CPU."""
    with torch.autocast("cpu", enabled=False):
        if device.type == "cpu" or not autocasts(device):
            yield
        else:
            with torch.autocast(device.type, enabled=False):
                yield
