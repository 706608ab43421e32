"""SPO+: a convex upper bound of the regret.

Elmachtoub and Grigas, Smart "Predict, then Optimize", Management Science 68(1), 2022.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from difflayers.engine.autograd import LossReduction
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.losses.base import SolverLoss, Tensors, inner
from difflayers.solver import Solver


class SPOPlusLoss(SolverLoss):
    """The SPO+ loss ⟨2ĉ − c, y* − W(2ĉ − c)⟩ of predicted costs ĉ, true costs c and y* = W(c).

    It is convex in ĉ, never below the regret ⟨c, W(ĉ) − y*⟩, and zero where ĉ = c (Definition 3 there). The
    gradient is the subgradient 2 (y* − W(2ĉ − c)).

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`. The above holds if the solver is exact,
            also for negative costs, which 2ĉ − c has where ĉ is below c / 2: a solver that clips negative
            costs makes losses below the regret, and below 0.
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`.
    """

    def __init__(
        self, solver: Solver, reduction: LossReduction = "mean", **options: Unpack[SolveOptions]
    ) -> None:
        super().__init__(solver, reduction, **options)

    def forward(
        self,
        costs: Tensors,
        *,
        true_costs: Tensors,
        true_solutions: Tensors | None = None,
        context: Sequence[Any] | None = None,
        return_solution: bool = False,
    ) -> Any:
        """Compare predicted with true costs.

        Args:
            costs: predicted costs, a tensor (B, *shape), or several for a solver that takes several.
            true_costs: true costs, the same number and shapes.
            true_solutions: their solutions y*, likewise; solved for where they are not given, which doubles
                the work.
            context: one object an instance, handed to the solver as its last argument.
            return_solution: whether to return W(2ĉ − c) too.

        Returns:
            The loss, or with `return_solution` a pair of it and W(2ĉ − c).

        Raises:
            TypeError, ValueError: tensors that do not fit each other, or have a NaN or infinite value.
            SolverError: the solver failed, or returned something that is no solution.
        """
        truth = {"true_costs": true_costs, "true_solutions": true_solutions}
        return self.compare(costs, context=context, return_solution=return_solution, **truth)

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss of each instance and W(2ĉ − c)."""
        truth, best = call.targets["true_costs"], call.targets.get("true_solutions")
        reflected = [2 * cost - true for cost, true in zip(call.costs, truth, strict=True)]
        if best is not None:
            solutions = call.solve(reflected, "at 2ĉ − c")
        else:
            pairs = [torch.stack(pair) for pair in zip(reflected, truth, strict=True)]
            both = call.solve(pairs, ["at 2ĉ − c", "at the true costs"])
            solutions, best = [pair[0] for pair in both], [pair[1] for pair in both]
        gaps = [there - here for there, here in zip(best, solutions, strict=True)]
        call.save(*(2 * gap for gap in gaps))
        return [inner(reflected, gaps), *solutions]

    def extra_repr(self) -> str:
        """Name the reduction in `print(model)`."""
        return f"reduction={self.reduction!r}"


def spo_plus_loss(
    solver: Solver,
    costs: Tensors,
    *,
    true_costs: Tensors,
    true_solutions: Tensors | None = None,
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    reduction: LossReduction = "mean",
    **options: Unpack[SolveOptions],
) -> Any:
    """Compare predicted with true costs: the functional form of `SPOPlusLoss`, with the same arguments."""
    return SPOPlusLoss(solver, reduction, **options)(
        costs,
        true_costs=true_costs,
        true_solutions=true_solutions,
        context=context,
        return_solution=return_solution,
    )
