"""The structured hinge loss, for imitating given solutions with a margin.

Tsochantaridis et al., Large Margin Methods for Structured and Interdependent Output Variables, JMLR 2005.
"""

from collections.abc import Sequence
from typing import Any, Unpack

from torch import Tensor

from difflayers._arguments import positive
from difflayers.engine.autograd import LossReduction
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.losses.base import SolverLoss, Tensors, first_row, inner
from difflayers.solver import Solver


class StructuredSVMLoss(SolverLoss):
    """The structured hinge max_y α Δ(y, y*) + ⟨ĉ, y* − y⟩ for 0/1 solutions, with their Hamming distance Δ.

    The loss is convex in ĉ, never below α Δ(W(ĉ), y*), and zero once y* is cheaper than every other solution
    by α times its distance (margin rescaling). For a 0/1 solution y*, Δ(y, y*) = Σ y* + ⟨1 − 2 y*, y⟩ is
    linear in y, so that the maximum is at the solver's answer ỹ = W(ĉ − α (1 − 2 y*)). The gradient is
    y* − ỹ.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`. The above holds if the solver is exact,
            also for negative costs, since the augmentation lowers the costs outside y*.
        margin: α, positive, in units of cost.
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`.

    Examples:
        >>> import difflayers, torch
        >>> loss = difflayers.losses.StructuredSVMLoss(difflayers.solvers.TopK(1), margin=1.0, batched=True)
        >>> costs = torch.tensor([[1.0, 2.5, 4.0]], requires_grad=True)
        >>> loss(costs, true_solutions=torch.tensor([[1.0, 0.0, 0.0]])).backward()
        >>> costs.grad.tolist()  # item 1 is dearer by 1.5, and should be by 2
        [[1.0, -1.0, 0.0]]
    """

    shown = ("margin",)

    def __init__(
        self,
        solver: Solver,
        margin: float = 1.0,
        reduction: LossReduction = "mean",
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__(solver, reduction, **options)
        self.margin: float = positive("margin", margin)

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
            true_solutions: y*, the same number and shapes; every entry must be 0 or 1.
            context: see `SolverLoss.compare`, like the result and the errors.
            return_solution: whether to return the loss-augmented solution ỹ too.
        """
        return self.compare(
            costs, context=context, return_solution=return_solution, true_solutions=true_solutions
        )

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss per instance and the loss-augmented solution."""
        best = call.targets["true_solutions"]
        for index, solution in enumerate(best):
            row = first_row((solution != 0) & (solution != 1))
            if row is not None:
                raise ValueError(
                    f"true_solutions[{index}] must be 0 or 1, got another value in instance {row}"
                )
        slopes = [self.margin * (1 - 2 * solution) for solution in best]
        augmented = [cost - slope for cost, slope in zip(call.costs, slopes, strict=True)]
        solutions = call.solve(augmented, "with the loss-augmented costs")
        gaps = [there - here for there, here in zip(best, solutions, strict=True)]
        call.save(*gaps)
        # ⟨slope, y*⟩ is −α Σ y*, so that this is ⟨ĉ, y* − ỹ⟩ + α Δ(ỹ, y*).
        return [inner(augmented, gaps), *solutions]


def structured_svm_loss(
    solver: Solver,
    costs: Tensors,
    *,
    true_solutions: Tensors,
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    **arguments: Any,
) -> Any:
    """Compare predicted costs with solutions: `StructuredSVMLoss` as a function.

    Args:
        solver: see `StructuredSVMLoss`.
        costs: see `StructuredSVMLoss.forward`.
        true_solutions: see there.
        context: see there.
        return_solution: see there.
        arguments: the other arguments of `StructuredSVMLoss`.

    Examples:
        >>> import difflayers, torch
        >>> difflayers.functional.structured_svm_loss(
        ...     difflayers.solvers.TopK(1),
        ...     torch.tensor([[1.0, 2.5, 4.0]]),
        ...     true_solutions=torch.tensor([[1.0, 0.0, 0.0]]),
        ...     batched=True,
        ... )
        tensor(0.5000)
    """
    loss = StructuredSVMLoss(solver, **arguments)
    return loss(costs, true_solutions=true_solutions, context=context, return_solution=return_solution)
