"""Regret: what decisions for predicted costs truly cost beyond the best ones."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import torch
from torch import Tensor

from difflayers._arguments import one_of
from difflayers.engine.autograd import LossReduction, measuring
from difflayers.engine.batch import BatchSolver
from difflayers.engine.options import SolveOptions
from difflayers.engine.solving import only
from difflayers.losses.base import Tensors, inner, matched, several
from difflayers.solver import Solver

_CLEARLY = 1e-5
"""The share of what is paid below which a negative regret may be rounding."""


class RegretSummary(NamedTuple):
    """The regret of a data set.

    Attributes:
        mean: the mean regret an instance, in units of cost.
        normalized: the sum of regrets over the sum of the absolute optima, without unit.
        instances: how many were counted.
        failed: how many were not, because `on_failure` took them out.
    """

    mean: float
    normalized: float
    instances: int
    failed: int


class Regret:
    """Accumulates regret over the batches of a data set.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`; an exact one for regret not to be
            negative.
        options: how the solver is run, see `SolveOptions`.
    """

    def __init__(self, solver: Solver, **options: Unpack[SolveOptions]) -> None:
        self.solver: BatchSolver = BatchSolver(solver, **options)
        self.reset()

    def update(
        self,
        costs: Tensors,
        *,
        true_costs: Tensors,
        true_solutions: Tensors | None = None,
        context: Sequence[Any] | None = None,
    ) -> Any:
        """Add a batch, with the arguments of `regret`; returns the solutions W(ĉ) that were judged."""
        regrets, optima, solutions = _measure(self.solver, costs, true_costs, true_solutions, context)
        counted = ~regrets.isnan()
        self._regret += float(regrets[counted].sum())
        self._optimum += float(optima[counted].abs().sum())
        self._instances += int(counted.sum())
        self._failed += int((~counted).sum())
        return only(solutions)

    def compute(self) -> RegretSummary:
        """Return the regret of all batches since the start or the last `reset`.

        Raises ValueError where there is no instance, or all optima are zero and nothing to be divided by.
        """
        if self._instances == 0:
            raise ValueError(f"no instance to compute regret of ({self._failed} failed)")
        return RegretSummary(
            self._regret / self._instances,
            _ratio(self._regret, self._optimum),
            self._instances,
            self._failed,
        )

    def reset(self) -> None:
        """Forget all batches."""
        self._regret = self._optimum = 0.0
        self._instances = self._failed = 0


def regret(
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
    """Return the regret ⟨c, W(ĉ)⟩ − ⟨c, y*⟩ of decisions for predicted costs ĉ under true costs c.

    A solver that maximises has the opposite sign, so that regret is never negative where y* is the best.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        costs: predicted costs, a tensor (B, *shape), or several for a solver that takes several.
        true_costs: true costs, the same number and shapes.
        true_solutions: the solutions y* of the true costs, likewise; solved for where they are not given.
        context: one object an instance, handed to the solver as its last argument.
        return_solution: whether to return the solutions W(ĉ) too.
        reduction: "mean", "sum", or "none" for (B,), where failed instances (see `on_failure`) have NaN.
        options: how the solver is run, see `SolveOptions`.

    Returns:
        float64, without a gradient; the mean of no instance is NaN. With `return_solution` a pair.
    """
    one_of("reduction", reduction, LossReduction)
    solve = BatchSolver(solver, **options)
    regrets, _, solutions = _measure(solve, costs, true_costs, true_solutions, context)
    reduced = {"none": regrets, "sum": regrets.nansum(), "mean": regrets.nanmean()}[reduction]
    return (reduced, only(solutions)) if return_solution else reduced


def normalized_regret(
    solver: Solver,
    costs: Tensors,
    *,
    true_costs: Tensors,
    true_solutions: Tensors | None = None,
    context: Sequence[Any] | None = None,
    **options: Unpack[SolveOptions],
) -> float:
    """Return the sum of the batch's regrets over the sum of its absolute optima |⟨c, y*⟩|; see `regret`.

    Raises ValueError where all optima are zero. Over several batches, `Regret` adds up both sums.
    """
    solve = BatchSolver(solver, **options)
    regrets, optima, _ = _measure(solve, costs, true_costs, true_solutions, context)
    counted = ~regrets.isnan()
    return _ratio(float(regrets[counted].sum()), float(optima[counted].abs().sum()))


def _measure(
    solver: BatchSolver,
    costs: Tensors,
    true_costs: Tensors,
    true_solutions: Tensors | None,
    context: Sequence[Any] | None,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return regrets, optima (B,) in float64, NaN where the solver failed, and the solutions."""
    predicted = several(costs)
    groups = matched(predicted, {"true_costs": true_costs, "true_solutions": true_solutions})
    with measuring(solver, predicted, context, groups) as call:
        best = call.targets.get("true_solutions")
        if best is not None:
            solutions = call.solve()
        else:
            pairs = [torch.stack(pair) for pair in zip(call.costs, call.targets["true_costs"], strict=True)]
            both = call.solve(pairs, ["", "at the true costs"])
            solutions, best = [pair[0] for pair in both], [pair[1] for pair in both]
        # The true costs as they were given: predictions in float32 do not make them less exact.
        given = [true.to(y.device).double() for true, y in zip(groups["true_costs"], solutions, strict=True)]
        truth = solver.oriented(given)
        optima = inner(truth, best)
        regrets = inner(truth, solutions) - optima
        if call.failed is not None:
            regrets, optima = (each.masked_fill(call.failed, torch.nan) for each in (regrets, optima))
        _warn_if_negative(regrets, inner([true.abs() for true in truth], [y.abs() for y in best]))
        return regrets, optima, solutions


def _warn_if_negative(regrets: Tensor, paid: Tensor) -> None:
    """Warn if the regrets (B,) add up to a negative number, clearly so beside the costs that are paid."""
    if regrets.nansum() < -_CLEARLY * paid.nansum():
        warnings.warn(
            f"the regrets of this batch add up to {float(regrets.nansum()):g}: decisions for predicted costs "
            "are better than those for true costs. Look at `maximize`, which must say what the solver does, "
            "and at `true_solutions`, which must be the best",
            RuntimeWarning,
            stacklevel=4,  # the caller of `regret`, `normalized_regret` or `Regret.update`
        )


def _ratio(regrets: float, optima: float) -> float:
    if optima == 0:
        raise ValueError("all optima are zero: regret cannot be normalised by them")
    return regrets / optima
