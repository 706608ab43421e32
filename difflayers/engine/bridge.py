"""The autograd functions behind `differentiate`: from tensors to an estimator and back."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from difflayers.engine.batch import BatchSolver
from difflayers.engine.checks import checked
from difflayers.engine.compiler import uncompiled
from difflayers.engine.run import BatchRun


class Estimator(Protocol):
    """What a layer or loss must be for `differentiate`.

    Both methods get arrays or tensors, whichever the solver takes (see `BatchRun`), and return either.
    """

    solver: BatchSolver

    def solve(self, run: BatchRun) -> list[Any]:
        """Return the outputs of the forward pass for `run.costs`, on their device."""
        ...

    def pull_back(self, run: BatchRun, gradients: list[Any]) -> list[Any]:
        """Return a new gradient for each of `run.costs`, from one for each output (of a loss, the first)."""
        ...


class Call:
    """One forward call and its backward; what autograd carries from one to the other beside tensors.

    Args:
        estimator: what is differentiated.
        costs: how many of the tensors are costs; those behind them are targets.
        loss: whether the first output is a loss, and the others have no gradient.
        context: one object an instance, or None.
        solutions: whether a loss returns the others too.
    """

    def __init__(
        self,
        estimator: Estimator,
        costs: int,
        loss: bool,
        context: Sequence[Any] | None = None,
        solutions: bool = True,
    ) -> None:
        self.estimator: Estimator = estimator
        self.costs: int = costs
        self.loss: bool = loss
        self.context: Sequence[Any] | None = context
        self.solutions: bool = solutions
        self.run: BatchRun | None = None
        self.outputs: list[Any] = []

    def forward(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the outputs for costs (B, *shape) and targets (B, …), on the device of the costs."""
        costs, targets = tensors[: self.costs], tensors[self.costs :]
        estimator, solver = self.estimator, self.estimator.solver
        # A loss has the names of its targets; and no value where something is infinite, as 0 · ∞ is not 0.
        names = getattr(estimator, "targets", ()) if targets else ()
        self.run = run = BatchRun(solver, costs, targets, self.context, names, infinite=not self.loss)
        outputs = estimator.solve(run)
        self.outputs = outputs if self.solutions else outputs[:1]
        # Copies, since the caller may change in place what the estimator keeps for its backward.
        device = costs[0].device
        copies = tuple([_copy(output, device) for output in self.outputs])
        if run.any_failed:
            for copy in copies:
                copy[run.failed.to(device)] = torch.nan if solver.on_failure == "skip" else 0
        return copies

    def backward(self, costs: Sequence[Tensor], incoming: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
        """Return the gradients of the costs from those of the outputs, where None is zero."""
        run = self.run
        assert run is not None
        outputs = self.outputs[:1] if self.loss else self.outputs
        gradients = []
        for index, (gradient, output) in enumerate(zip(incoming, outputs, strict=False)):
            if gradient is None:
                gradient = torch.zeros_like(torch.as_tensor(output))
            if run.any_failed:
                gradient = gradient.clone()
                gradient[run.failed.to(gradient.device)] = 0
            name = "the gradient of the loss" if self.loss else f"the gradient of solution {index}"
            gradients.append(checked(gradient, name, run.device, infinite=False))
        results = self.estimator.pull_back(run, gradients)
        if run.any_failed:
            for result in results:
                torch.as_tensor(result)[run.failed] = 0
        return tuple([_tensor(result, cost.device) for cost, result in zip(costs, results, strict=True)])


def _tensor(array: Any, device: torch.device) -> Tensor:
    tensor = array if isinstance(array, Tensor) else torch.from_numpy(array)
    return tensor if tensor.device == device else tensor.to(device)


def _copy(array: Any, device: torch.device) -> Tensor:
    return array.to(device, copy=True) if isinstance(array, Tensor) else _tensor(array.copy(), device)


def apply(call: Call, tensors: Sequence[Any]) -> tuple[Tensor, ...]:
    """Return the outputs of a call, differentiably and under any transform of torch.func."""
    function = _Transformed if _transforms() else _Eager
    outputs: tuple[Tensor, ...] = function.apply(call, *tensors)
    return outputs


# Whether a torch.func transform is active; torch itself asks this at each call of an autograd function.
_transforms = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)


class _Eager(torch.autograd.Function):
    """_Eager.apply(call, *costs, *targets) is the outputs of the call.

    With `setup_context`, which transforms need, torch binds the arguments to a signature at each call, and
    that takes longer than a small solve.
    """

    @staticmethod
    def forward(ctx: Any, call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs = call.forward(tensors)
        _keep(ctx, call, tensors, outputs)
        return outputs

    @staticmethod
    @uncompiled  # for a compiled training step, whose backward() is within reach of the compiler
    def backward(ctx: Any, *incoming: Tensor | None) -> tuple[Tensor | None, ...]:
        call, costs = ctx.call, ctx.saved_tensors
        if torch.is_grad_enabled() or _transforms():
            gradients = _Backward.apply(call, *costs, *incoming)
        else:
            gradients = call.backward(costs, incoming)
        return None, *gradients, *ctx.no_gradients

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError(
            "a blackbox solver has no forward-mode derivative: take backward, or torch.func.grad or jacrev"
        )


class _Transformed(_Eager):
    """The same for torch.func.grad, vmap and their like."""

    @staticmethod
    def forward(call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        return call.forward(tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _keep(ctx, inputs[0], inputs[1:], output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], call: Call, *tensors: Tensor) -> Any:
        folded = _folded(info.batch_size, tensors, in_dims[1:])
        return _unfolded(apply(call, folded), info.batch_size)


def _keep(ctx: Any, call: Call, tensors: Sequence[Tensor], outputs: tuple[Tensor, ...]) -> None:
    ctx.call = call
    ctx.no_gradients = (None,) * (len(tensors) - call.costs)
    ctx.save_for_backward(*tensors[: call.costs])
    ctx.set_materialize_grads(False)
    if call.loss:
        ctx.mark_non_differentiable(*outputs[1:])


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
