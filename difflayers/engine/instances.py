"""Operations per instance on a batch that consists of several tensors."""

import functools
import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor


def flat(tensor: Tensor) -> Tensor:
    """Make (B, *shape) a matrix (B, n); an instance that is a single number has one column."""
    return tensor.reshape(len(tensor), math.prod(tensor.shape[1:]))


def any_nonzero(tensors: Sequence[Tensor]) -> Tensor:
    """Return whether each instance (B,) has a nonzero number in any tensor (B, *shape)."""
    return functools.reduce(operator.or_, (flat(tensor).any(1) for tensor in tensors))


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm (B,) of each instance over all of its finite numbers, in the widest dtype.

    Numbers whose squares would overflow or vanish count too: each instance is divided by its largest number
    first.
    """
    joined = torch.cat([flat(tensor) for tensor in tensors], dim=1)
    joined = joined.masked_fill(~joined.isfinite(), 0)
    if joined.shape[1] == 0:
        return joined.sum(1)
    largest = joined.abs().amax(1)
    return largest * (joined / torch.where(largest > 0, largest, 1)[:, None]).norm(dim=1)


def each(numbers: Tensor, like: Tensor) -> Tensor:
    """Shape one number per instance (B,) so that it multiplies (…, B, *shape), for `like` (B, *shape)."""
    return numbers.reshape(-1, *[1] * (like.ndim - 1)).to(like.dtype)
