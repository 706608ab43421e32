"""Learning to rank: predicted costs should order the solutions seen before as true costs do.

Mandi et al., Decision-Focused Learning: Through the Lens of Learning to Rank, ICML 2022.
"""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from torch import Tensor

from difflayers._arguments import one_of, positive
from difflayers.engine.autograd import LossReduction
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.losses.base import SolverLoss, Tensors
from difflayers.losses.pooled import kept_pool, weigh_pool, with_pool
from difflayers.solver import Solver

Ranking = Literal["pointwise", "pairwise", "listwise"]


class RankingLoss(SolverLoss):
    """How differently predicted costs ĉ and true costs c order the K solutions v of a pool V.

        pointwise   mean of (⟨ĉ, v⟩ − ⟨c, v⟩)² over V
        pairwise    mean of max(0, ν + ⟨ĉ, b − v⟩) over V without b, the best of V under c
        listwise    −Σ_V p(v; c) log p(v; ĉ),   p(v; c) = exp(−⟨c, v⟩/τ) / Σ_V exp(−⟨c, ·⟩/τ)

    All are convex in ĉ and need no true solutions; those that are given enter the pool. It also has what the
    solver found for predicted costs in those steps in which it was called: with `SolutionPool(solve_ratio)`,
    that part of them.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        kind: "pointwise", "pairwise" or "listwise".
        margin: ν of "pairwise", in units of cost, not negative.
        temperature: τ of "listwise", in units of cost, positive: about the size of the differences in cost
            that should matter.
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`; a new `SolutionPool()`
            where no `pool` is given.

    The pool is part of the `state_dict`.
    """

    def __init__(
        self,
        solver: Solver,
        kind: Ranking = "listwise",
        margin: float = 0.0,
        temperature: float = 1.0,
        reduction: LossReduction = "mean",
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__(solver, reduction, **with_pool(options))
        if not 0 <= margin < float("inf"):
            raise ValueError(f"margin must be finite and not negative, but is {margin}")
        self.kind: Ranking = one_of("kind", kind, Ranking)
        self.margin: float = float(margin)
        self.temperature: float = positive("temperature", temperature)

    def forward(
        self,
        costs: Tensors,
        *,
        true_costs: Tensors,
        true_solutions: Tensors | None = None,
        context: Sequence[Any] | None = None,
        return_solution: bool = False,
    ) -> Any:
        """Compare the orders of the pool's solutions under predicted and true costs.

        Args:
            costs: predicted costs, a tensor (B, *shape), or several for a solver that takes several.
            true_costs: true costs, the same number and shapes.
            true_solutions: the solutions of the true costs, likewise, to be added to the pool.
            context: one object an instance, handed to the solver as its last argument.
            return_solution: whether to return W(ĉ) too, or, in a step without solver, the pool's best.

        Returns:
            The loss, or with `return_solution` a pair of it and the solution.

        Raises:
            TypeError, ValueError: tensors that do not fit each other, or have a NaN or infinite value.
            SolverError: the solver failed, or returned something that is no solution.
        """
        truth = {"true_costs": true_costs, "true_solutions": true_solutions}
        return self.compare(costs, context=context, return_solution=return_solution, **truth)

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss of each instance and the solution."""
        solutions = call.solve()
        if "true_solutions" in call.targets:
            call.remember(call.targets["true_solutions"])
        losses, gradients = weigh_pool(call, call.targets["true_costs"], getattr(self, f"_{self.kind}"))
        call.save(*gradients)
        return [losses, *solutions]

    def extra_repr(self) -> str:
        """Describe the loss in `print(model)`."""
        own = {"pairwise": f"margin={self.margin:g}, ", "listwise": f"temperature={self.temperature:g}, "}
        return f"kind={self.kind!r}, {own.get(self.kind, '')}reduction={self.reduction!r}"

    def _pointwise(self, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        errors = predicted - true
        return (errors**2).mean(1), 2 * errors / errors.shape[1]

    def _pairwise(self, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        best = true.argmin(1, keepdim=True)
        hinges = (self.margin + predicted.gather(1, best) - predicted).scatter_(1, best, 0).clamp_(min=0)
        pairs = max(hinges.shape[1] - 1, 1)
        active = (hinges > 0).to(hinges.dtype)
        weights = (-active).scatter_(1, best, active.sum(1, keepdim=True)) / pairs
        return hinges.sum(1) / pairs, weights

    def _listwise(self, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        wanted = (-true / self.temperature).softmax(1)
        logarithms = (-predicted / self.temperature).log_softmax(1)
        return -(wanted * logarithms).sum(1), (wanted - logarithms.exp()) / self.temperature


def ranking_loss(
    solver: Solver,
    costs: Tensors,
    *,
    true_costs: Tensors,
    true_solutions: Tensors | None = None,
    kind: Ranking = "listwise",
    margin: float = 0.0,
    temperature: float = 1.0,
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    reduction: LossReduction = "mean",
    **options: Unpack[SolveOptions],
) -> Any:
    """Compare orders of solutions: the functional form of `RankingLoss`, with the same arguments.

    The `pool` must be given and kept, since a new one has seen nothing.
    """
    return RankingLoss(solver, kind, margin, temperature, reduction, **kept_pool(options))(
        costs,
        true_costs=true_costs,
        true_solutions=true_solutions,
        context=context,
        return_solution=return_solution,
    )
