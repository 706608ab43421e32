"""The autograd functions behind `differentiate`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from difflayers.engine.call import Plan
from difflayers.engine.compiler import uncompiled
from difflayers.engine.passes import backward, forward

# Whether a torch.func transform is active; torch itself asks this at each call of an autograd function. If
# not, `Eager.apply(plan, *tensors)` are the outputs; else the first of `Transformed.apply(plan, *tensors)`.
transforms = getattr(torch._C, "_are_functorch_transforms_active", lambda: True)


# Whether torch.autograd.grad(…, is_grads_batched=True) maps over a tensor.
_is_mapped = getattr(torch._C._functorch, "is_legacy_batchedtensor", lambda _: False)


class Eager(torch.autograd.Function):
    """Eager.apply(plan, *costs, *targets) are the outputs.

    With `setup_context`, which transforms need, torch binds the arguments to a signature at each call, and
    that takes longer than a small solve.
    """

    @staticmethod
    def forward(ctx: Any, plan: Plan, *tensors: Tensor) -> tuple[Tensor, ...]:
        outputs, kept, continued = forward(plan, tensors)
        _keep(ctx, continued, tensors, outputs, kept)
        return outputs

    @staticmethod
    @uncompiled  # for a compiled training step, whose backward() is within reach of the compiler
    def backward(ctx: Any, *incoming: Tensor | None) -> tuple[Tensor | None, ...]:
        plan, saved = ctx.plan, ctx.saved_tensors
        incoming = incoming[: plan.outputs]
        for gradient in incoming:
            if gradient is not None and _is_mapped(gradient):
                raise NotImplementedError(
                    "is_grads_batched=True maps over gradients in a way that no autograd function of Python "
                    "can follow: use torch.func.jacrev, or torch.func.vmap over torch.func.vjp"
                )
        if torch.is_grad_enabled() or transforms():
            gradients = _Backward.apply(plan, len(saved), *saved, *incoming)
        else:
            gradients = backward(plan, saved[: plan.costs], saved[plan.costs :], incoming)
        return None, *gradients, *ctx.no_gradients

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError(
            "a blackbox solver has no forward-mode derivative: take backward, or torch.func.grad or jacrev"
        )


class Transformed(Eager):
    """The same for torch.func.grad, vmap and their like, with what backward needs behind the outputs."""

    @staticmethod
    def forward(plan: Plan, *tensors: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        outputs, kept, _ = forward(plan, tensors)
        return *outputs, *kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        plan, *tensors = inputs
        count = plan.outputs
        _keep(ctx, plan, tensors, output[:count], output[count:])
        ctx.mark_non_differentiable(*output[1 if plan.loss else count :])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], plan: Plan, *tensors: Tensor) -> Any:
        folded, batch = _folded(info.batch_size, tensors, in_dims[1:])
        return _unfolded(Transformed.apply(plan, *folded), info.batch_size, batch)


def _keep(
    ctx: Any, plan: Plan, tensors: Sequence[Tensor], outputs: Sequence[Tensor], kept: Sequence[Tensor]
) -> None:
    ctx.plan = plan
    ctx.no_gradients = (None,) * (len(tensors) - plan.costs)
    ctx.save_for_backward(*tensors[: plan.costs], *kept)
    ctx.set_materialize_grads(plan.costs > 1 and not plan.loss)  # zeros of the shapes that solutions have
    if plan.loss:
        ctx.mark_non_differentiable(*outputs[1:])


class _Backward(torch.autograd.Function):
    """The backward as a function of its own, which can be mapped but not differentiated."""

    @staticmethod
    def forward(plan: Plan, saved: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return backward(plan, tensors[: plan.costs], tensors[plan.costs : saved], tensors[saved:])

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
    def vmap(info: Any, in_dims: tuple[Any, ...], plan: Plan, saved: int, *tensors: Tensor | None) -> Any:
        folded, batch = _folded(info.batch_size, tensors, in_dims[2:])
        return _unfolded(_Backward.apply(plan, saved, *folded), info.batch_size, batch)


def _folded(
    size: int, tensors: Sequence[Tensor | None], dims: Sequence[int | None]
) -> tuple[list[Tensor | None], int]:
    """Make vmap's dimension the slow part of the batch, so that instance i has context i modulo B.

    Returns:
        The tensors (size · B, …), and B.
    """
    pairs = zip(tensors, dims, strict=True)
    mapped = [
        t if t is None else t.movedim(d, 0) if d is not None else t.expand(size, *t.shape) for t, d in pairs
    ]
    first = mapped[0]  # costs, which are never None
    assert first is not None
    return [tensor if tensor is None else tensor.flatten(0, 1) for tensor in mapped], first.shape[1]


def _unfolded(tensors: Sequence[Tensor], size: int, batch: int) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    shaped = [t.reshape(size, len(t) // size if size else batch, *t.shape[1:]) for t in tensors]
    return tuple(shaped), (0,) * len(tensors)
