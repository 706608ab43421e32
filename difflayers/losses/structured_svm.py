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
    """The structured hinge max_y α Δ(y, y*) + ⟨ĉ, y* − y⟩ for 0/1 solutions, Δ their Hamming distance.

    It is convex in ĉ, never below α Δ(W(ĉ), y*), and zero once y* is cheaper than every other solution by α
    times its distance (margin rescaling). Against a 0/1 solution, Δ(y, y*) = Σ y* + ⟨1 − 2 y*, y⟩ is linear
    in y, so that the maximum is the solver's answer ỹ = W(ĉ − α (1 − 2 y*)). The gradient is y* − ỹ.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`; an exact one for the bound to hold. It
            must be able to deal with negative costs, since the augmentation lowers those outside y*.
        margin: α, positive, in units of cost.
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`.
    """

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
            costs: predicted costs, a tensor (B, *shape), or several for a solver that takes several.
            true_solutions: y* with entries 0 and 1, the same number and shapes.
            context: one object an instance, handed to the solver as its last argument.
            return_solution: whether to return the loss-augmented solution ỹ too.

        Returns:
            The loss, or with `return_solution` a pair of it and ỹ.

        Raises:
            TypeError, ValueError: tensors that do not fit each other, or have a NaN or infinite value; true
                solutions other than 0 and 1.
            SolverError: the solver failed, or returned something that is no solution.
        """
        return self.compare(
            costs, context=context, return_solution=return_solution, true_solutions=true_solutions
        )

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss of each instance and the loss-augmented solution."""
        best = call.targets["true_solutions"]
        for index, solution in enumerate(best):
            row = first_row((solution != 0) & (solution != 1))
            if row is not None:
                raise ValueError(f"true_solutions[{index}] has a value other than 0 and 1 in instance {row}")
        slopes = [self.margin * (1 - 2 * solution) for solution in best]
        augmented = [cost - slope for cost, slope in zip(call.costs, slopes, strict=True)]
        solutions = call.solve(augmented, "with the loss-augmented costs")
        gaps = [there - here for there, here in zip(best, solutions, strict=True)]
        call.save(*gaps)
        # ⟨slope, y*⟩ is −α Σ y*, so that this is ⟨ĉ, y* − ỹ⟩ + α Δ(ỹ, y*).
        return [inner(augmented, gaps), *solutions]

    def extra_repr(self) -> str:
        """Describe the loss in `print(model)`."""
        return f"margin={self.margin:g}, reduction={self.reduction!r}"


def structured_svm_loss(
    solver: Solver,
    costs: Tensors,
    *,
    true_solutions: Tensors,
    margin: float = 1.0,
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    reduction: LossReduction = "mean",
    **options: Unpack[SolveOptions],
) -> Any:
    """Compare costs with wanted solutions: `StructuredSVMLoss` as a function, with the same arguments."""
    loss = StructuredSVMLoss(solver, margin, reduction, **options)
    return loss(costs, true_solutions=true_solutions, context=context, return_solution=return_solution)
