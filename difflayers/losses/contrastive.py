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

    The first is linear in ĉ and so without a minimum: its gradient, y* minus the mean of the pool, is the
    same everywhere, and it is for the model or weight decay to bound ĉ. The second is never negative, as y*
    is in the pool, and zero where y* is the cheapest there, also at ĉ = 0; its gradient is y* − v.

    The pool has the true solutions of the batches so far, and what the solver found for predicted costs in
    those steps in which it was called: with `SolutionPool(solve_ratio)`, that part of them.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        kind: "nce" or "map".
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`; a new `SolutionPool()`
            where no `pool` is given.

    The pool is part of the `state_dict`.
    """

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
            costs: predicted costs, a tensor (B, *shape), or several for a solver that takes several.
            true_solutions: y*, the same number and shapes; they are added to the pool.
            context: one object an instance, handed to the solver as its last argument.
            return_solution: whether to return W(ĉ) too, or, in a step without solver, the pool's best.

        Returns:
            The loss, or with `return_solution` a pair of it and the solution.

        Raises:
            TypeError, ValueError: tensors that do not fit each other, or have a NaN or infinite value.
            SolverError: the solver failed, or returned something that is no solution.
        """
        return self.compare(
            costs, context=context, return_solution=return_solution, true_solutions=true_solutions
        )

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss of each instance and the solution."""
        best, solutions = call.targets["true_solutions"], call.solve()
        call.remember(best)
        losses, gradients = weigh_pool(call, None, _mean if self.kind == "nce" else _cheapest)
        call.save(*(there + gradient for there, gradient in zip(best, gradients, strict=True)))
        return [inner(call.costs, best) + losses, *solutions]

    def extra_repr(self) -> str:
        """Describe the loss in `print(model)`."""
        return f"kind={self.kind!r}, reduction={self.reduction!r}"


def contrastive_loss(
    solver: Solver,
    costs: Tensors,
    *,
    true_solutions: Tensors,
    kind: Contrast = "map",
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    reduction: LossReduction = "mean",
    **options: Unpack[SolveOptions],
) -> Any:
    """Compare costs with wanted solutions: `ContrastiveLoss` as a function, with the same arguments.

    The `pool` must be given and kept, since a new one has seen nothing.
    """
    loss = ContrastiveLoss(solver, kind, reduction, **kept_pool(options))
    return loss(costs, true_solutions=true_solutions, context=context, return_solution=return_solution)


def _mean(scores: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    return -scores.mean(1), torch.full_like(scores, -1 / scores.shape[1])


def _cheapest(scores: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    lowest, which = scores.min(1)
    return -lowest, torch.zeros_like(scores).scatter_(1, which[:, None], -1.0)
