"""The one way from an estimator or loss to autograd, so that each of them is only its mathematics."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from difflayers.engine.batch import BatchSolver
from difflayers.engine.call import Call, Estimator, Plan
from difflayers.engine.checks import check_call
from difflayers.engine.compiler import is_exporting, outside_compiler
from difflayers.engine.functions import Eager, Transformed, transforms
from difflayers.engine.parallel import active_backend
from difflayers.engine.passes import opened, without_autocast

LossReduction = Literal["mean", "sum", "none"]

# Older compilers (2.4, 2.6 and 2.11 were tried) cannot make a constant of a module, as the operator does.
COMPILED_WHOLE = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 13)


def differentiate(
    estimator: Estimator,
    costs: Sequence[Tensor],
    context: Sequence[Any] | None = None,
    targets: Mapping[str, Sequence[Tensor]] | None = None,
    loss: bool = False,
    solutions: bool = True,
) -> list[Tensor]:
    """Apply an estimator or loss to a batch, differentiably in the costs.

    Args:
        estimator: what computes the outputs and their gradients.
        costs: one or several tensors (B, *shape) of any floating dtype, on any device.
        context: one object per instance, or None.
        targets: further tensors (B, …) by name, one per cost, not differentiated, for `Call.targets`. Those
            named "true_costs" have the sense of the costs.
        loss: whether the first output is a loss (B,); the others, solutions, then have no gradient.
        solutions: whether a loss returns its solutions; without them an eager call takes less time.

    Returns:
        The estimator's outputs on the device of the costs: solutions in the dtype of their costs, a loss in
        float64 for costs in float64 and in float32 otherwise.

    Raises:
        TypeError, ValueError: see `check_call`; a NaN in costs or targets.
        SolverError: see `Call.solve`.
        NotImplementedError: a second derivative was asked for, or the model is exported.
    """
    # As `estimator.solver`, for which nn.Module searches as long as a small solve takes.
    solver: BatchSolver = estimator._modules["solver"]  # type: ignore[attr-defined]
    plan, tensors = _planned(solver, estimator, costs, context, targets, loss, solutions)
    outputs: Sequence[Tensor]
    if not torch.compiler.is_compiling():
        function = Transformed if transforms() else Eager
        outputs = function.apply(plan, *tensors)
    elif is_exporting():
        raise NotImplementedError(
            f"{type(estimator).__name__} cannot be exported: torch.export stores tensors, and the solver is "
            "Python code. Export the network in front of the layer, and call the solver on its output"
        )
    elif context is None and not solver.warm_start and COMPILED_WHOLE:
        from difflayers.engine import compiled  # here, since it imports the compiler, which takes a second

        outputs = compiled.apply(plan, tensors)
    else:
        outputs = _outside_the_graph(plan, tensors)
    results = list(outputs[: len(costs) + loss if solutions else 1])
    for place, like in enumerate([tensors[0], *costs] if loss else costs):
        if place < len(results) and results[place].dtype != like.dtype:
            results[place] = results[place].to(like.dtype)
    return results


@contextlib.contextmanager
def measuring(
    solver: BatchSolver,
    costs: Sequence[Tensor],
    context: Sequence[Any] | None = None,
    targets: Mapping[str, Sequence[Tensor]] | None = None,
) -> Iterator[Call]:
    """Open a call that nothing is differentiated of; arguments and errors are those of a loss.

    Inside the `with` block there are no gradients and no autocast.
    """
    plan, tensors = _planned(solver, None, costs, context, targets, loss=bool(targets))
    with torch.no_grad(), without_autocast(tensors[0].device):
        yield opened(plan, tensors)


def _planned(
    solver: BatchSolver,
    estimator: Estimator | None,
    costs: Sequence[Tensor],
    context: Sequence[Any] | None,
    targets: Mapping[str, Sequence[Tensor]] | None,
    loss: bool,
    solutions: bool = True,
) -> tuple[Plan, list[Tensor]]:
    """Check the arguments of a call; return its plan and its tensors, with costs to minimize."""
    groups = targets or {}
    others: list[Tensor] = []
    for name, group in groups.items():
        others += solver.oriented(_signed(group)) if name == "true_costs" else group
    check_call(costs, others, context)
    # Rounding to half precision stays in torch: a solution rounded to bfloat16 would look changed.
    exact = list(costs)
    for index, cost in enumerate(costs):
        if cost.dtype not in (torch.float32, torch.float64):
            exact[index] = cost.float()
    if solver.maximize:
        exact = solver.oriented(exact)
    backend = active_backend() if solver.n_jobs != 1 and not torch.compiler.is_compiling() else None
    plan = Plan(solver, estimator, len(costs), tuple(groups), loss, solutions, context, backend)
    return plan, exact + others


@outside_compiler
def _outside_the_graph(plan: Plan, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Break the graph where a call has more than tensors (contexts, starts), and in older releases of torch.

    With fullgraph=True the compiler raises an error here.
    """
    outputs: tuple[Tensor, ...] = Eager.apply(plan, *tensors)
    return outputs


def _signed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Make whole numbers floats, because the negative of an unsigned number wraps."""
    return [t if t.is_floating_point() or t.is_complex() else t.double() for t in tensors]


def reduce_losses(losses: Tensor, reduction: LossReduction, skips: bool = True) -> Tensor:
    """Reduce the losses (B,) of a batch.

    Args:
        losses: one loss per instance.
        reduction: "mean", "sum", or "none".
        skips: whether NaN marks instances that `on_failure="skip"` took out, which are in no mean or sum. If
            all are taken out, the result is 0, and its gradient too.
    """
    if reduction == "none":
        return losses
    if not skips:
        return losses.sum() if reduction == "sum" else losses.mean()
    total = losses.nansum()
    return total if reduction == "sum" else total / (~losses.isnan()).sum().clamp(min=1)
