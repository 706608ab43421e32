"""What costs, contexts and gradients must be like, checked at the edge."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from difflayers._arguments import all_finite


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
    tensor: Tensor,
    name: str,
    device: torch.device | None,
    dtype: torch.dtype | None = None,
    *,
    infinite: bool,
) -> Any:
    """Detach a (B, *shape) tensor and bring it to a device, or make it an array where that is None.

    The result is contiguous, in `dtype` or else in float64 or float32, and may share its memory. Raises
    ValueError naming `name` and the instance where there is a NaN or, unless they are allowed as the costs of
    what is forbidden, an infinite value.
    """
    if dtype is None:
        dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    if tensor.dtype != dtype:
        tensor = tensor.to(dtype)
    value: Any
    if device is None:
        value = np.ascontiguousarray(tensor.numpy(force=True))
        finite = all_finite(value)
    else:
        value = tensor.detach().to(device).resolve_neg().contiguous()
        finite = math.isfinite(value.sum().item())  # it is not where a number is not
    if not finite:
        found = torch.as_tensor(value)
        bad = found.isnan() if infinite else ~found.isfinite()
        if bad.any():
            row = int(bad.reshape(len(bad), -1).any(1).int().argmax())
            raise ValueError(f"{name} has a NaN{'' if infinite else ' or infinite value'} in instance {row}")
    return value
