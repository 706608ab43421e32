"""An estimator as an operator that torch.compile leaves whole: it sees shapes, and never a solver.

Eager calls take the autograd function instead: the operator's own dispatch costs some 100 µs a call more.
"""

import itertools
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from difflayers.engine.bridge import Call, Estimator
from difflayers.engine.compiler import uncompiled

# What the operator's arguments, tensors and strings, stand for; neither table keeps anything alive.
_ESTIMATORS: WeakValueDictionary[str, Any] = WeakValueDictionary()
_CALLS: WeakValueDictionary[int, "_Token"] = WeakValueDictionary()
_NUMBERS = itertools.count()


class _Token(np.ndarray[Any, Any]):
    """A number that keeps its call alive while a tensor, as the one saved for backward, shares its memory."""

    call: Call


def apply(
    estimator: Estimator, costs: Sequence[Tensor], targets: Sequence[Tensor], loss: bool
) -> list[Tensor]:
    """Return the outputs of an estimator while the compiler traces."""
    return torch.ops.difflayers.solve([*costs, *targets], len(costs), loss, _key(estimator))[:-1]


@torch.compiler.assume_constant_result
def _key(estimator: Estimator) -> str:
    key = str(next(_NUMBERS))
    _ESTIMATORS[key] = estimator
    return key


def _solve(tensors: list[Tensor], costs: int, loss: bool, key: str) -> list[Tensor]:
    call = Call(_ESTIMATORS[key], costs, loss)
    outputs = call.forward(tensors)
    expected = _shapes(tensors, costs, loss)
    for output, like in zip(outputs, expected, strict=True):
        if output.shape != like.shape:
            raise NotImplementedError(
                f"under torch.compile a solution must have the shape of its costs, {tuple(like.shape)}, "
                f"but has {tuple(output.shape)}"
            )
    token = np.array([next(_NUMBERS)]).view(_Token)
    token.call = call
    _CALLS[int(token[0])] = token
    return [*outputs, torch.from_numpy(token)]


def _shapes(tensors: Sequence[Tensor], costs: int, loss: bool) -> list[Tensor]:
    solutions = [torch.empty_like(tensor) for tensor in tensors[:costs]]
    return [tensors[0].new_empty(len(tensors[0])), *solutions] if loss else solutions


def _pull_back(costs: list[Tensor], gradients: list[Tensor | None], token: Tensor) -> list[Tensor]:
    # Copies, since an operator's results must be no views of its arguments.
    return [result.clone() for result in _CALLS[int(token)].call.backward(costs, gradients)]


def _setup_context(ctx: Any, inputs: Any, output: list[Tensor]) -> None:
    tensors, ctx.costs, ctx.loss, _ = inputs
    ctx.count = len(tensors)
    ctx.save_for_backward(*tensors[: ctx.costs], output[-1])


@uncompiled
def _backward(ctx: Any, incoming: list[Tensor | None]) -> Any:
    *costs, token = ctx.saved_tensors
    gradients = torch.ops.difflayers.pull_back(costs, incoming[:-1], token)
    return [*gradients, *[None] * (ctx.count - ctx.costs)], None, None, None


def _no_second_derivative(ctx: Any, incoming: Any) -> Any:
    raise NotImplementedError("a blackbox solver has no second derivative")


# Nondeterministic, so that two equal calls are not merged into one: they may draw random numbers.
_LIBRARY = torch.library.Library("difflayers", "DEF")
_TAGS = (torch.Tag.nondeterministic_seeded,)
_LIBRARY.define("solve(Tensor[] tensors, int costs, bool loss, str estimator) -> Tensor[]", tags=_TAGS)
_LIBRARY.define("pull_back(Tensor[] costs, Tensor?[] gradients, Tensor token) -> Tensor[]", tags=_TAGS)
_LIBRARY.impl("solve", _solve, "CompositeExplicitAutograd")
_LIBRARY.impl("pull_back", _pull_back, "CompositeExplicitAutograd")
torch.library.register_fake(
    "difflayers::solve",
    lambda tensors, costs, loss, estimator: [
        *_shapes(tensors, costs, loss),
        torch.empty(1, dtype=torch.int64, device="cpu"),
    ],
    lib=_LIBRARY,
)
torch.library.register_fake(
    "difflayers::pull_back",
    lambda costs, gradients, token: [torch.empty_like(cost) for cost in costs],
    lib=_LIBRARY,
)
torch.library.register_autograd("difflayers::solve", _backward, setup_context=_setup_context, lib=_LIBRARY)
torch.library.register_autograd("difflayers::pull_back", _no_second_derivative, lib=_LIBRARY)
