"""Modules whose state lies in objects that are no modules, such as a rule for λ."""

from typing import Any, ClassVar

import torch
from torch import nn


class StatefulModule(nn.Module):
    """A module whose `state_dict` holds the state of some of its attributes, as tensors.

    The tensors of the attribute `scales` have the keys `scales.<name>`. An attribute without state adds no
    key.
    """

    stateful: ClassVar[tuple[str, ...]] = ()
    """Names of attributes, each None or with `state_dict() -> dict[str, Tensor]` and `load_state_dict`."""

    def _parts(self) -> dict[str, Any]:
        """Return the objects that have a state, by name."""
        parts = {name: getattr(self, name) for name in self.stateful}
        return {name: part for name, part in parts.items() if part is not None}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, part in self._parts().items():
            for key, value in part.state_dict().items():
                # A rule of the user's may keep numbers.
                kind = torch.float64 if isinstance(value, float) else None
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
            if state:
                try:
                    part.load_state_dict(state)
                except (KeyError, ValueError, TypeError, RuntimeError) as error:
                    error_msgs.append(f"{prefix}{name} ({part!r}) cannot take the stored state: {error}")
            elif strict:
                missing_keys += [f"{start}{key}" for key in part.state_dict()]
        super()._load_from_state_dict(
            rest, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
