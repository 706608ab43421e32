"""The base of all losses: a loss only has to compute its value and its gradient."""

import functools
import operator
from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import numpy as np
from torch import Tensor

from difflayers._arguments import one_of
from difflayers.engine.autograd import LossReduction, differentiate, reduce_losses
from difflayers.engine.call import Call
from difflayers.engine.instances import each, flat
from difflayers.engine.module import SolverModule
from difflayers.engine.options import SolveOptions
from difflayers.engine.solving import only
from difflayers.solver import Solver

Tensors = Tensor | Sequence[Tensor]
"""One tensor (B, *shape), or one for each cost tensor of a solver that takes several."""


class SolverLoss(SolverModule):
    """A loss on predicted costs that asks a solver; a subclass computes its value and its gradient.

    A subclass defines `solve(call)`. This method returns the losses (B,) and behind them the solutions. It
    hands the derivative of the losses with respect to each of `call.costs` to `call.save`. `call.targets`
    holds what the loss compares with, by name. The base class multiplies by the incoming gradient.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`. `warm_start` is refused: a loss solves each
            problem once, so that there is no earlier solution to start from.

    Examples:
        >>> import difflayers, torch
        >>> class PerceptronLoss(difflayers.losses.SolverLoss):
        ...     "How much more the true solutions y* cost than the best ones: ⟨c, y* − W(c)⟩."
        ...     def solve(self, call):
        ...         solutions = call.solve()
        ...         gap = call.targets["true_solutions"][0] - solutions[0]
        ...         call.save(gap)
        ...         return [(call.costs[0] * gap).sum(1), *solutions]
        >>> costs = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
        >>> loss = PerceptronLoss(difflayers.solvers.TopK(1), batched=True)
        >>> loss(costs, true_solutions=torch.tensor([[0.0, 0.0, 1.0]])).item()
        1.0
    """

    shown: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that `print(model)` shows."""

    def __init__(
        self, solver: Solver, reduction: LossReduction = "mean", **options: Unpack[SolveOptions]
    ) -> None:
        if options.get("warm_start"):
            raise ValueError(
                f"warm_start must be False for {type(self).__name__}: it solves each instance once, "
                "so that there is no earlier solution to start from"
            )
        super().__init__(solver, **options)
        self.reduction: LossReduction = one_of("reduction", reduction, LossReduction)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compare predicted costs with targets, as `compare` does. A subclass may name its targets here."""
        return self.compare(*args, **kwargs)

    def compare(
        self,
        costs: Tensors,
        *,
        context: Sequence[Any] | None = None,
        return_solution: bool = False,
        **targets: Tensors | None,
    ) -> Any:
        """Compare predicted costs with targets.

        Args:
            costs: predicted costs, a tensor (B, *shape), or several for a solver that takes several.
            context: one object per instance, which the solver gets as its last argument.
            return_solution: whether to return the solution that the loss computed too.
            targets: what the loss compares with, by name, such as `true_costs` and `true_solutions`; each of
                the number and shapes of the costs, or None.

        Returns:
            The loss, or with `return_solution` a pair of it and the solution, or tuple of solutions.

        Raises:
            TypeError, ValueError: the number, dtypes or shapes of the tensors do not fit, or one has a NaN or
                infinite value.
            SolverError: the solver failed, or returned something that is no solution.
        """
        costs = several(costs)
        groups = matched(costs, targets)
        losses, *solutions = differentiate(self, costs, context, groups, loss=True, solutions=return_solution)
        reduced = reduce_losses(losses, self.reduction, skips=self.solver.on_failure == "skip")
        return (reduced, only(solutions)) if return_solution else reduced

    def extra_repr(self) -> str:
        """Describe the loss in `print(model)`."""
        values = [(name, getattr(self, name)) for name in (*self.shown, "reduction")]
        return ", ".join(f"{n}={v:g}" if isinstance(v, float) else f"{n}={v!r}" for n, v in values)

    def pull_back(self, call: Call, gradients: list[Tensor]) -> list[Tensor]:
        """Return the saved derivatives, multiplied by the incoming gradients (B,)."""
        (incoming,) = gradients
        return [each(incoming, saved) * saved for saved in call.saved]


def matched(costs: Sequence[Tensor], targets: dict[str, Tensors | None]) -> dict[str, list[Tensor]]:
    """Return the targets that are given, as lists of tensors that match the costs in number and shapes."""
    groups = {}
    for name, target in targets.items():
        if target is None:
            continue
        tensors = several(target, name)
        if len(tensors) != len(costs):
            raise ValueError(
                f"{name} must hold {len(costs)} tensors, one per cost tensor, got {len(tensors)}"
            )
        for index, (tensor, cost) in enumerate(zip(tensors, costs, strict=True)):
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{name}[{index}] must be a tensor, got a {type(tensor).__name__}")
            if isinstance(cost, Tensor) and tensor.shape != cost.shape:
                raise ValueError(
                    f"{name}[{index}] must have shape {tuple(cost.shape)}, as costs[{index}] has, "
                    f"got {tuple(tensor.shape)}"
                )
        groups[name] = tensors
    return groups


def several(tensors: Tensors, name: str = "costs") -> list[Tensor]:
    """Return one tensor, or a list or tuple of tensors, as a list; raises TypeError for anything else."""
    if isinstance(tensors, Tensor):
        return [tensors]
    if not isinstance(tensors, list | tuple):
        advice = ": torch.from_numpy makes a tensor of it" if isinstance(tensors, np.ndarray) else ""
        raise TypeError(
            f"{name} must be a tensor, or a list of one tensor per cost tensor, "
            f"got a {type(tensors).__name__}{advice}"
        )
    return list(tensors)


def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    """Return Σ ⟨left, right⟩ over the tensors (M, *shape) of several costs, as (M,)."""
    return functools.reduce(operator.add, (flat(a * b).sum(1) for a, b in zip(left, right, strict=True)))


def first_row(bad: Tensor) -> int | None:
    """Return the first instance of (B, *shape) where `bad` is true anywhere, or None."""
    rows = bad.nonzero()
    return int(rows[0, 0]) if len(rows) else None
