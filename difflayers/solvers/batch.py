"""What every ready-made solver does with a batch: check it, solve it in threads, name what failed."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any

import numpy as np
from numba import njit

from difflayers._arguments import all_finite, as_array, count
from difflayers.solver import Array, InfeasibleError

# Sums of as large numbers, and differences of sums, stay finite.
_MOST = float(np.finfo(np.float64).max) / 8
# So many steps take some tenths of a second.
_LONG = 10**8
_ENDLESS = 2**62


def solve_batch(
    kernel: Callable[..., int],
    costs: Any,
    shape: tuple[int, ...],
    structure: Sequence[Any],
    *,
    failure: str,
    n_threads: int = 1,
    per_instance: Sequence[Array] = (),
    domain: str = "any",
) -> Array:
    """Check a batch of costs and solve it with a kernel.

    Args:
        kernel: called as `kernel(costs, solutions, meter, *per_instance, *structure)` with (b, size) float64
            rows of costs, and zeros of that shape to write the solutions into. The kernel returns the first
            row that has no solution, or at which `spend` told it to stop, or -1. It must call `spend` every
            few tenths of a second at least, and it releases the GIL. (Costs have one dtype, so that every
            kernel is compiled once.)
        costs: (B, *shape) real numbers; infinity means forbidden.
        shape: the shape of one instance.
        structure: what all instances share.
        failure: the message for an instance without solution.
        n_threads: number of threads that share the rows.
        per_instance: arrays (B, ...) of which a kernel gets the entries of its rows.
        domain: which costs are valid. "any" takes all, "non-negative" refuses negative costs, "clip" replaces
            them by 0, and "finite" refuses infinity.

    Returns:
        Solutions (B, *shape) in the dtype of the costs.

    Raises:
        TypeError: the costs are no real numbers.
        ValueError: the costs have the wrong shape, a NaN, minus infinity, or a value outside the domain.
        InfeasibleError: an instance has no solution; the others were solved.
    """
    array = as_array("costs", costs)
    rows = checked_rows(array, shape, domain)
    found = np.zeros(rows.shape)

    def solve_part(begin: int, end: int, meter: Array) -> tuple[list[int], int]:
        """The rows without solution, and where it stopped."""
        failed: list[int] = []
        while begin < end:
            part = slice(begin, end)
            row = kernel(rows[part], found[part], meter, *(array[part] for array in per_instance), *structure)
            if row < 0:
                break
            begin += row
            if meter.min() < 0:
                return failed, begin
            failed.append(begin)
            begin += 1
        return failed, end

    failed: list[int] = []
    begin = 0
    if n_threads == 1 or len(rows) < 2:
        # Only the main thread receives Ctrl-C, and only outside of kernels.
        main = threading.current_thread() is threading.main_thread()
        failed, begin = solve_part(0, len(rows), np.array([0, _LONG if main else _ENDLESS]))
    if begin < len(rows):
        failed += _in_threads(solve_part, begin, len(rows), n_threads)
    solutions = found.reshape(array.shape).astype(array.dtype, copy=False)
    if failed:
        raise InfeasibleError(failure, failed, solutions)
    return solutions


@njit(nogil=True, cache=True)
def spend(meter: np.ndarray, steps: int) -> bool:
    """Count steps (of some nanoseconds) on the meter of a kernel; whether the kernel is to stop.

    The meter (2,) holds -1 where another thread wants the kernel to stop, and the number of steps left.
    """
    meter[1] -= steps
    return meter[0] < 0 or meter[1] < 0


def _in_threads(
    solve_part: Callable[[int, int, Array], tuple[list[int], int]], begin: int, end: int, n_threads: int
) -> list[int]:
    """Solve rows in threads and return those that have no solution.

    An exception that reaches the calling thread meanwhile, such as KeyboardInterrupt, stops the kernels.
    """
    n_threads = min(n_threads, end - begin)
    bounds = np.linspace(begin, end, n_threads + 1).astype(int).tolist()
    meters = np.tile(np.array([0, _ENDLESS]), (n_threads, 1))
    # A pool per call costs some 0.2 ms. A pool that is kept would be without its threads after a fork.
    with ThreadPoolExecutor(n_threads) as pool:
        parts = [
            pool.submit(solve_part, *part, meter)
            for part, meter in zip(pairwise(bounds), meters, strict=True)
        ]
        try:
            # A signal that another thread received is noticed at the next round.
            while wait(parts, timeout=0.1).not_done:
                pass
            return [row for part in parts for row in part.result()[0]]
        except BaseException:
            meters[:, 0] = -1
            raise


def checked_rows(array: Array, shape: tuple[int, ...] | None, domain: str = "any") -> Array:
    """Costs as C-contiguous, writable (B, size) float64; raises as `solve_batch` says.

    If the shape is None, instances are vectors of any length.
    """
    if array.dtype.kind not in "fiu":
        raise TypeError(f"costs must be real numbers, got dtype {array.dtype}")
    if array.ndim == 0 or (array.ndim != 2 if shape is None else array.shape[1:] != shape):
        expected = ", ".join(map(str, ("B", *(("n",) if shape is None else shape))))
        raise ValueError(f"costs must have shape ({expected}), got {array.shape}")
    if array.size == 0:
        return np.zeros((len(array), int(np.prod(array.shape[1:]))))
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(array, np.float64).reshape(len(array), -1)
    if array.dtype.itemsize > 8 and (np.isinf(rows) != np.isinf(array.reshape(rows.shape))).any():
        raise ValueError("costs must be within the range of float64, got larger numbers")
    if not all_finite(rows):  # one pass over good costs shows that they are good
        _check_extreme(rows, domain)
    if domain in ("non-negative", "clip") and (lowest := rows.min()) < 0:
        if domain == "clip":
            return np.maximum(rows, 0)
        raise ValueError(
            f"costs must not be negative here, got the negative value {lowest:g} in instance "
            f"{_first(rows == lowest)}. Predict costs that are not negative, for example through softplus. "
            "In the perturbed problems of a layer, a solver with clip_negative=True replaces negative costs "
            "by 0. Do not clip under SPOPlusLoss or StructuredSVMLoss, which would no longer be upper bounds"
        )
    return rows if rows.flags.writeable else rows.copy()  # a kernel would be compiled again for read-only


def _check_extreme(rows: Array, domain: str) -> None:
    """Refuse NaN, −∞, numbers whose sums overflow, and ∞ if the domain is finite."""
    allowed = rows > -np.inf
    if not allowed.all():
        raise ValueError(f"costs must not be NaN or minus infinity, got one in instance {_first(~allowed)}")
    finite = rows < np.inf
    if domain == "finite" and not finite.all():
        raise ValueError(f"costs must be finite, got infinity in instance {_first(~finite)}")
    largest = np.abs(rows).max(where=finite, initial=0)
    if largest > _MOST / rows.shape[1]:
        raise ValueError(f"costs must have sums within float64, got numbers as large as {largest:g}")


def batch_size(costs: Any) -> int:
    """The number of instances; 0 for a single number, which `checked_rows` refuses."""
    array = as_array("costs", costs)
    return len(array) if array.ndim else 0


def checked_contexts(contexts: Sequence[Any] | None, batch: int, default: Array) -> Array:
    """One row per instance with the shape and dtype of the default: its context, or the default if None.

    Raises ValueError if the number of contexts is not the number of instances, or if a context does not have
    the shape of the default and a dtype that can be cast to that of the default.
    """
    rows = np.empty((batch, *default.shape), default.dtype)
    rows[:] = default
    if contexts is None:
        return rows
    if len(contexts) != batch:
        raise ValueError(f"contexts must have length {batch}, one per instance, got {len(contexts)}")
    for instance, context in enumerate(contexts):
        given = as_array(f"the context of instance {instance}", context)
        if given.shape != default.shape or not np.can_cast(given.dtype, default.dtype, "safe"):
            raise ValueError(
                f"the context of instance {instance} must have shape {default.shape} and a dtype that "
                f"{default.dtype} can hold, got {context!r}"
            )
        rows[instance] = given
    return rows


def check_threads(n_threads: int) -> None:
    """Raise ValueError unless n_threads is a positive integer."""
    count("n_threads", n_threads)


def _first(mask: Array) -> int:
    return int(mask.any(axis=1).argmax())
