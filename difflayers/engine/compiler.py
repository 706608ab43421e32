"""Keep torch.compile out of code that runs on NumPy arrays."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")


def outside_compiler(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """Make torch.compile break its graph at `function` rather than trace into the user's solver.

    As torch.compiler.disable, but the compiler is imported at the first call: it takes a second, which
    `import difflayers` should not. (Every torch.optim.Optimizer imports it too.)
    """
    disabled: Callable[Parameters, Returned] | None = None

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        nonlocal disabled
        if disabled is None:
            disabled = torch.compiler.disable(function)
        return disabled(*args, **kwargs)

    return call


def uncompiled(function: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """As `outside_compiler`, at no cost while there is no compiler: for what is not called while tracing."""
    disabled: Callable[Parameters, Returned] | None = None

    @functools.wraps(function)
    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        nonlocal disabled
        if disabled is None:
            if "torch._dynamo" not in sys.modules:
                return function(*args, **kwargs)
            disabled = torch.compiler.disable(function)
        return disabled(*args, **kwargs)

    return call


def is_exporting() -> bool:
    """Whether torch.export traces; releases before 2.7 do not tell it from torch.compile."""
    asked = getattr(torch.compiler, "is_exporting", None)
    return asked is not None and bool(asked())
