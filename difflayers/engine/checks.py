"""What costs, contexts and gradients must be like, checked at the edge."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def check_call(costs: Sequence[Tensor], targets: Sequence[Tensor], context: Sequence[Any] | None) -> None:
    """Check the tensors and contexts that a layer or loss is called with.

    Raises:
        TypeError: a cost is no dense tensor of a floating dtype, or the context is no sequence.
        ValueError: batch sizes differ.
    """
    if not costs:
        raise TypeError("the layer needs at least one cost tensor")
    for index, cost in enumerate(costs):
        if not isinstance(cost, Tensor):
            raise TypeError(f"costs[{index}] must be a tensor, got a {type(cost).__name__}")
        if cost.layout != torch.strided:
            raise TypeError(f"costs[{index}] must be a dense tensor, but has the layout {cost.layout}")
        if not cost.is_floating_point():
            raise TypeError(f"costs[{index}] must have a floating dtype, got {cost.dtype}")
    for index, target in enumerate(targets):
        if target.layout != torch.strided or target.is_complex():
            raise TypeError(f"targets[{index}] must be a dense tensor of real numbers")
    batch = costs[0].shape[:1]
    for name, tensors in (("costs", costs), ("targets", targets)):
        for index, tensor in enumerate(tensors):
            if tensor.ndim == 0:
                raise ValueError(f"{name}[{index}] has no dimension, but the first one must be the batch")
            if tensor.shape[:1] != batch:
                raise ValueError(
                    f"{name}[{index}] has a batch of {len(tensor)}, but costs[0] has a batch of {batch[0]}"
                )
    if context is not None:
        if not isinstance(context, Sequence | Tensor | np.ndarray) or isinstance(context, str | bytes):
            how = "[{key: value[i] for key, value in batch.items()} for i in range(len(costs))]"
            raise TypeError(
                f"context must be a list of one object per instance, got a {type(context).__name__}"
                + (f". A collated dict becomes one by {how}" if isinstance(context, Mapping) else "")
            )
        if len(context) != batch[0]:
            raise ValueError(f"context has {len(context)} objects, but the costs have a batch of {batch[0]}")


def checked(
    tensor: Tensor, name: str, device: torch.device, dtype: torch.dtype | None = None, *, infinite: bool
) -> Tensor:
    """Detach a tensor (B, *shape) and bring it to a device, in `dtype` or else in float64 or float32.

    The result may share the memory of the tensor.

    Raises:
        ValueError: there is a NaN or, unless `infinite` allows them as costs of what is forbidden, an
            infinite value; the message has the name and the instance.
    """
    if dtype is None:
        dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    value = placed(tensor if tensor.dtype == dtype else tensor.to(dtype), device)
    finite = value.sum().item() if device.type != "cpu" else np.vdot(array := value.numpy(), array)
    if not math.isfinite(finite):  # as `surely_finite`
        bad = value.isnan() if infinite else ~value.isfinite()
        if bad.any():
            row = int(bad.reshape(len(bad), -1).any(1).int().argmax())
            raise ValueError(f"{name} has a NaN{'' if infinite else ' or infinite value'} in instance {row}")
    return value


def placed(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor detached, contiguous and on a device; it may share the memory of the first.

    To the CPU it goes through NumPy, whose one call takes less time than the four of torch.
    """
    if device.type == "cpu":
        return torch.from_numpy(np.ascontiguousarray(tensor.numpy(force=True)))
    return tensor.detach().to(device).resolve_neg().contiguous()


def surely_finite(tensor: Tensor) -> bool:
    """Whether a contiguous tensor is finite; huge finite numbers may not count as surely finite."""
    if tensor.device.type == "cpu":
        array = tensor.numpy()
        return math.isfinite(np.vdot(array, array))  # as `all_finite`
    return math.isfinite(tensor.sum().item())
