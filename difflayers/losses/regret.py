"""Regret: what decisions for predicted costs truly cost beyond the best ones."""

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import torch
from torch import Tensor

from difflayers._arguments import one_of
from difflayers.engine.autograd import LossReduction, measuring
from difflayers.engine.batch import BatchSolver
from difflayers.engine.instances import each, flat
from difflayers.engine.options import SolveOptions
from difflayers.engine.solving import only
from difflayers.losses.base import Tensors, inner, matched, several
from difflayers.solver import Solver

_CLEARLY = 1e-5
"""The share of what is paid below which a negative regret may be rounding."""
_TIED = 1e-6
"""ε for costs of largest entries 1."""


class RegretSummary(NamedTuple):
    """The regret of a data set.

    Attributes:
        mean: the mean regret per instance, in units of cost.
        normalized: the sum of regrets over the sum of the absolute optima, without unit.
        instances: the number of instances that were counted.
        failed: the number of instances that `on_failure` took out.

    Examples:
        >>> RegretSummary(mean=0.5, normalized=0.25, instances=2, failed=0).normalized
        0.25
    """

    mean: float
    normalized: float
    instances: int
    failed: int


class Regret:
    """Accumulates regret over the batches of a data set.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`. Regret is never negative if the solver
            is exact.
        unambiguous: whether to judge by the worst of the solutions that are equally cheap for the predicted
            costs, see `regret`.
        options: how the solver is run, see `SolveOptions`.

    Examples:
        >>> import difflayers
        >>> metric = Regret(difflayers.solvers.TopK(1), batched=True)
        >>> costs, true_costs = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[1.0, 2.0, 3.0]])
        >>> metric.update(costs, true_costs=true_costs)
        tensor([[0., 1., 0.]])
        >>> metric.compute()
        RegretSummary(mean=1.0, normalized=1.0, instances=1, failed=0)
    """

    def __init__(self, solver: Solver, unambiguous: bool = False, **options: Unpack[SolveOptions]) -> None:
        self.solver: BatchSolver = BatchSolver(solver, **options)
        self.unambiguous: bool = unambiguous
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
        regrets, optima, solutions = _measure(
            self.solver, costs, true_costs, true_solutions, context, self.unambiguous
        )
        counted = ~regrets.isnan()
        self._regret += float(regrets[counted].sum())
        self._optimum += float(optima[counted].abs().sum())
        self._instances += int(counted.sum())
        self._failed += int((~counted).sum())
        return only(solutions)

    def compute(self) -> RegretSummary:
        """Return the regret of all batches since the start or the last `reset`.

        Raises:
            ValueError: there is no instance, or all optima are zero, so that they cannot be divided by.
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
    unambiguous: bool = False,
    **options: Unpack[SolveOptions],
) -> Any:
    """Return the regret ⟨c, W(ĉ)⟩ − ⟨c, y*⟩ of decisions for predicted costs ĉ under true costs c.

    For a solver that maximizes the sign is the opposite, so that regret is never negative if y* is the best.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        costs: predicted costs, a tensor (B, *shape), or several for a solver that takes several.
        true_costs: true costs, the same number and shapes.
        true_solutions: the solutions y* of the true costs, likewise; solved for if they are not given.
        context: one object per instance, which the solver gets as its last argument.
        return_solution: whether to return the solutions W(ĉ) too.
        reduction: "mean", "sum", or "none" for (B,), where failed instances (see `on_failure`) have NaN.
        unambiguous: whether to judge by the worst of the solutions that are equally cheap for the predicted
            costs, instead of the one that the solver happens to return (Elmachtoub and Grigas, Management
            Science 2022, Definition 2). The solver then gets ĉ − ε c in float64 for a small ε, so that
            solutions count as equally cheap whose costs differ by about a millionth of the largest one.
        options: how the solver is run, see `SolveOptions`.

    Returns:
        float64, without a gradient; the mean of no instance is NaN. With `return_solution` a pair.

    Raises:
        TypeError, ValueError: tensors do not fit each other, or have a NaN or infinite value.
        SolverError: the solver failed, or returned something that is no solution.

    Warns:
        RuntimeWarning: the regrets add up to a negative number.

    Examples:
        >>> import difflayers, torch
        >>> solver, true_costs = difflayers.solvers.TopK(1), torch.tensor([[1.0, 2.0, 4.0]])
        >>> difflayers.functional.regret(
        ...     solver, torch.tensor([[3.0, 1.0, 2.0]]), true_costs=true_costs, batched=True
        ... ).item()
        1.0
        >>> tied = torch.tensor([[1.0, 1.0, 1.0]])
        >>> difflayers.functional.regret(
        ...     solver, tied, true_costs=true_costs, unambiguous=True, batched=True
        ... ).item()
        3.0
    """
    one_of("reduction", reduction, LossReduction)
    solve = BatchSolver(solver, **options)
    regrets, _, solutions = _measure(solve, costs, true_costs, true_solutions, context, unambiguous)
    reduced = {"none": regrets, "sum": regrets.nansum(), "mean": regrets.nanmean()}[reduction]
    return (reduced, only(solutions)) if return_solution else reduced


def normalized_regret(
    solver: Solver,
    costs: Tensors,
    *,
    true_costs: Tensors,
    true_solutions: Tensors | None = None,
    context: Sequence[Any] | None = None,
    unambiguous: bool = False,
    **options: Unpack[SolveOptions],
) -> float:
    """Return the sum of the batch's regrets over the sum of its absolute optima |⟨c, y*⟩|; see `regret`.

    `Regret` adds up both sums over several batches.

    Raises:
        ValueError: all optima are zero; otherwise as `regret`.

    Examples:
        >>> import difflayers, torch
        >>> difflayers.functional.normalized_regret(
        ...     difflayers.solvers.TopK(1),
        ...     torch.tensor([[3.0, 1.0, 2.0]]),
        ...     true_costs=torch.tensor([[4.0, 5.0, 6.0]]),
        ...     batched=True,
        ... )
        0.25
    """
    solve = BatchSolver(solver, **options)
    regrets, optima, _ = _measure(solve, costs, true_costs, true_solutions, context, unambiguous)
    counted = ~regrets.isnan()
    return _ratio(float(regrets[counted].sum()), float(optima[counted].abs().sum()))


def _measure(
    solver: BatchSolver,
    costs: Tensors,
    true_costs: Tensors,
    true_solutions: Tensors | None,
    context: Sequence[Any] | None,
    unambiguous: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return, where the costs are, regrets, optima (B,) in float64, NaN if solving failed, and solutions."""
    predicted = several(costs)
    groups = matched(predicted, {"true_costs": true_costs, "true_solutions": true_solutions})
    with measuring(solver, predicted, context, groups) as call:
        best, truth = call.targets.get("true_solutions"), call.targets["true_costs"]
        asked = _worst_first(call.costs, truth) if unambiguous else call.costs
        if best is not None:
            solutions = call.solve(asked)
        else:
            others = [there.to(here) for here, there in zip(asked, truth, strict=True)]
            solutions, best = call.solve_several([asked, others], ["", "at the true costs"])
        # The true costs as they were given: predictions in float32 do not make them less exact.
        given = [true.to(y.device).double() for true, y in zip(groups["true_costs"], solutions, strict=True)]
        truth = solver.oriented(given)
        solutions, best = ([y.double() for y in parts] for parts in (solutions, best))
        optima = inner(truth, best)
        regrets = inner(truth, solutions) - optima
        if call.failed is not None:
            regrets, optima = (part.masked_fill(call.failed, torch.nan) for part in (regrets, optima))
        _warn_if_negative(regrets, inner([true.abs() for true in truth], [y.abs() for y in best]))
        there = predicted[0].device
        solutions = [y.to(there, cost.dtype) for y, cost in zip(solutions, call.costs, strict=True)]
        return regrets.to(there), optima.to(there), solutions


def _worst_first(costs: Sequence[Tensor], true_costs: Sequence[Tensor]) -> list[Tensor]:
    """Return ĉ − ε c, for which the truly worst of the cheapest solutions is the cheapest."""
    predicted, true = ([part.double() for part in parts] for parts in (costs, true_costs))
    largest, other = (
        torch.stack([flat(part).norm(torch.inf, dim=1) for part in parts]).amax(0)
        for parts in (predicted, true)
    )
    steps = _TIED * torch.where(largest > 0, largest, 1) / torch.where(other > 0, other, 1)
    return [here - each(steps, here) * there for here, there in zip(predicted, true, strict=True)]


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
        raise ValueError("all optima are zero: regret cannot be normalized by them")
    return regrets / optima
