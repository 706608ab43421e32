"""Multicut of a fixed graph, from edge costs to cut edges."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from difflayers import multicut
from difflayers._arguments import as_array, count
from difflayers.amwc.search import PLANS
from difflayers.graph.checks import checked_edges
from difflayers.solver import Array
from difflayers.solvers.batch import check_threads, checked_rows


@dataclass(frozen=True, eq=False)
class MinimumCostMulticut:
    """A partition of the nodes of a graph, into any number of parts, whose cut edges cost least.

    Approximate, by `difflayers.multicut.solve`, in about O(m) per instance.

    Args:
        num_nodes: number n of nodes.
        edges: (m, 2) integers, pairs of different nodes.
        method: "fast", "default" or "best", from the quickest method to the one of lowest cost.
        n_threads: number of threads that share a batch.

    Raises:
        TypeError, ValueError: an argument has the wrong form or is out of range.

    Examples:
        >>> import numpy as np
        >>> solver = MinimumCostMulticut(3, [[0, 1], [1, 2], [0, 2]])
        >>> solver(np.array([[1.0, -2.0, -2.0]]))
        array([[0., 1., 1.]])
    """

    sense: ClassVar[str] = "minimize"
    num_nodes: int
    edges: Array
    method: str = "fast"
    n_threads: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_nodes", count("num_nodes", self.num_nodes))
        if not isinstance(self.method, str) or self.method not in PLANS:
            raise ValueError(f'method must be "fast", "default" or "best", got {self.method!r}')
        check_threads(self.n_threads)
        object.__setattr__(self, "edges", checked_edges(self.edges, self.num_nodes))

    def __call__(self, costs: Any) -> Array:
        """Solve a batch.

        Args:
            costs: (B, m) finite numbers. An edge pays its cost when it is cut, so a positive cost attracts
                and a negative cost repels.

        Returns:
            (B, m) in the costs' dtype: 1 for the edges that are cut, 0 for the others.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or an infinite value.
        """
        array = as_array("costs", costs)
        rows = checked_rows(array, (len(self.edges),), "finite")
        if self.n_threads == 1:
            cuts = list(map(self._cuts, rows))
        else:
            with ThreadPoolExecutor(self.n_threads) as pool:
                cuts = list(pool.map(self._cuts, rows))
        return np.array(cuts, array.dtype).reshape(array.shape)

    def _cuts(self, edge_costs: Array) -> Array:
        problem = multicut.Multicut(self.num_nodes, self.edges, edge_costs)
        return multicut.solve(problem, self.method).cuts
