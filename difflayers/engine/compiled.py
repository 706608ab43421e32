"""An estimator as an operator that torch.compile leaves whole: it sees shapes, and never a solver.

Eager calls take the autograd function instead: the operator's own dispatch costs some 100 µs more per call.
Everything that the backward pass needs is an output of the forward operator, so that the compiler may move,
copy or recompute it.
"""

import uuid
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from difflayers.engine.call import Call, Estimator, Plan
from difflayers.engine.compiler import uncompiled
from difflayers.engine.parallel import active_backend
from difflayers.engine.passes import backward, forward

# What the operator's string argument stands for. The keys are random, so that none stands for the layer of
# another process; the table keeps no layer alive.
_ESTIMATORS: WeakValueDictionary[str, Any] = WeakValueDictionary()


def apply(plan: Plan, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs of a plan while the compiler traces."""
    outputs: list[Tensor] = torch.ops.difflayers.solve(
        tensors[0], list(tensors[1:]), plan.costs, ",".join(plan.targets), plan.loss, _key(plan.estimator)
    )
    return outputs


@torch.compiler.assume_constant_result
def _key(estimator: Estimator) -> str:
    key = uuid.uuid4().hex
    _ESTIMATORS[key] = estimator
    return key


def _plan(costs: int, targets: str, loss: bool, key: str) -> Plan:
    estimator = _ESTIMATORS.get(key)
    if estimator is None:
        raise RuntimeError(
            "the layer of this compiled graph does not exist any more, or belongs to another process: "
            "compile the model where it runs, and keep it"
        )
    backend = active_backend() if estimator.solver.n_jobs != 1 else None
    names = tuple(name for name in targets.split(",") if name)
    return Plan(estimator.solver, estimator, costs, names, loss, backend=backend, fixed=True)


def _solve(
    first: Tensor, others: list[Tensor], costs: int, targets: str, loss: bool, key: str
) -> list[Tensor]:
    tensors, plan = [first, *others], _plan(costs, targets, loss, key)
    outputs, kept, _ = forward(plan, tensors)
    # Copies, since an operator's results must be no views of its arguments or of each other.
    results = [*outputs, *(tensor.clone() for tensor in kept)]
    found = [tuple(result.shape) for result in results]
    expected = [tuple(like.shape) for like in _shapes(tensors, plan)]
    for ours, wanted in zip(found[: len(outputs)], expected, strict=False):
        if ours != wanted:
            raise NotImplementedError(
                f"under torch.compile a solution must have the shape of its costs, {wanted}, got {ours}"
            )
    if found != expected:
        raise NotImplementedError(
            f"under torch.compile {type(plan.estimator).__name__}.saved_like must return the shapes that "
            f"solve saves, {found[len(outputs) :]}, got {expected[len(outputs) :]}"
        )
    return results


def _shapes(tensors: Sequence[Tensor], plan: Plan) -> list[Tensor]:
    costs = [
        torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors[: plan.costs]
    ]
    outputs = [tensors[0].new_empty(len(tensors[0])), *costs] if plan.loss else costs
    where = tensors[0].device if plan.solver.tensors else "cpu"
    return [*outputs, *Call(plan, [torch.empty_like(c, device=where) for c in costs], {}).kept_like()]


def _pull_back(
    first: Tensor,
    others: list[Tensor],
    gradients: list[Tensor | None],
    costs: int,
    targets: str,
    loss: bool,
    key: str,
) -> list[Tensor]:
    tensors, plan = [first, *others], _plan(costs, targets, loss, key)
    return [result.clone() for result in backward(plan, tensors[:costs], tensors[costs:], gradients)]


def _setup_context(ctx: Any, inputs: Any, output: list[Tensor]) -> None:
    first, others, ctx.costs, ctx.targets, ctx.loss, ctx.key = inputs
    ctx.count, ctx.outputs = len(others), ctx.costs + ctx.loss
    ctx.save_for_backward(first, *others[: ctx.costs - 1], *output[ctx.outputs :])


@uncompiled
def _backward(ctx: Any, incoming: list[Tensor | None]) -> Any:
    saved, plan = ctx.saved_tensors, (ctx.costs, ctx.targets, ctx.loss, ctx.key)
    first, *others = torch.ops.difflayers.pull_back(saved[0], list(saved[1:]), incoming[: ctx.outputs], *plan)
    return first, [*others, *[None] * (ctx.count - len(others))], None, None, None, None


def _no_second_derivative(ctx: Any, incoming: Any) -> Any:
    raise NotImplementedError("a blackbox solver has no second derivative")


# The first tensor is an argument of its own, because the compiler reads the device of a call from it.
# Nondeterministic, so that two equal calls are not merged into one: they may draw random numbers.
_LIBRARY = torch.library.Library("difflayers", "DEF")
_TAGS = (torch.Tag.nondeterministic_seeded,)
_PLAN = "int costs, str targets, bool loss, str estimator"
_LIBRARY.define(f"solve(Tensor first, Tensor[] others, {_PLAN}) -> Tensor[]", tags=_TAGS)
_LIBRARY.define(
    f"pull_back(Tensor first, Tensor[] others, Tensor?[] gradients, {_PLAN}) -> Tensor[]", tags=_TAGS
)
_LIBRARY.impl("solve", _solve, "CompositeExplicitAutograd")
_LIBRARY.impl("pull_back", _pull_back, "CompositeExplicitAutograd")
torch.library.register_fake(
    "difflayers::solve",
    lambda first, others, *plan: _shapes([first, *others], _plan(*plan)),
    lib=_LIBRARY,
)
torch.library.register_fake(
    "difflayers::pull_back",
    lambda first, others, gradients, costs, *plan: [torch.empty_like(t) for t in [first, *others][:costs]],
    lib=_LIBRARY,
)
torch.library.register_autograd("difflayers::solve", _backward, setup_context=_setup_context, lib=_LIBRARY)
torch.library.register_autograd("difflayers::pull_back", _no_second_derivative, lib=_LIBRARY)
