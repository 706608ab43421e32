"""The autograd functions behind `differentiate`: from tensors to an estimator and back."""

import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from difflayers.batch import BatchRun, BatchSolver
from difflayers.checks import checked
from difflayers.compiler import uncompiled


class Estimator(Protocol):
    """What a layer or loss must be for `differentiate`; both methods get plain tensors, without autograd."""

    solver: BatchSolver

    def solve(self, run: BatchRun) -> list[Tensor]:
        """Return the outputs of the forward pass for `run.costs`, on their device."""
        ...

    def pull_back(self, run: BatchRun, gradients: list[Tensor]) -> list[Tensor]:
        """Return a gradient for each of `run.costs` from one for each output of the forward."""
        ...


class Call:
    """One forward call and its backward; what autograd carries from one to the other beside tensors.

    Args:
        estimator: what is differentiated.
        costs: how many of the tensors are costs; those behind them are targets.
        loss: whether the first output is a loss, and the others have no gradient.
        context: one object an instance, or None.
    """

    def __init__(
        self, estimator: Estimator, costs: int, loss: bool, context: Sequence[Any] | None = None
    ) -> None:
        self.estimator: Estimator = estimator
        self.costs: int = costs
        self.loss: bool = loss
        self.context: Sequence[Any] | None = context
        self.run: BatchRun | None = None
        self.outputs: list[Tensor] = []

    def forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs for costs (B, *shape) and targets (B, …), on the device of the costs."""
        costs, targets = tensors[: self.costs], tensors[self.costs :]
        solver = self.estimator.solver
        # A loss has the names of its targets; and no value where something is infinite, as 0 · ∞ is not 0.
        names = getattr(self.estimator, "targets", ())
        run = BatchRun(solver, costs, targets, self.context, names, infinite=not self.loss)
        self.outputs = self.estimator.solve(run)
        self.run = run
        # Copies, since the caller may change in place what the estimator keeps for its backward.
        outputs = tuple(
            torch.empty_like(output, device=costs[0].device).copy_(output) for output in self.outputs
        )
        if run.any_failed:
            for output in outputs:
                output[run.failed.to(output.device)] = torch.nan if solver.on_failure == "skip" else 0
        return outputs

    def backward(self, costs: Sequence[Tensor], incoming: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """Return the gradients of the costs from those of the outputs, where None is zero."""
        run = self.run
        assert run is not None
        gradients = []
        for index, (gradient, output) in enumerate(zip(incoming, self.outputs, strict=True)):
            if gradient is None:
                gradients.append(torch.zeros_like(output))
                continue
            if run.any_failed:
                gradient = gradient.clone()
                gradient[run.failed.to(gradient.device)] = 0
            name = "the gradient of " + ("the loss" if self.loss else f"solution {index}")
            gradients.append(checked(gradient, name, output.device, infinite=False))
        results = self.estimator.pull_back(run, gradients)
        if run.any_failed:
            for result in results:
                result[run.failed] = 0
        return tuple(
            torch.empty_like(cost).copy_(result) for cost, result in zip(costs, results, strict=True)
        )


class Forward(torch.autograd.Function):
    """Forward.apply(call, *costs, *targets) is the outputs of the call."""

    @staticmethod
    def forward(call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
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
    @uncompiled  # for a compiled training step, whose backward() is within reach of the compiler
    def backward(ctx: Any, *incoming: Tensor | None) -> tuple[Tensor | None, ...]:
        call = ctx.call
        nothing = (None,) * (len(ctx.needs_input_grad) - 1 - call.costs)
        return None, *_Backward.apply(call, *ctx.saved_tensors, *incoming), *nothing

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], call: Call, *tensors: Tensor) -> Any:
        folded = _folded(info.batch_size, tensors, in_dims[1:])
        return _unfolded(Forward.apply(call, *folded), info.batch_size)


class _Backward(torch.autograd.Function):
    """The backward as a function of its own, which can be mapped but not differentiated."""

    @staticmethod
    def forward(call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        return call.backward(tensors[: call.costs], tensors[call.costs :])

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
    def vmap(info: Any, in_dims: tuple[Any, ...], call: Call, *tensors: Tensor | None) -> Any:
        size, dims = info.batch_size, in_dims[1:]
        if any(dim is not None for dim in dims[: call.costs]):
            return _unfolded(_Backward.apply(call, *_folded(size, tensors, dims)), size)
        # The forward ran without this dimension, and so did what the estimator keeps from it.
        slices = []
        for row in range(size):
            pairs = zip(tensors, dims, strict=True)
            own = [
                tensor if tensor is None or dim is None else tensor.select(dim, row) for tensor, dim in pairs
            ]
            slices.append(_Backward.apply(call, *own))
        return tuple(torch.stack(column) for column in zip(*slices, strict=True)), (0,) * call.costs


# Otherwise torch works out the signatures anew at every call, which takes as long as a small solve.
for _function in (Forward, _Backward):
    _function.forward.__signature__ = inspect.signature(_function.forward)  # type: ignore[attr-defined]


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
