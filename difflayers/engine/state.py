"""States as tensors, so that a `state_dict` holds nothing else."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

State = dict[str, Tensor]
"""What an object must keep from one session to the next, by name; empty where there is nothing to keep."""

_HALF = 1 << 64


def check_names(state: Mapping[str, object], names: Iterable[str], owner: str) -> None:
    """Check that a state has the tensors that its owner stores, and no others.

    Raises ValueError naming the owner and what came, for example if another kind of object saved the state.
    """
    expected = sorted(names)
    if sorted(state) != expected:
        kept = ", ".join(map(repr, expected)) or "nothing"
        came = ", ".join(map(repr, sorted(state))) or "nothing"
        raise ValueError(f"the state of {owner} must hold {kept}, got {came}: was it saved by another kind?")
    for name in expected:
        if not isinstance(state[name], Tensor):
            raise TypeError(
                f"the state of {owner} must hold tensors, but {name} is a {type(state[name]).__name__}"
            )


def generator_to_tensor(generator: np.random.Generator) -> Tensor:
    """Return the state of a generator of `numpy.random.default_rng` as an int64 tensor (6,).

    PCG64 has two integers of 128 bits, of which each half is one entry, and half a number that it kept.
    """
    state = generator.bit_generator.state
    words = [word for name in ("state", "inc") for word in divmod(state["state"][name], _HALF)]
    return torch.from_numpy(
        np.array([*words, state["has_uint32"], state["uinteger"]], dtype=np.uint64).view(np.int64)
    )


def tensor_to_generator(tensor: Tensor, generator: np.random.Generator, owner: str) -> None:
    """Set a generator of `numpy.random.default_rng` to a state that `generator_to_tensor` returned.

    Raises ValueError naming the owner if the tensor is no such state.
    """
    if tensor.shape != (6,) or tensor.dtype != torch.int64:
        raise ValueError(
            f"the generator of {owner} must be an int64 tensor of shape (6,), "
            f"got {tensor.dtype} of shape {tuple(tensor.shape)}"
        )
    words = [int(word) for word in tensor.numpy(force=True).view(np.uint64)]
    generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": words[0] * _HALF + words[1], "inc": words[2] * _HALF + words[3]},
        "has_uint32": words[4],
        "uinteger": words[5],
    }
