"""Multicut: asymmetric multiway cut with one partitionable label and no node costs."""

from dataclasses import dataclass
from functools import cached_property
from typing import Unpack

import numpy as np

from difflayers import amwc
from difflayers._arguments import as_array
from difflayers.amwc import Solution
from difflayers.amwc.solution import checked_labels, solution_from_clusters
from difflayers.graph.checks import check_problem, checked_nodes
from difflayers.graph.limits import Limits


@dataclass(frozen=True, eq=False)
class Multicut:
    """Partition a graph into connected segments so that the edges between them cost least.

    Args:
        num_nodes: number n of nodes.
        edges: (m, 2) integers, pairs of different nodes. Parallel edges add up.
        edge_costs: (m,) float, cost of cutting; positive attracts, negative repels.

    Raises:
        TypeError, ValueError: as `difflayers.amwc.AMWC` does; ValueError if there are no nodes.

    ```python
    >>> from difflayers import multicut
    >>> problem = multicut.Multicut(3, [[0, 1], [1, 2], [0, 2]], [3.0, 1.0, -2.0])
    >>> multicut.solve(problem).segments.tolist()
    [0, 0, 1]

    ```
    """

    num_nodes: int
    edges: np.ndarray
    edge_costs: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_nodes", checked_nodes(self.num_nodes))
        object.__setattr__(self, "edges", self.as_amwc.edges)
        object.__setattr__(self, "edge_costs", self.as_amwc.edge_costs)

    @cached_property
    def as_amwc(self) -> amwc.AMWC:
        """The same problem as an AMWC with one partitionable label."""
        dtype = np.float32 if as_array("edge_costs", self.edge_costs).dtype == np.float32 else np.float64
        node_costs = np.zeros((self.num_nodes, 1), dtype)
        return amwc.AMWC(node_costs, self.edges, self.edge_costs, np.ones(1, bool))


def solve(
    problem: Multicut,
    method: str = "default",
    *,
    start: np.ndarray | Solution | None = None,
    **limits: Unpack[Limits],
) -> Solution:
    """Solve a multicut approximately; arguments and errors as `difflayers.amwc.solve`.

    `start` is a solution or (n,) segments, below n, whose connected parts are taken.

    ```python
    >>> from difflayers import multicut
    >>> problem = multicut.Multicut(3, [[0, 1], [1, 2], [0, 2]], [3.0, 1.0, -2.0])
    >>> multicut.solve(problem, start=[0, 1, 2]).cost
    -1.0

    ```
    """
    check_problem(problem, Multicut)
    if start is not None and not isinstance(start, Solution):
        segments = checked_labels("start", start, problem.num_nodes, problem.num_nodes)
        start = solution_from_clusters(problem.as_amwc, np.zeros(problem.num_nodes), segments)
    return amwc.solve(problem.as_amwc, method, start=start, **limits)


def solve_exact(problem: Multicut, time_limit: float | None = None) -> Solution:
    """Solve a multicut to proven optimality; see `difflayers.amwc.solve_exact`.

    ```python
    >>> from difflayers import multicut
    >>> problem = multicut.Multicut(3, [[0, 1], [1, 2], [0, 2]], [3.0, 1.0, -2.0])
    >>> multicut.solve_exact(problem).proven_optimal
    True

    ```
    """
    check_problem(problem, Multicut)
    return amwc.solve_exact(problem.as_amwc, time_limit)


def lower_bound(problem: Multicut) -> float:
    """Return a number that no solution costs less than; see `difflayers.amwc.lower_bound`.

    ```python
    >>> from difflayers import multicut
    >>> problem = multicut.Multicut(3, [[0, 1], [1, 2], [0, 2]], [3.0, 1.0, -2.0])
    >>> multicut.lower_bound(problem)
    -1.0

    ```
    """
    check_problem(problem, Multicut)
    return amwc.lower_bound(problem.as_amwc)


def certify(problem: Multicut, solution: Solution) -> Solution:
    """Return the solution with its lower bound; see `difflayers.amwc.certify`.

    ```python
    >>> from difflayers import multicut
    >>> problem = multicut.Multicut(3, [[0, 1], [1, 2], [0, 2]], [3.0, 1.0, -2.0])
    >>> multicut.certify(problem, multicut.solve(problem)).gap
    0.0

    ```
    """
    check_problem(problem, Multicut)
    return amwc.certify(problem.as_amwc, solution)
