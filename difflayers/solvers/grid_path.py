"""Shortest path on a grid whose cells have costs, as on the maps of Vlastelica et al. (ICLR 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numba import njit

from difflayers._arguments import counts, indices
from difflayers.solver import Array
from difflayers.solvers.batch import batch_size, check_threads, checked_contexts, solve_batch, spend
from difflayers.solvers.heap import drop_first, push


@dataclass(frozen=True, eq=False)
class GridShortestPath:
    """The cheapest path between two cells of a grid, where a path pays for all its cells, both ends included.

    Exact, by Dijkstra's algorithm in O(n log n) per instance of n cells.

    Args:
        shape: height and width of the grid.
        neighbours: 4, or 8 to also step diagonally.
        source: (row, column) of the first cell of the path.
        target: (row, column) of the last cell; by default the last cell of the grid.
        clip_negative: replace negative costs by 0, as Vlastelica et al. (ICLR 2020) do for the perturbed
            costs of the backward pass. Otherwise negative costs are an error. Under `SPOPlusLoss` and
            `StructuredSVMLoss`, which need the solution of the negative costs, clipping makes losses that are
            no upper bounds.
        n_threads: number of threads that share a batch.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> import numpy as np
        >>> costs = np.array([[[1, 9, 9], [1, 1, 9], [9, 9, 1]]])
        >>> GridShortestPath((3, 3))(costs)
        array([[[1, 0, 0],
                [0, 1, 0],
                [0, 0, 1]]])
    """

    sense: ClassVar[str] = "minimize"
    shape: tuple[int, int]
    neighbours: int = 8
    source: tuple[int, int] = (0, 0)
    target: tuple[int, int] | None = None
    clip_negative: bool = False
    n_threads: int = 1
    _ends: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = counts("shape", self.shape, "two positive integers (height, width)", length=2)
        object.__setattr__(self, "shape", shape)
        if self.neighbours not in (4, 8):
            raise ValueError(f"neighbours must be 4 or 8, got {self.neighbours!r}")
        check_threads(self.n_threads)
        if self.target is None:
            object.__setattr__(self, "target", (shape[0] - 1, shape[1] - 1))
        ends = indices("source and target", [self.source, self.target], (2, 2))
        if (ends < 0).any() or (ends >= shape).any():
            raise ValueError(f"source and target must be cells of a grid {self.shape}, got {ends.tolist()}")
        object.__setattr__(self, "_ends", ends)

    def __call__(self, costs: Any, contexts: Sequence[Any] | None = None) -> Array:
        """Solve a batch.

        Args:
            costs: (B, height, width) non-negative numbers; infinity forbids a cell.
            contexts: per instance its ends ((row, column), (row, column)), in place of source and target.

        Returns:
            (B, height, width) in the costs' dtype: 1 on the path, 0 elsewhere.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or a negative value, or an end lies outside.
            InfeasibleError: an instance has no path of finite cost.
        """
        ends = checked_contexts(contexts, batch_size(costs), self._ends)
        wrong = ((ends < 0) | (ends >= self.shape)).any(axis=(1, 2))
        if wrong.any():
            instance = int(wrong.argmax())
            raise ValueError(
                f"the context of instance {instance} must be cells of a grid {self.shape}, "
                f"got {ends[instance].tolist()}"
            )
        return solve_batch(
            _grid_paths,
            costs,
            self.shape,
            (*self.shape, self.neighbours == 8),
            failure="no path of finite cost between source and target",
            n_threads=self.n_threads,
            per_instance=(ends,),
            domain="clip" if self.clip_negative else "non-negative",
        )


@njit(nogil=True, cache=True)
def _grid_paths(
    costs: np.ndarray,
    solutions: np.ndarray,
    meter: np.ndarray,
    ends: np.ndarray,
    height: int,
    width: int,
    diagonal: bool,
) -> int:
    """Dijkstra on a grid with a border of infinite cost, O(n log n) per instance.

    A step pays for the cell that it leads to. Therefore the first neighbour taken from the heap is also the
    best predecessor, a cell enters the heap once, and from then on the cell counts as forbidden.
    """
    stride = width + 2
    steps = np.array([1, stride, -1, -stride, stride + 1, stride - 1, 1 - stride, -1 - stride])
    steps = steps[: 8 if diagonal else 4]
    open_costs = np.empty((height + 2) * stride)
    previous = np.empty(open_costs.size, np.int32)
    keys = np.empty(height * width + 1)
    cells = np.empty(height * width + 1, np.int32)
    for row in range(len(costs)):
        open_costs[:] = np.inf
        for i in range(height):
            for j in range(width):
                open_costs[(i + 1) * stride + j + 1] = costs[row, i * width + j]
        source = (ends[row, 0, 0] + 1) * stride + ends[row, 0, 1] + 1
        target = (ends[row, 1, 0] + 1) * stride + ends[row, 1, 1] + 1
        if open_costs[source] == np.inf:
            return row
        keys[0], cells[0] = open_costs[source], source
        size = 1
        previous[source] = -1
        open_costs[source] = np.inf
        reached = source == target
        while size and not reached:
            if spend(meter, 100):
                return row
            key, cell = keys[0], cells[0]
            drop_first(keys, cells, size)
            size -= 1
            for step in steps:
                other = cell + step
                if open_costs[other] < np.inf:
                    push(keys, cells, size, key + open_costs[other], other)
                    size += 1
                    previous[other] = cell
                    open_costs[other] = np.inf
                    if other == target:
                        reached = True
                        break
        if not reached:
            return row
        cell = target
        while cell >= 0:
            solutions[row, (cell // stride - 1) * width + cell % stride - 1] = 1
            cell = previous[cell]
    return -1
