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

    All three are convex in ĉ and need no true solutions; true solutions that are given enter the pool. The
    pool also holds what the solver found for predicted costs in those steps in which it was called, see
    `SolutionPool`.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        kind: "pointwise", "pairwise" or "listwise".
        margin: ν of "pairwise", in units of cost, not negative.
        temperature: τ of "listwise", in units of cost, positive: about as large as the differences in cost
            that matter.
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`. `pool` is a new `SolutionPool()` by default.

    The pool is part of the `state_dict`.

    Examples:
        >>> import difflayers, torch
        >>> loss = difflayers.losses.RankingLoss(
        ...     difflayers.solvers.TopK(1), kind="pairwise", margin=0.5, batched=True
        ... )
        >>> costs, true_costs = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[1.0, 2.0, 3.0]])
        >>> loss(costs, true_costs=true_costs, true_solutions=torch.tensor([[1.0, 0.0, 0.0]]))
        tensor(2.5000)
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
            raise ValueError(f"margin must be finite and not negative, got {margin}")
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
        """Compare predicted with true costs.

        Args:
            costs: predicted costs ĉ, a tensor (B, *shape), or several for a solver that takes several.
            true_costs: c, the same number and shapes.
            true_solutions: y*, likewise; if they are given, they enter the pool.
            context: see `SolverLoss.compare`, like the result and the errors.
            return_solution: whether to return W(ĉ), or in a step without solver the best of the pool, too.
        """
        truth = {"true_costs": true_costs, "true_solutions": true_solutions}
        return self.compare(costs, context=context, return_solution=return_solution, **truth)

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss per instance and the solution."""
        solutions = call.solve()
        if "true_solutions" in call.targets:
            call.remember(call.targets["true_solutions"])
        losses, gradients = weigh_pool(call, call.targets["true_costs"], getattr(self, f"_{self.kind}"))
        call.save(*gradients)
        return [losses, *solutions]

    @property
    def shown(self) -> tuple[str, ...]:  # type: ignore[override]
        """The kind, and the number that this kind has."""
        return ("kind", *{"pairwise": ("margin",), "listwise": ("temperature",)}.get(self.kind, ()))

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
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    **arguments: Any,
) -> Any:
    """Compare predicted with true costs: `RankingLoss` as a function.

    The `pool` must be given and kept, because a new pool has seen nothing.

    Args:
        solver: see `RankingLoss`.
        costs: see `RankingLoss.forward`.
        true_costs: see there.
        true_solutions: see there.
        context: see there.
        return_solution: see there.
        arguments: the other arguments of `RankingLoss`.

    Examples:
        >>> import difflayers, torch
        >>> pool = difflayers.SolutionPool()
        >>> difflayers.functional.ranking_loss(
        ...     difflayers.solvers.TopK(1),
        ...     torch.tensor([[3.0, 1.0, 2.0]]),
        ...     true_costs=torch.tensor([[1.0, 2.0, 3.0]]),
        ...     true_solutions=torch.tensor([[1.0, 0.0, 0.0]]),
        ...     kind="pairwise",
        ...     margin=0.5,
        ...     pool=pool,
        ...     batched=True,
        ... )
        tensor(2.5000)
    """
    truth = {"true_costs": true_costs, "true_solutions": true_solutions}
    loss = RankingLoss(solver, **kept_pool(arguments))
    return loss(costs, context=context, return_solution=return_solution, **truth)
