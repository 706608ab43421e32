"""What every loss does around its formula, from the arguments of a call to values with gradients."""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from difflayers.engine.autograd import Estimator, Reduction, differentiate, reduce_losses
from difflayers.engine.batch import BatchSolver
from difflayers.engine.instances import each, flat
from difflayers.engine.run import BatchRun
from difflayers.engine.solving import only

Tensors = Tensor | Sequence[Tensor]
"""One tensor (B, *shape), or one for each cost tensor of a solver that takes several."""


def evaluate(
    loss: Estimator,
    costs: Tensors,
    context: Sequence[Any] | None,
    return_solution: bool,
    reduction: Reduction,
    **targets: Tensors | None,
) -> Any:
    """Call a loss on a batch: the body of every loss's `forward`.

    Args:
        loss: what computes a value and a gradient an instance; its `solve` calls `save` at the end.
        costs: the predicted costs, see `Tensors`.
        context: one object an instance, or None.
        return_solution: whether to return the solution that the loss computed too.
        reduction: see `reduce_losses`.
        targets: what the loss compares with, by the name of the argument; each like `costs`, or None.

    Returns:
        The loss, or with `return_solution` a pair of it and the solution, or tuple of solutions.

    Raises:
        TypeError, ValueError: the number, dtypes or shapes of the tensors do not fit, or one has a NaN or
            infinite value.
    """
    costs = several(costs)
    flat = matched(loss.solver, costs, **targets)
    losses, *solutions = differentiate(loss, costs, context, flat, loss=True, solutions=return_solution)
    reduced = reduce_losses(losses, reduction, loss.solver)
    return (reduced, only(solutions)) if return_solution else reduced


def matched(solver: BatchSolver, costs: Sequence[Tensor], **targets: Tensors | None) -> list[Tensor]:
    """Return the tensors of all targets that are given, for `truths` to take apart again.

    Each must match the costs in number and shapes. True costs are negated where the solver maximises, as
    `differentiate` does with the costs.
    """
    flat = []
    for name, target in targets.items():
        if target is None:
            continue
        tensors = several(target)
        if len(tensors) != len(costs):
            raise ValueError(f"{name} has {len(tensors)} tensors, but there are {len(costs)} cost tensors")
        for index, (tensor, cost) in enumerate(zip(tensors, costs, strict=True)):
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{name}[{index}] must be a tensor, but is a {type(tensor).__name__}")
            if isinstance(cost, Tensor) and tensor.shape != cost.shape:
                raise ValueError(
                    f"{name}[{index}] has shape {tuple(tensor.shape)}, "
                    f"but costs[{index}] has shape {tuple(cost.shape)}"
                )
            if solver.maximize and name == "true_costs":
                whole = not (tensor.is_floating_point() or tensor.is_complex())
                tensor = -(tensor.double() if whole else tensor)  # unsigned numbers would wrap
            flat.append(tensor)
    return flat


def truths(run: BatchRun) -> list[list[Any]]:
    """Return the tensors of each target that the loss was given, in the order of `evaluate`, as values."""
    count = len(run.costs)
    return [run.targets[start : start + count] for start in range(0, len(run.targets), count)]


def save(run: BatchRun, losses: Any, gradients: Sequence[Any], solutions: Sequence[Any]) -> list[Any]:
    """Return what a loss's `solve` has to, keeping ∂losses/∂costs (B, *shape) for `pull_back`."""
    run.saved = run.values(gradients)
    return [losses, *solutions]


def pull_back(run: BatchRun, gradients: list[Any]) -> list[Any]:
    """Return the gradients that `save` kept, scaled by the incoming ones (B,)."""
    (incoming,) = gradients
    return [each(incoming, saved) * saved for saved in run.saved]


def inner(left: Sequence[Any], right: Sequence[Any]) -> Any:
    """Return Σ <left, right> over the tensors or arrays (M, *shape) of several costs, as (M,)."""
    return functools.reduce(operator.add, (flat(a * b).sum(1) for a, b in zip(left, right, strict=True)))


def mean_or_sum(losses: Tensor, reduction: Reduction) -> Tensor:
    """Reduce losses (B,) of a layer's solutions, where those that `on_failure="skip"` took out are NaN."""
    if reduction == "none":
        return losses
    return losses.nansum() if reduction == "sum" else losses.nanmean()


def several(tensors: Tensors) -> list[Tensor]:
    """Return one tensor, or a sequence of them, as a list."""
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def first_row(bad: Any) -> int | None:
    """Return the first instance of (B, *shape) where `bad` is true anywhere, or None."""
    rows = torch.as_tensor(bad).nonzero()
    return int(rows[0, 0]) if len(rows) else None
