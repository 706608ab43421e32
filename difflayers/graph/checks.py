"""Checks at the front door of every graph problem, which takes copies of its arrays."""

import numpy as np
from numba import njit
from numpy.typing import DTypeLike

from difflayers._arguments import as_array, count
from difflayers.graph.minimum import greater, lesser

# Kernels count nodes, labels and entries of rows in 32 bits.
MOST = 2**30
# The module that solves a problem, by the name of its class.
_MODULES = {
    "AMWC": "difflayers.amwc",
    "MWC": "difflayers.mwc",
    "Multicut": "difflayers.multicut",
    "LiftedMulticut": "difflayers.lifted_multicut",
}


def check_problem(problem: object, kind: type) -> None:
    """Raise TypeError unless the problem is of a kind; the message names the module that solves it."""
    if isinstance(problem, kind):
        return
    came = type(problem).__name__
    hint = f"; {_MODULES[came]} has functions for that" if came in _MODULES else ""
    raise TypeError(f"problem must be {_with_article(kind.__name__)}, got {_with_article(came)}{hint}")


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"


def checked_nodes(num_nodes: int) -> int:
    """Return the number of nodes; raises ValueError unless it is an integer of at least 1 and below 2³⁰."""
    number = count("num_nodes", num_nodes)
    if number >= MOST:
        raise ValueError(f"num_nodes must be below 2**30, got {number}")
    return number


def checked_edges(edges: np.ndarray, num_nodes: int, name: str = "edges") -> np.ndarray:
    """Return a copy of an edge list as contiguous (m, 2) int32.

    Raises:
        TypeError: if the edges are not integers. ValueError: if their shape is wrong, there are 2³⁰ or
        more, a node is out of range or an edge is a loop.
    """
    edges = as_array(name, edges)
    if edges.size == 0 and edges.shape in ((0,), (0, 2)):
        return np.empty((0, 2), np.int32)
    if edges.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {edges.dtype}")
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise ValueError(f"{name} must have shape (m, 2), got {edges.shape}")
    if len(edges) >= MOST:
        raise ValueError(f"{name} must have fewer than 2**30 rows, got {len(edges)}")
    checked = np.empty(edges.shape, np.int32)
    wrong = _copy_edges(owned(edges, np.int32 if edges.dtype == np.int32 else np.int64), num_nodes, checked)
    if wrong >= 0:
        row = edges[wrong].tolist()  # as it came: int64 holds the largest uint64 as -1
        if row[0] == row[1]:
            raise ValueError(f"{name} must join different nodes, but row {wrong} is {row}")
        raise ValueError(f"{name} must index nodes 0 to {num_nodes - 1}, but row {wrong} is {row}")
    return checked


@njit(nogil=True, cache=True)
def _copy_edges(edges: np.ndarray, num_nodes: int, copy: np.ndarray) -> int:
    """Copy edges to int32 and return the first row that is no edge between two nodes, -1 if all are."""
    for e in range(edges.shape[0]):
        u, v = edges[e, 0], edges[e, 1]
        if u < 0 or v < 0 or u >= num_nodes or v >= num_nodes or u == v:
            return e
        copy[e, 0] = u
        copy[e, 1] = v
    return -1


def checked_costs(
    name: str, costs: np.ndarray, ndim: int, expected: str, finite: bool = False
) -> tuple[np.ndarray, bool, float]:
    """Return a copy of costs in C order, whether all are finite, and the largest finite absolute value.

    Costs in float32 stay float32, everything else becomes float64.

    Args:
        name: of the argument.
        costs: the costs.
        ndim: their number of dimensions.
        expected: the shape that they must have, as in an error message.
        finite: whether infinite costs are refused.

    Raises:
        TypeError: if the costs are not real numbers.
        ValueError: if they have another shape or hold NaN, or if sums of costs as large overflow.
    """
    array = as_array(name, costs)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers, got {array.dtype}")
    if array.ndim != ndim:
        raise ValueError(f"{name} must have shape {expected}, got {array.shape}")
    dtype = np.float32 if array.dtype == np.float32 else np.float64
    flags = array.flags
    if array.dtype != dtype or not (flags.c_contiguous and flags.aligned and flags.writeable):
        with np.errstate(over="ignore"):
            converted = np.array(array, dtype, order="C")
        if array.dtype.itemsize > 8 and (np.isinf(converted) & np.isfinite(array)).any():
            raise ValueError(f"{name} are too large for float64")
        array = converted
    copy = np.empty(array.shape, dtype)
    total, low, high = _copy(array.reshape(-1), copy.reshape(-1))
    # A finite sum proves finite entries; the slower tests are for sums that overflow and for constraints.
    all_finite = bool(np.isfinite(total) or np.isfinite(copy).all())
    if not all_finite:
        _check_infinite(name, copy, finite)
        used = copy[np.isfinite(copy)]
        low, high = used.min(initial=0), used.max(initial=0)
    largest = max(float(high), -float(low))
    # An eighth, for what solvers add to sums and take off them.
    if copy.size and largest > np.finfo(dtype).max / 8 / copy.size:
        raise ValueError(
            f"{name} are too large: sums of {copy.size} numbers up to {largest:g} overflow {np.dtype(dtype)}"
        )
    return copy, all_finite, largest


def check_length(name: str, costs: np.ndarray, edges_name: str, edges: np.ndarray) -> None:
    """Raise ValueError unless there is a cost per edge."""
    if len(costs) != len(edges):
        expected = f"({len(edges)},)"
        raise ValueError(f"{name} must have shape {expected}, got {costs.shape}: one per row of {edges_name}")


def _check_infinite(name: str, costs: np.ndarray, finite: bool) -> None:
    if np.isnan(costs).any():
        raise ValueError(f"{name} must be no NaN, got NaN at {np.argwhere(np.isnan(costs))[0].tolist()}")
    if finite:
        raise ValueError(f"{name} must be finite, got infinity at {np.argwhere(np.isinf(costs))[0].tolist()}")


@njit(nogil=True, cache=True, fastmath={"reassoc"})
def _copy(costs: np.ndarray, copy: np.ndarray) -> tuple[float, float, float]:
    """Copy costs (c,) in one pass; their sum and, if it is finite, the least and greatest of them and 0."""
    zero = costs.dtype.type(0)
    total, low, high = 0.0, zero, zero
    for i in range(costs.size):
        cost = costs[i]
        copy[i] = cost
        total += cost
        low, high = lesser(low, cost), greater(high, cost)
    return total, low, high


def owned(array: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Return the array in C order and writable, as kernels are compiled for it; copied only if need be."""
    array = np.ascontiguousarray(array, dtype)
    return array if array.flags.writeable else array.copy()
