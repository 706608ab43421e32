"""What layers and losses have in common as modules: a solver, and state that `state_dict` stores."""

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from difflayers.engine.batch import BatchSolver
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.solver import Solver


class SolverModule(nn.Module):
    """A module around a solver; `SolverLayer` and `SolverLoss` are the two kinds.

    The `state_dict` of the module stores the state of the attributes that `stateful` names, and of the pool,
    as tensors. A module without state adds no key.

    Args:
        solver: see `difflayers.Solver`.
        options: how the solver is run, see `SolveOptions`.
    """

    stateful: ClassVar[tuple[str, ...]] = ()
    """Names of attributes, each None or with `state_dict() -> dict[str, Tensor]` and `load_state_dict`."""

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
        parts = {name: getattr(self, name) for name in self.stateful if getattr(self, name) is not None}
        if self.solver.pool is not None:
            parts["pool"] = self.solver.pool
        return parts

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, part in self._parts().items():
            for key, value in part.state_dict().items():
                kind = (
                    torch.float64 if isinstance(value, float) else None
                )  # rules of the user's may keep numbers
                destination[f"{prefix}{name}.{key}"] = torch.as_tensor(value, dtype=kind, device="cpu")

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        rest = dict(state_dict)
        for name, part in self._parts().items():
            start = f"{prefix}{name}."
            state = {key[len(start) :]: rest.pop(key) for key in list(rest) if key.startswith(start)}
            expected = part.state_dict()
            if state:
                try:
                    part.load_state_dict(state)
                except (KeyError, ValueError, TypeError, RuntimeError) as error:
                    error_msgs.append(f"{prefix}{name} ({part!r}) cannot take the stored state: {error}")
            elif expected and strict:
                missing_keys += [f"{start}{key}" for key in expected]
        super()._load_from_state_dict(
            rest, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
