"""Perturbation gradient losses: finite differences of the optimal value along the true costs.

Huang and Gupta, Decision-Focused Learning with Directional Gradients, NeurIPS 2024.
"""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from torch import Tensor

from difflayers._arguments import one_of, positive
from difflayers.engine.autograd import LossReduction
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.losses.base import SolverLoss, Tensors, inner
from difflayers.solver import Solver

Difference = Literal["backward", "forward", "central"]


class PerturbationGradientLoss(SolverLoss):
    """The slope of V(ĉ) = min_y ⟨ĉ, y⟩ along the true costs c, by a finite difference with step h.

    By Danskin's theorem, the slope is ⟨c, W(ĉ)⟩, the true cost of the decision. The differences are

        backward  (V(ĉ) − V(ĉ − h c)) / h          never below the true cost
        forward   (V(ĉ + h c) − V(ĉ)) / h          never above the true cost
        central   (V(ĉ + h c) − V(ĉ − h c)) / 2h

    The gradient is the difference of the two solutions, divided by the step. The loss needs no true
    solutions, and calls the solver twice per instance.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`. The bounds hold if the solver is exact.
        step: h, positive, without unit, because predicted and true costs have the same unit.
        difference: "backward", "forward" or "central".
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`.

    Examples:
        >>> import difflayers, torch
        >>> loss = difflayers.losses.PerturbationGradientLoss(difflayers.solvers.TopK(1), 2.0, batched=True)
        >>> costs = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
        >>> loss(costs, true_costs=torch.tensor([[1.0, 2.0, 4.0]])).backward()
        >>> costs.grad.tolist()  # (W(ĉ) − W(ĉ − 2c)) / 2
        [[0.0, 0.5, -0.5]]
    """

    shown = ("step", "difference")

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
        """Estimate the true cost of the decisions for predicted costs.

        Args:
            costs: predicted costs ĉ, a tensor (B, *shape), or several for a solver that takes several.
            true_costs: c, the same number and shapes.
            context: see `SolverLoss.compare`, like the result and the errors.
            return_solution: whether to return W(ĉ) too; with "central", W(ĉ + h c).
        """
        return self.compare(costs, context=context, return_solution=return_solution, true_costs=true_costs)

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss per instance and a solution."""
        h, truth = self.step, call.targets["true_costs"]
        upper, lower = {"backward": (0.0, -h), "forward": (h, 0.0), "central": (h, -h)}[self.difference]
        problems = [
            [cost + offset * true for cost, true in zip(call.costs, truth, strict=True)]
            for offset in (upper, lower)
        ]
        above, below = call.solve_several(problems, [f"at ĉ + {offset:g} c" for offset in (upper, lower)])
        width = upper - lower
        slopes = [(up - down) / width for up, down in zip(above, below, strict=True)]
        # V(…) − V(…) would be the difference of two large numbers that nearly cancel.
        true_cost = (upper * inner(truth, above) - lower * inner(truth, below)) / width
        call.save(*slopes)
        return [inner(call.costs, slopes) + true_cost, *(below if self.difference == "forward" else above)]


def perturbation_gradient_loss(
    solver: Solver,
    costs: Tensors,
    *,
    true_costs: Tensors,
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    **arguments: Any,
) -> Any:
    """Estimate the true cost of decisions: `PerturbationGradientLoss` as a function.

    Args:
        solver: see `PerturbationGradientLoss`.
        costs: see `PerturbationGradientLoss.forward`.
        true_costs: see there.
        context: see there.
        return_solution: see there.
        arguments: the other arguments of `PerturbationGradientLoss`.

    Examples:
        >>> import difflayers, torch
        >>> difflayers.functional.perturbation_gradient_loss(
        ...     difflayers.solvers.TopK(1),
        ...     torch.tensor([[3.0, 1.0, 2.0]]),
        ...     true_costs=torch.tensor([[1.0, 2.0, 4.0]]),
        ...     step=2.0,
        ...     batched=True,
        ... )
        tensor(3.5000)
    """
    loss = PerturbationGradientLoss(solver, **arguments)
    return loss(costs, true_costs=true_costs, context=context, return_solution=return_solution)
