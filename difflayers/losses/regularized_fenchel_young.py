"""The Fenchel–Young loss of a solver with quadratic regularization, for imitating given solutions.

Blondel, Martins and Niculae, Learning with Fenchel–Young Losses, JMLR 21, 2020, Definition 2; with the
Frank–Wolfe algorithm on top of a solver: Dalle et al., Learning with Combinatorial Optimization Layers,
arXiv 2207.13513, 2022.
"""

from collections.abc import Sequence
from typing import Any, Unpack

from torch import Tensor

from difflayers._arguments import count, positive
from difflayers.engine.autograd import LossReduction
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.layers.regularized import mix, points
from difflayers.losses.base import SolverLoss, Tensors, inner
from difflayers.solver import Solver


class RegularizedFenchelYoungLoss(SolverLoss):
    """The Fenchel–Young loss of ŷ(ĉ), the minimizer of ⟨ĉ, y⟩ + (ω/2) ‖y‖² over the solutions' convex hull.

    The loss is ⟨ĉ, y*⟩ + (ω/2) ‖y*‖² − min_y (⟨ĉ, y⟩ + (ω/2) ‖y‖²). It is convex in ĉ and, for a y* that is
    feasible or a mean of feasible solutions, not negative; it is zero exactly if ŷ(ĉ) = y*. Its gradient is
    y* − ŷ(ĉ). `RegularizedLayer` says how ŷ is found. With a solver that picks one of n items, this is ω
    times the sparsemax loss of −ĉ/ω.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`; the above holds if the solver is exact.
        strength: ω, positive, in units of cost.
        iterations: how many times the solver is asked per instance, at most.
        tolerance: see `RegularizedLayer`.
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> import difflayers, torch
        >>> solver = difflayers.solvers.TopK(1)
        >>> loss = difflayers.losses.RegularizedFenchelYoungLoss(solver, strength=2.0, batched=True)
        >>> costs = torch.tensor([[1.0, 1.0, 5.0]], requires_grad=True)
        >>> loss(costs, true_solutions=torch.tensor([[1.0, 0.0, 0.0]])).backward()
        >>> costs.grad.tolist()  # ŷ is half of item 0 and half of item 1
        [[0.5, -0.5, 0.0]]
    """

    shown = ("strength", "iterations", "tolerance")

    def __init__(
        self,
        solver: Solver,
        strength: float = 1.0,
        iterations: int = 100,
        tolerance: float = 1e-9,
        reduction: LossReduction = "mean",
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__(solver, reduction, **options)
        self.strength: float = positive("strength", strength)
        self.iterations: int = count("iterations", iterations)
        self.tolerance: float = positive("tolerance", tolerance)

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
            true_solutions: y*, the same number and shapes; feasible, or means of feasible solutions.
            context: see `SolverLoss.compare`, like the result and the errors.
            return_solution: whether to return ŷ(ĉ) too.
        """
        return self.compare(
            costs, context=context, return_solution=return_solution, true_solutions=true_solutions
        )

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss per instance, and ŷ."""
        best = call.targets["true_solutions"]
        mixed = points(call, mix(call, self.strength, self.iterations, self.tolerance))
        gaps = [there - here for there, here in zip(best, mixed, strict=True)]
        # ⟨ĉ, y* − ŷ⟩ + (ω/2) (‖y*‖² − ‖ŷ‖²), as one inner product with y* − ŷ.
        slopes = [
            cost + self.strength / 2 * (there + here)
            for cost, there, here in zip(call.costs, best, mixed, strict=True)
        ]
        call.save(*gaps)
        return [inner(slopes, gaps), *mixed]


def regularized_fenchel_young_loss(
    solver: Solver,
    costs: Tensors,
    *,
    true_solutions: Tensors,
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    **arguments: Any,
) -> Any:
    """Compare predicted costs with solutions: `RegularizedFenchelYoungLoss` as a function.

    Args:
        solver: see `RegularizedFenchelYoungLoss`.
        costs: see `RegularizedFenchelYoungLoss.forward`.
        true_solutions: see there.
        context: see there.
        return_solution: see there.
        arguments: the other arguments of `RegularizedFenchelYoungLoss`.

    Examples:
        >>> import difflayers, torch
        >>> difflayers.functional.regularized_fenchel_young_loss(
        ...     difflayers.solvers.TopK(1),
        ...     torch.tensor([[1.0, 1.0, 5.0]]),
        ...     true_solutions=torch.tensor([[1.0, 0.0, 0.0]]),
        ...     strength=2.0,
        ...     batched=True,
        ... )
        tensor(0.5000)
    """
    loss = RegularizedFenchelYoungLoss(solver, **arguments)
    return loss(costs, true_solutions=true_solutions, context=context, return_solution=return_solution)
