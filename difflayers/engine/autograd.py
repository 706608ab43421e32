"""The one way from an estimator or loss to autograd, so that each of them is only its mathematics."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from difflayers.engine.batch import BatchSolver
from difflayers.engine.bridge import Call, Estimator, apply
from difflayers.engine.checks import check_call
from difflayers.engine.compiler import outside_compiler

__all__ = ["Estimator", "Reduction", "differentiate", "reduce_losses"]

Reduction = Literal["mean", "sum", "none"]

# Older compilers (2.4, 2.6 and 2.11 were tried) cannot make a constant of a module, as `operator` does.
COMPILED_WHOLE = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 13)


def differentiate(
    estimator: Estimator,
    costs: Sequence[Tensor],
    context: Sequence[Any] | None = None,
    targets: Sequence[Tensor] = (),
    loss: bool = False,
    solutions: bool = True,
) -> list[Tensor]:
    """Apply an estimator or loss to a batch, differentiably in the costs.

    Args:
        estimator: what computes the outputs and their gradients.
        costs: one or several tensors (B, *shape) of any floating dtype, on any device.
        context: one object an instance, or None.
        targets: further tensors (B, …), not differentiated, for `BatchRun.targets`.
        loss: whether the first output is a loss (B,); the others, solutions, then have no gradient.
        solutions: whether a loss returns its solutions; without, an eager call takes less time.

    Returns:
        The estimator's outputs on the device of the costs: solutions in the dtype of their costs, a loss in
        float64 for costs in float64 and in float32 otherwise.

    Raises:
        TypeError, ValueError: see `check_call`; a NaN in costs or targets, a NaN or infinite gradient.
        SolverError: see `BatchRun.solve`.
        NotImplementedError: a second derivative was asked for.
    """
    check_call(costs, targets, context)
    exact = estimator.solver.minimized(costs)
    outputs: Sequence[Tensor]
    if not torch.compiler.is_compiling():
        outputs = apply(Call(estimator, len(costs), loss, context, solutions), [*exact, *targets])
    elif context is None and COMPILED_WHOLE:
        from difflayers.engine import operator  # here, since it imports the compiler, which takes a second

        outputs = operator.apply(estimator, exact, targets, loss)
    else:
        outputs = _with_context_outside_the_graph(estimator, exact, targets, loss, context)
    like = ([exact[0], *costs] if loss else costs)[: None if solutions else 1]
    return [
        output if output.dtype == tensor.dtype else output.to(tensor.dtype)
        for output, tensor in zip(outputs[: len(like)], like, strict=True)
    ]


@outside_compiler
def _with_context_outside_the_graph(
    estimator: Estimator,
    costs: Sequence[Tensor],
    targets: Sequence[Tensor],
    loss: bool,
    context: Sequence[Any] | None,
) -> tuple[Tensor, ...]:
    """With contexts, as an operator takes tensors only, and in older releases of torch the graph breaks here.

    There fullgraph=True is an error.
    """
    return apply(Call(estimator, len(costs), loss, context), [*costs, *targets])


def reduce_losses(losses: Tensor, reduction: Reduction, solver: BatchSolver) -> Tensor:
    """Reduce the losses (B,) of a batch; what `on_failure="skip"` took out is in no mean or sum."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.nansum() if solver.on_failure == "skip" else losses.sum()
    return losses.nanmean() if solver.on_failure == "skip" else losses.mean()
