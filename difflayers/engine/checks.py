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
        if cost.ndim == 0 or cost.size(0) != costs[0].size(0):
            raise _wrong_batch(f"costs[{index}]", cost, costs[0])
    for index, target in enumerate(targets):
        if target.layout != torch.strided or target.is_complex():
            raise TypeError(f"targets[{index}] must be a dense tensor of real numbers")
        if target.ndim == 0 or target.size(0) != costs[0].size(0):
            raise _wrong_batch(f"targets[{index}]", target, costs[0])
    if context is not None:
        if not isinstance(context, Sequence | Tensor | np.ndarray) or isinstance(context, str | bytes):
            how = "[{key: value[i] for key, value in batch.items()} for i in range(len(costs))]"
            raise TypeError(
                f"context must be a list of one object per instance, got a {type(context).__name__}"
                + (f". A collated dict becomes one by {how}" if isinstance(context, Mapping) else "")
            )
        if len(context) != len(costs[0]):
            raise ValueError(
                f"context has {len(context)} objects, but the costs have a batch of {len(costs[0])}"
            )


def _wrong_batch(name: str, tensor: Tensor, first: Tensor) -> ValueError:
    if tensor.ndim == 0:
        return ValueError(f"{name} has no dimension, but the first one must be the batch")
    return ValueError(f"{name} has a batch of {len(tensor)}, but costs[0] has a batch of {len(first)}")


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
    finite = np.vdot(array := value.numpy(), array) if value.is_cpu else value.sum().item()
    if not math.isfinite(finite):  # as `surveyed`
        bad = value.isnan() if infinite else ~value.isfinite()
        if bad.any():
            row = int(bad.reshape(len(bad), -1).any(1).int().argmax())
            raise ValueError(f"{name} has a NaN{'' if infinite else ' or infinite value'} in instance {row}")
    return value


def placed(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor detached, contiguous and on a device; it may share the memory of the first."""
    value = tensor.detach()
    if value.device != device:
        value = value.to(device)
    if value.is_neg():  # asking takes less time than a call that changes nothing, here and below
        value = value.resolve_neg()
    return value if value.is_contiguous() else value.contiguous()


def surveyed(tensor: Tensor) -> tuple[bool, bool]:
    """Whether a contiguous tensor is surely finite (huge finite numbers may not be), and has no zero."""
    if tensor.is_cpu:
        array = tensor.numpy()  # as `all_finite`
        return math.isfinite(np.vdot(array, array)), bool(np.count_nonzero(array) == array.size)
    return math.isfinite(tensor.sum().item()), bool(tensor.all())
