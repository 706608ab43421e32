"""Edge lists of regular grids of any dimension, and which of their pairs are kept."""

from collections.abc import Sequence
from functools import reduce
from numbers import Real
from typing import TypedDict

import numpy as np

from difflayers._arguments import as_array, count, counts

Offsets = Sequence[Sequence[int]] | np.ndarray


class Selection(TypedDict, total=False):
    """Which pairs of a grid are kept, as `grid_edges` takes it."""

    strides: Sequence[int] | None
    fraction: float
    seed: int
    mask: np.ndarray | None


def grid_edges(
    shape: Sequence[int],
    distances: Sequence[int] | Offsets | None = None,
    *,
    offsets: Offsets | None = None,
    strides: Sequence[int] | None = None,
    fraction: float = 1.0,
    seed: int = 0,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """Pairs of pixels or voxels of a grid: at distances along the axes of an image, or at any offsets.

    The second argument holds either distances or offsets. Integers are distances; rows of one integer per
    axis are offsets.

    Args:
        shape: size of the grid along each axis. Voxels are numbered in row-major order, as by
            `np.arange(size).reshape(shape)`.
        distances: positive distances in pixels, in the order in which their edges are wanted; only for
            images, whose shape is (height, width). Distance d stands for the offsets (d, 0) and (0, d).
        offsets: (k, d) integers instead of distances, for any dimension d. Offset o joins every voxel p to
            voxel p + o. Entries may be negative; an offset and its negative give the same pairs twice.
        strides: one positive integer per axis. Of a long-range offset, only those pairs are kept whose first
            voxel lies at multiples of the strides. An offset is long-range if the absolute values of its
            entries add up to more than 1.
        fraction: of a long-range offset's pairs, each is kept with this probability, in (0, 1].
        seed: of the random choice. The same seed and the same arguments keep the same pairs.
        mask: bool array of the grid's shape. Pairs with an end where it is False are left out. All voxels
            keep their numbers.

    Returns:
        (m, 2) int64. The edges of one offset follow those of another in the order given, each in row-major
        order of the first voxel p. An offset that does not fit contributes no edges.

    Raises:
        TypeError: if `mask` is not bool.
        ValueError: if another argument is not as described above.

    Strides and random subsets of the long-range pairs are those of the mutex watershed (Wolf et al. 2018).

    Examples:
        >>> grid_edges((2, 2), [1]).tolist()
        [[0, 2], [1, 3], [0, 1], [2, 3]]
        >>> grid_edges((1, 2, 2), [(0, 0, -1), (0, 1, 1)]).tolist()
        [[1, 0], [3, 2], [0, 3]]
    """
    if offsets is None and distances is not None and not _is_table(distances):
        axes, steps = _along_axes(shape, distances)
    elif (offsets is None) == (distances is None):
        raise ValueError("grid_edges must be given either distances or offsets, got both or neither")
    elif offsets is None:
        axes, steps = checked_offsets("distances", shape, distances)
    else:
        axes, steps = checked_offsets("offsets", shape, offsets)
    ends = [np.empty((0, 2), np.int64)]
    firsts = first_voxels(axes, steps, strides=strides, fraction=fraction, seed=seed, mask=mask)
    for first, step in zip(firsts, flat_steps(axes, steps), strict=True):
        ends.append(np.stack([first, first + step], axis=1))
    return np.concatenate(ends)


def _is_table(given: object) -> bool:
    """Whether the second argument of `grid_edges` holds rows, so that they must be offsets."""
    if isinstance(given, np.ndarray):
        return given.ndim > 1
    return isinstance(given, Sequence) and len(given) > 0 and isinstance(given[0], Sequence | np.ndarray)


def _along_axes(shape: Sequence[int], distances: object) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape of an image, and the offsets (2k, 2) of distances along its axes."""
    axes = counts(
        "shape",
        shape,
        "two positive integers (height, width) where distances are given "
        "(in other dimensions, pass offsets such as [(1, 0, 0), (0, 1, 0), (0, 0, 1)])",
        length=2,
    )
    steps = counts("distances", distances, "positive integers, or rows of one integer per axis (offsets)")  # type: ignore[arg-type]
    return axes, np.array([step for d in steps for step in ((d, 0), (0, d))], np.int64).reshape(-1, 2)


def checked_offsets(name: str, shape: Sequence[int], given: object) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape of a grid, and its offsets as (k, d) int64; raises ValueError naming what is wrong."""
    axes = counts("shape", shape, "positive integers, one per axis")
    array = as_array(name, given)
    if array.size == 0 and array.ndim <= 2:
        return axes, np.empty((0, len(axes)), np.int64)
    if array.ndim != 2 or array.shape[1] != len(axes) or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be rows of {len(axes)} integers, one per axis of shape {axes}, got {given!r}"
        )
    if (np.abs(array.astype(np.float64)) >= 2**31).any():
        raise ValueError(f"{name} must be below 2**31, got {given!r}")
    if not array.any(axis=1).all():
        raise ValueError(f"{name} must join different voxels, got an offset of zeros in {given!r}")
    return axes, array.astype(np.int64)


def flat_steps(shape: tuple[int, ...], offsets: np.ndarray) -> np.ndarray:
    """How far apart (k,) in row-major order the two voxels of every offset (k, d) are."""
    strides = np.cumprod([1, *shape[:0:-1]], dtype=np.int64)[::-1]
    return offsets @ strides


def is_long_range(offsets: np.ndarray) -> np.ndarray:
    """Whether each offset (k, d) joins voxels that are no neighbours along an axis, as (k,) bool."""
    return np.abs(offsets).sum(axis=1) > 1


def offset_box(shape: tuple[int, ...], offset: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The box of voxels p for which p + offset lies in the grid, and that box moved by the offset."""
    box = tuple(slice(max(0, -o), max(0, -o, min(n, n - o))) for n, o in zip(shape, offset, strict=True))
    return box, tuple(slice(s.start + o, s.stop + o) for s, o in zip(box, offset, strict=True))


def first_voxels(
    shape: tuple[int, ...],
    offsets: np.ndarray,
    *,
    strides: Sequence[int] | None = None,
    fraction: float = 1.0,
    seed: int = 0,
    mask: np.ndarray | None = None,
) -> list[np.ndarray]:
    """For each offset (k, d) the first voxels (m,) int64 of its kept pairs; raises as `grid_edges` says."""
    if strides is not None:
        strides = counts("strides", strides, f"{len(shape)} positive integers, one per axis", len(shape))
    if isinstance(fraction, bool) or not (isinstance(fraction, Real) and 0 < fraction <= 1):
        raise ValueError(f"fraction must be a number in (0, 1], got {fraction!r}")
    random = np.random.default_rng(count("seed", seed, least=0))
    if mask is not None:
        mask = checked_mask(mask, shape)
    nodes = np.arange(np.prod(shape, dtype=np.int64)).reshape(shape)
    firsts = []
    for offset, long_range in zip(offsets.tolist(), is_long_range(offsets), strict=True):
        box, shifted = offset_box(shape, offset)
        conditions = []
        if long_range and strides is not None:
            conditions.append(_on_lattice(box, strides))
        if long_range and fraction < 1:
            conditions.append(random.random(nodes[box].shape) < fraction)
        if mask is not None:
            conditions.append(mask[box] & mask[shifted])
        # Slices of voxels that do not exist are empty, so that an offset that does not fit keeps nothing.
        firsts.append(nodes[box][reduce(np.logical_and, conditions)] if conditions else nodes[box].ravel())
    return firsts


def checked_mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mask as an array; raises TypeError unless it is bool, ValueError unless it has the shape."""
    mask = as_array("mask", mask)
    if mask.dtype != np.bool_:
        raise TypeError(f"mask must be bool, got {mask.dtype}")
    if mask.shape != shape:
        raise ValueError(f"mask must have shape {shape}, got {mask.shape}")
    return mask


def _on_lattice(box: tuple[slice, ...], strides: Sequence[int]) -> np.ndarray:
    """Whether each voxel of a box lies at multiples of the strides."""
    axes = [np.arange(s.start, s.stop) % stride == 0 for s, stride in zip(box, strides, strict=True)]
    return reduce(np.logical_and.outer, axes)
