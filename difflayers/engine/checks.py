"""What costs, contexts and gradients must be like, checked at the edge."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def check_call(costs: Sequence[Tensor], targets: Sequence[Tensor], context: Sequence[Any] | None) -> None:
    """Check the tensors and contexts that a layer or loss is called with.

    Raises TypeError for something that is no floating-point tensor, ValueError for batch sizes that differ.
    """
    if not costs:
        raise TypeError("the layer needs at least one cost tensor")
    for index, cost in enumerate(costs):
        if not isinstance(cost, Tensor):
            raise TypeError(f"costs[{index}] must be a tensor, but is a {type(cost).__name__}")
        if cost.layout != torch.strided:
            raise TypeError(f"costs[{index}] must be a dense tensor, but has the layout {cost.layout}")
        if not cost.is_floating_point():
            raise TypeError(f"costs[{index}] must have a floating dtype, but has {cost.dtype}")
        if cost.ndim == 0:
            raise ValueError(f"costs[{index}] has no dimension, but the first one must be the batch")
    for index, target in enumerate(targets):
        if target.layout != torch.strided or target.is_complex():
            raise TypeError(f"targets[{index}] must be a dense tensor of real numbers")
        if target.ndim == 0:
            raise ValueError(f"targets[{index}] has no dimension, but the first one must be the batch")
    batch = costs[0].shape[0]
    for name, tensors in (("costs", costs), ("targets", targets)):
        for index, tensor in enumerate(tensors):
            if tensor.shape[0] != batch:
                raise ValueError(
                    f"{name}[{index}] has a batch of {len(tensor)}, but costs[0] has a batch of {batch}"
                )
    if context is not None and len(context) != len(costs[0]):
        raise ValueError(f"context has {len(context)} objects, but the costs have a batch of {len(costs[0])}")


def checked(
    tensor: Tensor, name: str, device: torch.device, dtype: torch.dtype | None = None, *, infinite: bool
) -> Tensor:
    """Detach a (B, *shape) tensor and bring it to a device, in a dtype or else in float64 or float32.

    Raises ValueError naming `name` and the instance where there is a NaN or, unless they are allowed as the
    costs of what is forbidden, an infinite value.
    """
    if dtype is None:
        dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    tensor = tensor.detach()
    if tensor.dtype != dtype or tensor.device != device:
        tensor = tensor.to(device, dtype)
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    # A sum is not finite where a number is not, and is several times faster than a look at each.
    if not math.isfinite(tensor.sum().item()):
        bad = tensor.isnan() if infinite else ~tensor.isfinite()
        if bad.any():
            row = int(bad.reshape(len(bad), -1).any(1).int().argmax())
            raise ValueError(f"{name} has a NaN{'' if infinite else ' or infinite value'} in instance {row}")
    return tensor
