"""Scores of the solutions in a pool, of which the contrastive and ranking losses are functions."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from difflayers.engine.call import Call
from difflayers.engine.instances import flat
from difflayers.engine.options import SolveOptions
from difflayers.engine.pool import SolutionPool

Weigh = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From predicted and true scores (R, K) of K solutions to losses (R,) and ∂losses/∂scores (R, K)."""


def weigh_pool(call: Call, true_costs: Sequence[Tensor] | None, weigh: Weigh) -> tuple[Tensor, list[Tensor]]:
    """Compute losses that depend on costs only through the scores ⟨ĉ, v⟩ of the pool's solutions v.

    Args:
        call: the call, after its `solve`.
        true_costs: costs (B, *shape) of the true scores; the predicted costs if they are None.
        weigh: the loss as a function of the scores.

    Returns:
        Losses (B,) and their gradients (B, *shape) with respect to the costs.
    """
    costs = call.costs
    predicted = _joined(costs)
    true = predicted if true_costs is None else _joined(true_costs)
    losses, gradient = predicted.new_zeros(len(predicted)), torch.zeros_like(predicted)
    for rows, seen in call.seen():
        solutions = seen.to(predicted)
        losses[rows], weights = weigh(predicted[rows] @ solutions.T, true[rows] @ solutions.T)
        gradient[rows] = weights @ solutions
    parts = gradient.split([cost.shape[1:].numel() for cost in costs], 1)
    return losses, [part.reshape(cost.shape) for part, cost in zip(parts, costs, strict=True)]


def with_pool(options: SolveOptions) -> SolveOptions:
    """Return the options, with a new pool if they have none."""
    return options if options.get("pool") is not None else {**options, "pool": SolutionPool()}


def kept_pool(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a function's call, or raise TypeError if they have no pool."""
    if arguments.get("pool") is None:
        raise TypeError("pool must be a SolutionPool that is kept from call to call, got none")
    return arguments


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([flat(tensor) for tensor in tensors], dim=1)
