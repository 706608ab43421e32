"""Contrastive losses: true solutions should be cheaper than the solutions seen before.

Mulamba et al., Contrastive Losses and Solution Caching for Predict-and-Optimize, IJCAI 2021.
"""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

import torch
from torch import Tensor

from difflayers._arguments import one_of
from difflayers.engine.autograd import LossReduction
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.losses.base import SolverLoss, Tensors, inner
from difflayers.losses.pooled import kept_pool, weigh_pool, with_pool
from difflayers.solver import Solver

Contrast = Literal["nce", "map"]


class ContrastiveLoss(SolverLoss):
    """How much more the true solutions y* cost under ĉ than the solutions v of a pool V.

        nce   mean of ⟨ĉ, y* − v⟩ over V       noise-contrastive estimation
        map   max of ⟨ĉ, y* − v⟩ over V        maximum a posteriori

    "nce" is linear in ĉ and has no minimum: its gradient, y* minus the mean of the pool, is the same
    everywhere, so that the model or weight decay must bound ĉ. "map" is never negative, because y* is in the
    pool, and zero if y* is the cheapest there, also at ĉ = 0; its gradient is y* − v.

    The pool holds the true solutions of the batches so far, and what the solver found for predicted costs in
    those steps in which it was called, see `SolutionPool`.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        kind: "nce" or "map".
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`. `pool` is a new `SolutionPool()` by default.

    The pool is part of the `state_dict`.

    Examples:
        >>> import difflayers, torch
        >>> loss = difflayers.losses.ContrastiveLoss(difflayers.solvers.TopK(1), kind="map", batched=True)
        >>> costs = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
        >>> loss(costs, true_solutions=torch.tensor([[1.0, 0.0, 0.0]])).backward()
        >>> costs.grad.tolist()  # the pool has item 0, as wanted, and item 1, as found
        [[1.0, -1.0, 0.0]]
    """

    shown = ("kind",)

    def __init__(
        self,
        solver: Solver,
        kind: Contrast = "map",
        reduction: LossReduction = "mean",
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__(solver, reduction, **with_pool(options))
        self.kind: Contrast = one_of("kind", kind, Contrast)

    def forward(
        self,
        costs: Tensors,
        *,
        true_solutions: Tensors,
        context: Sequence[Any] | None = None,
        return_solution: bool = False,
    ) -> Any:
        """Compare predicted costs with solutions that should be the cheapest under them.

        Args:
            costs: predicted costs ĉ, a tensor (B, *shape), or several for a solver that takes several.
            true_solutions: y*, the same number and shapes; they are added to the pool.
            context: see `SolverLoss.compare`, like the result and the errors.
            return_solution: whether to return W(ĉ), or in a step without solver the best of the pool, too.
        """
        return self.compare(
            costs, context=context, return_solution=return_solution, true_solutions=true_solutions
        )

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss per instance and the solution."""
        best, solutions = call.targets["true_solutions"], call.solve()
        call.remember(best)
        losses, gradients = weigh_pool(call, None, _mean if self.kind == "nce" else _cheapest)
        call.save(*(there + gradient for there, gradient in zip(best, gradients, strict=True)))
        return [inner(call.costs, best) + losses, *solutions]


def contrastive_loss(
    solver: Solver,
    costs: Tensors,
    *,
    true_solutions: Tensors,
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    **arguments: Any,
) -> Any:
    """Compare predicted costs with solutions: `ContrastiveLoss` as a function.

    The `pool` must be given and kept, because a new pool has seen nothing.

    Args:
        solver: see `ContrastiveLoss`.
        costs: see `ContrastiveLoss.forward`.
        true_solutions: see there.
        context: see there.
        return_solution: see there.
        arguments: the other arguments of `ContrastiveLoss`.

    Examples:
        >>> import difflayers, torch
        >>> pool = difflayers.SolutionPool()
        >>> difflayers.functional.contrastive_loss(
        ...     difflayers.solvers.TopK(1),
        ...     torch.tensor([[3.0, 1.0, 2.0]]),
        ...     true_solutions=torch.tensor([[1.0, 0.0, 0.0]]),
        ...     pool=pool,
        ...     batched=True,
        ... )
        tensor(2.)
    """
    loss = ContrastiveLoss(solver, **kept_pool(arguments))
    return loss(costs, true_solutions=true_solutions, context=context, return_solution=return_solution)


def _mean(scores: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    return -scores.mean(1), torch.full_like(scores, -1 / scores.shape[1])


def _cheapest(scores: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    lowest, which = scores.min(1)
    return -lowest, torch.zeros_like(scores).scatter_(1, which[:, None], -1.0)
