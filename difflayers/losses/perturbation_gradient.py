"""Perturbation gradient losses: finite differences of the optimal value along the true costs.

Huang and Gupta, Decision-Focused Learning with Directional Gradients, NeurIPS 2024.
"""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

import torch
from torch import Tensor

from difflayers._arguments import one_of, positive
from difflayers.engine.autograd import LossReduction
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.losses.base import SolverLoss, Tensors, inner
from difflayers.solver import Solver

Difference = Literal["backward", "forward", "central"]


class PerturbationGradientLoss(SolverLoss):
    """The slope of V(ĉ) = min_y ⟨ĉ, y⟩ along the true costs c, by a finite difference of step h.

    By Danskin's theorem that slope is ⟨c, W(ĉ)⟩, the true cost of the decision, for small h:

        backward  (V(ĉ) − V(ĉ − h c)) / h          never below the true cost ⟨c, W(ĉ)⟩
        forward   (V(ĉ + h c) − V(ĉ)) / h          never above it
        central   (V(ĉ + h c) − V(ĉ − h c)) / 2h

    The gradient is the difference of the two solutions over the step. No true solution is needed. It takes
    two solver calls an instance, of which backward and forward spend one on W(ĉ).

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`; an exact one for the bounds to hold.
        step: h, positive, without unit: predicted and true costs are of one unit.
        difference: "backward", "forward" or "central".
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`.
    """

    def __init__(
        self,
        solver: Solver,
        step: float = 0.1,
        difference: Difference = "backward",
        reduction: LossReduction = "mean",
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__(solver, reduction, **options)
        self.step: float = positive("step", step)
        self.difference: Difference = one_of("difference", difference, Difference)

    def forward(
        self,
        costs: Tensors,
        *,
        true_costs: Tensors,
        context: Sequence[Any] | None = None,
        return_solution: bool = False,
    ) -> Any:
        """Estimate what the decisions for the predicted costs truly cost.

        Args:
            costs: predicted costs, a tensor (B, *shape), or several for a solver that takes several.
            true_costs: true costs, the same number and shapes.
            context: one object an instance, handed to the solver as its last argument.
            return_solution: whether to return W(ĉ) too; with central differences it is W(ĉ + h c).

        Returns:
            The loss, or with `return_solution` a pair of it and the solution.

        Raises:
            TypeError, ValueError: tensors that do not fit each other, or have a NaN or infinite value.
            SolverError: the solver failed, or returned something that is no solution.
        """
        return self.compare(costs, context=context, return_solution=return_solution, true_costs=true_costs)

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss of each instance and a solution."""
        h, truth = self.step, call.targets["true_costs"]
        upper, lower = {"backward": (0.0, -h), "forward": (h, 0.0), "central": (h, -h)}[self.difference]
        problems = [
            torch.stack([cost + upper * true, cost + lower * true])
            for cost, true in zip(call.costs, truth, strict=True)
        ]
        both = call.solve(problems, [f"at ĉ + {offset:g} c" for offset in (upper, lower)])
        above, below = [pair[0] for pair in both], [pair[1] for pair in both]
        width = upper - lower
        slopes = [(up - down) / width for up, down in zip(above, below, strict=True)]
        # Not V(…) − V(…), two large numbers that nearly cancel.
        true_cost = (upper * inner(truth, above) - lower * inner(truth, below)) / width
        call.save(*slopes)
        return [inner(call.costs, slopes) + true_cost, *(below if self.difference == "forward" else above)]

    def extra_repr(self) -> str:
        """Describe the loss in `print(model)`."""
        return f"step={self.step:g}, difference={self.difference!r}, reduction={self.reduction!r}"


def perturbation_gradient_loss(
    solver: Solver,
    costs: Tensors,
    *,
    true_costs: Tensors,
    step: float = 0.1,
    difference: Difference = "backward",
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    reduction: LossReduction = "mean",
    **options: Unpack[SolveOptions],
) -> Any:
    """Estimate the true cost of decisions: `PerturbationGradientLoss` as a function, with its arguments."""
    loss = PerturbationGradientLoss(solver, step, difference, reduction, **options)
    return loss(costs, true_costs=true_costs, context=context, return_solution=return_solution)
