"""SPO+: a convex upper bound of the regret.

Elmachtoub and Grigas, Smart "Predict, then Optimize", Management Science 68(1), 2022.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from difflayers.engine.call import Call
from difflayers.losses.base import SolverLoss, Tensors, inner
from difflayers.solver import Solver


class SPOPlusLoss(SolverLoss):
    """The SPO+ loss ⟨2ĉ − c, y* − W(2ĉ − c)⟩ of predicted costs ĉ, true costs c and y* = W(c).

    The loss is convex in ĉ, never below the regret ⟨c, W(ĉ) − y*⟩, and zero at ĉ = c (Definition 3 there).
    Its gradient is the subgradient 2 (y* − W(2ĉ − c)).

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`. The above holds if the solver is exact,
            also for negative costs, which 2ĉ − c has where ĉ is below c / 2: a solver that clips negative
            costs makes losses below the regret, and below 0.
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`.

    Examples:
        >>> import difflayers, torch
        >>> loss = difflayers.losses.SPOPlusLoss(difflayers.solvers.TopK(1), batched=True)
        >>> costs = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
        >>> loss(costs, true_costs=torch.tensor([[1.0, 2.0, 3.0]])).backward()
        >>> costs.grad.tolist()
        [[2.0, -2.0, 0.0]]
    """

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
            costs: predicted costs ĉ, a tensor (B, *shape), or several for a solver that takes several.
            true_costs: c, the same number and shapes.
            true_solutions: y*, likewise. If they are not given, the loss solves for them, which doubles the
                work.
            context: see `SolverLoss.compare`, like the result and the errors.
            return_solution: whether to return W(2ĉ − c) too.
        """
        truth = {"true_costs": true_costs, "true_solutions": true_solutions}
        return self.compare(costs, context=context, return_solution=return_solution, **truth)

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss per instance and W(2ĉ − c)."""
        truth, best = call.targets["true_costs"], call.targets.get("true_solutions")
        reflected = [2 * cost - true for cost, true in zip(call.costs, truth, strict=True)]
        if best is not None:
            solutions = call.solve(reflected, "at 2ĉ − c")
        else:
            solutions, best = call.solve_several([reflected, truth], ["at 2ĉ − c", "at the true costs"])
        gaps = [there - here for there, here in zip(best, solutions, strict=True)]
        call.save(*(2 * gap for gap in gaps))
        return [inner(reflected, gaps), *solutions]


def spo_plus_loss(
    solver: Solver,
    costs: Tensors,
    *,
    true_costs: Tensors,
    true_solutions: Tensors | None = None,
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    **arguments: Any,
) -> Any:
    """Compare predicted with true costs: `SPOPlusLoss` as a function.

    Args:
        solver: see `SPOPlusLoss`.
        costs: see `SPOPlusLoss.forward`.
        true_costs: see there.
        true_solutions: see there.
        context: see there.
        return_solution: see there.
        arguments: the other arguments of `SPOPlusLoss`.

    Examples:
        >>> import difflayers, torch
        >>> difflayers.functional.spo_plus_loss(
        ...     difflayers.solvers.TopK(1),
        ...     torch.tensor([[3.0, 1.0, 2.0]]),
        ...     true_costs=torch.tensor([[1.0, 2.0, 3.0]]),
        ...     batched=True,
        ... )
        tensor(5.)
    """
    truth = {"true_costs": true_costs, "true_solutions": true_solutions}
    loss = SPOPlusLoss(solver, **arguments)
    return loss(costs, context=context, return_solution=return_solution, **truth)
