"""The one bridge from estimators and losses to autograd, so that each of them is only its mathematics."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from difflayers.batch import BatchRun, BatchSolver, check_call, checked
from difflayers.compiler import outside_compiler

Reduction = Literal["mean", "sum", "none"]


class Estimator(Protocol):
    """What a layer or loss must be for `differentiate`; both methods get plain tensors, without autograd."""

    solver: BatchSolver

    def solve(self, run: BatchRun) -> list[Tensor]:
        """Return the outputs of the forward pass for `run.costs`, on their device."""
        ...

    def pull_back(self, run: BatchRun, gradients: list[Tensor]) -> list[Tensor]:
        """Return a gradient for each of `run.costs` from one for each output of the forward."""
        ...


@outside_compiler
def differentiate(
    estimator: Estimator,
    costs: Sequence[Tensor],
    context: Sequence[Any] | None = None,
    targets: Sequence[Tensor] = (),
    loss: bool = False,
) -> tuple[Tensor, ...]:
    """Apply an estimator or loss to a batch, differentiably in the costs.

    Args:
        estimator: what computes the outputs and their gradients.
        costs: one or several tensors (B, *shape) of any floating dtype, on any device.
        context: one object an instance, or None.
        targets: further tensors (B, …), not differentiated, for `BatchRun.targets`.
        loss: whether the first output is a loss (B,); the others, solutions, then have no gradient.

    Returns:
        The estimator's outputs on the device of the costs: solutions in the dtype of their costs, a loss in
        float64 for costs in float64 and in float32 otherwise.

    Raises:
        TypeError, ValueError: see `check_call`; a NaN in costs or targets, a NaN or infinite gradient.
        SolverError: see `BatchRun.solve`.
        NotImplementedError: a second derivative was asked for.
    """
    check_call(costs, targets, context)
    # Rounding to half precision stays outside, in torch: a solution rounded to bfloat16 would look changed.
    exact = [
        estimator.solver.minimized(cost if cost.dtype == torch.float64 else cost.float()) for cost in costs
    ]
    outputs = _Forward.apply(_Call(estimator, context, len(costs), loss), *exact, *targets)
    like = [exact[0], *costs] if loss else costs
    return tuple(output.to(tensor.dtype) for output, tensor in zip(outputs, like, strict=True))


def reduce_losses(losses: Tensor, reduction: Reduction, solver: BatchSolver) -> Tensor:
    """Reduce the losses (B,) of a batch; what `on_failure="skip"` took out is in no mean or sum."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.nansum() if solver.on_failure == "skip" else losses.sum()
    return losses.nanmean() if solver.on_failure == "skip" else losses.mean()


class _Call:
    """What autograd carries from a forward call to its backward beside tensors."""

    def __init__(self, estimator: Estimator, context: Sequence[Any] | None, costs: int, loss: bool) -> None:
        self.estimator, self.context, self.costs, self.loss = estimator, context, costs, loss
        self.run: BatchRun | None = None
        self.outputs: list[Tensor] = []

    def forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        costs, targets = tensors[: self.costs], tensors[self.costs :]
        run = BatchRun(self.estimator.solver, costs, targets, self.context)
        outputs = self.estimator.solve(run)
        if run.failed.any():
            value = torch.nan if self.estimator.solver.on_failure == "skip" else 0
            outputs = [output.clone() for output in outputs]
            for output in outputs:
                output[run.failed] = value
        self.run = run
        self.outputs = outputs
        # Copies, since the caller may change in place what the estimator keeps for its backward.
        return tuple(torch.empty_like(output, device=costs[0].device).copy_(output) for output in outputs)

    def backward(self, costs: Sequence[Tensor], incoming: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        assert self.run is not None
        failed = self.run.failed
        gradients = []
        for index, (gradient, output) in enumerate(zip(incoming, self.outputs, strict=True)):
            if gradient is None:
                gradients.append(torch.zeros_like(output))
                continue
            if failed.any():
                gradient = gradient.clone()
                gradient[failed.to(gradient.device)] = 0
            what = "the loss" if self.loss else f"solution {index}"
            gradients.append(checked(gradient, f"the gradient of {what}", infinite=False))
        results = self.estimator.pull_back(self.run, gradients)
        if failed.any():
            for result in results:
                result[failed] = 0
        return tuple(
            torch.empty_like(cost).copy_(result) for cost, result in zip(costs, results, strict=True)
        )


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(call: _Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        return call.forward(tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        call, *tensors = inputs
        ctx.call = call
        ctx.save_for_backward(*tensors[: call.costs])
        ctx.set_materialize_grads(False)
        if call.loss:
            ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    @outside_compiler  # for a compiled training step, whose backward() is within reach of the compiler
    def backward(ctx: Any, *incoming: Tensor | None) -> tuple[Tensor | None, ...]:
        nothing = (None,) * (len(ctx.needs_input_grad) - 1 - ctx.call.costs)
        return None, *_Backward.apply(ctx.call, *ctx.saved_tensors, *incoming), *nothing

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], call: _Call, *tensors: Tensor) -> Any:
        return _unfolded(
            _Forward.apply(call, *_folded(info.batch_size, tensors, in_dims[1:])), info.batch_size
        )


class _Backward(torch.autograd.Function):
    """The backward as a function of its own, which autograd cannot differentiate but can vmap."""

    @staticmethod
    def forward(call: _Call, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        costs = [tensor for tensor in tensors[: call.costs] if tensor is not None]
        return call.backward(costs, tensors[call.costs :])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor) -> Any:
        raise NotImplementedError(
            "a blackbox solver has no second derivative: its gradient is an estimate, piecewise constant or "
            "random. Call backward or torch.autograd.grad without create_graph=True, or detach that gradient"
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], call: _Call, *tensors: Tensor | None) -> Any:
        size, dims = info.batch_size, in_dims[1:]
        if any(dim is not None for dim in dims[: call.costs]):
            return _unfolded(_Backward.apply(call, *_folded(size, tensors, dims)), size)
        # The forward ran without this dimension, and so did what the estimator keeps from it.
        slices = [
            _Backward.apply(
                call,
                *(
                    t if d is None or t is None else t.select(d, i)
                    for t, d in zip(tensors, dims, strict=True)
                ),
            )
            for i in range(size)
        ]
        return tuple(torch.stack(column) for column in zip(*slices, strict=True)), (0,) * call.costs


def _folded(size: int, tensors: Sequence[Tensor | None], dims: Sequence[int | None]) -> list[Tensor | None]:
    """Make vmap's dimension the slow part of the batch, so that instance i has context i modulo B."""
    return [
        tensor
        if tensor is None
        else (tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)).flatten(0, 1)
        for tensor, dim in zip(tensors, dims, strict=True)
    ]


def _unfolded(tensors: Sequence[Tensor], size: int) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    return tuple(tensor.unflatten(0, (size, -1)) for tensor in tensors), (0,) * len(tensors)
