"""What layers and losses have in common as modules: a solver, and state that `state_dict` stores."""

from typing import Any, Unpack

import torch
from torch import Tensor

from difflayers.engine.batch import BatchSolver
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.engine.stateful import StatefulModule
from difflayers.solver import Solver


class SolverModule(StatefulModule):
    """A module around a solver; `SolverLayer` and `SolverLoss` are the two kinds.

    The `state_dict` of the module stores the state of the attributes that `stateful` names, and of the pool,
    as tensors. A module without state adds no key.

    Args:
        solver: see `difflayers.Solver`.
        options: how the solver is run, see `SolveOptions`.
    """

    def __init__(self, solver: Solver, **options: Unpack[SolveOptions]) -> None:
        super().__init__()
        self.solver: BatchSolver = BatchSolver(solver, **options)

    def solve(self, call: Call) -> list[Tensor]:
        """Return the outputs for `call.costs`, and save what `pull_back` needs with `call.save`."""
        raise NotImplementedError(f"{type(self).__name__} must define solve(self, call)")

    def pull_back(self, call: Call, gradients: list[Tensor]) -> list[Tensor]:
        """Return a gradient for each of `call.costs` from the gradients of the outputs."""
        raise NotImplementedError(f"{type(self).__name__} must define pull_back(self, call, gradients)")

    def saved_like(self, costs: list[Tensor]) -> list[Tensor]:
        """Return empty tensors of the shapes that `solve` saves, for torch.compile: those of the costs."""
        return [torch.empty_like(cost) for cost in costs]

    def _parts(self) -> dict[str, Any]:
        parts = super()._parts()
        if self.solver.pool is not None:
            parts["pool"] = self.solver.pool
        return parts
