"""What estimators do instance by instance with a batch that consists of several tensors.

What takes Any takes NumPy arrays as well.
"""

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from difflayers.solver import Array


def flat(tensor: Any) -> Any:
    """Make (B, *shape) a matrix (B, n); one column where an instance is a single number."""
    return tensor.reshape(len(tensor), math.prod(tensor.shape[1:]))


def moving_rows(gradients: Sequence[Any]) -> Any:
    """Return the instances (M,) int64 that have a nonzero gradient in any output (B, *shape)."""
    moving = functools.reduce(operator.or_, (flat(gradient).any(1) for gradient in gradients))
    return moving.nonzero()[:, 0] if isinstance(moving, Tensor) else np.flatnonzero(moving)


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm (B,) of each instance over all of its finite numbers."""
    joined = torch.cat([flat(tensor) for tensor in tensors], dim=1)
    return joined.masked_fill(joined.isinf(), 0).norm(dim=1)


def each(numbers: Any, like: Any) -> Any:
    """Shape one number an instance (B,) so that it multiplies (…, B, *shape), for `like` (B, *shape)."""
    return numbers.reshape(-1, *[1] * (like.ndim - 1))


def joined(parts: list[Any]) -> Any:
    """Concatenate along the first dimension."""
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts) if isinstance(parts[0], Tensor) else np.concatenate(parts)


def as_like(array: Array, like: Any) -> Any:
    """Bring new random numbers to type, dtype and device of `like`."""
    return torch.from_numpy(array).to(like) if isinstance(like, Tensor) else array.astype(like.dtype)
