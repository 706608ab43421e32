"""Multiway cut: asymmetric multiway cut in which no label may be split (P is empty in Eq. 2)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Unpack

import numpy as np

from difflayers import amwc
from difflayers._arguments import as_array
from difflayers.amwc import Solution
from difflayers.graph.checks import check_problem
from difflayers.graph.limits import Limits


@dataclass(frozen=True, eq=False)
class MWC:
    """Label the nodes of a graph at least cost; an edge is cut where its labels differ.

    Args:
        node_costs: (n, K) float, cost of every label at every node.
        edges: (m, 2) integers, pairs of different nodes. Parallel edges add up.
        edge_costs: (m,) float, cost of cutting; positive attracts, negative repels.

    Raises:
        TypeError, ValueError: as `difflayers.amwc.AMWC` does.

    ```python
    >>> from difflayers import mwc
    >>> problem = mwc.MWC([[0, 2], [2, 0], [1, 1]], [[0, 1], [1, 2]], [1.0, 3.0])
    >>> mwc.solve(problem).labels.tolist()
    [0, 1, 1]

    ```
    """

    node_costs: np.ndarray
    edges: np.ndarray
    edge_costs: np.ndarray

    def __post_init__(self) -> None:
        for name in ("node_costs", "edges", "edge_costs"):
            object.__setattr__(self, name, getattr(self.as_amwc, name))

    @cached_property
    def as_amwc(self) -> amwc.AMWC:
        """The same problem as an AMWC without partitionable labels."""
        node_costs = as_array("node_costs", self.node_costs)
        num_labels = node_costs.shape[1] if node_costs.ndim == 2 else 0
        return amwc.AMWC(self.node_costs, self.edges, self.edge_costs, np.zeros(num_labels, bool))


def solve(
    problem: MWC,
    method: str = "default",
    *,
    start: np.ndarray | Solution | None = None,
    **limits: Unpack[Limits],
) -> Solution:
    """Solve a multiway cut approximately; arguments and errors as `difflayers.amwc.solve`.

    ```python
    >>> from difflayers import mwc
    >>> problem = mwc.MWC([[0, 2], [2, 0], [1, 1]], [[0, 1], [1, 2]], [1.0, 3.0])
    >>> mwc.solve(problem, "best").cost
    2.0

    ```
    """
    check_problem(problem, MWC)
    return amwc.solve(problem.as_amwc, method, start=start, **limits)


def solve_exact(problem: MWC, time_limit: float | None = None) -> Solution:
    """Solve a multiway cut to proven optimality; see `difflayers.amwc.solve_exact`.

    ```python
    >>> from difflayers import mwc
    >>> problem = mwc.MWC([[0, 2], [2, 0], [1, 1]], [[0, 1], [1, 2]], [1.0, 3.0])
    >>> mwc.solve_exact(problem).proven_optimal
    True

    ```
    """
    check_problem(problem, MWC)
    return amwc.solve_exact(problem.as_amwc, time_limit)


def lower_bound(problem: MWC) -> float:
    """Return a number that no solution costs less than; see `difflayers.amwc.lower_bound`.

    ```python
    >>> from difflayers import mwc
    >>> problem = mwc.MWC([[0, 2], [2, 0], [1, 1]], [[0, 1], [1, 2]], [1.0, 3.0])
    >>> mwc.lower_bound(problem)
    2.0

    ```
    """
    check_problem(problem, MWC)
    return amwc.lower_bound(problem.as_amwc)


def certify(problem: MWC, solution: Solution) -> Solution:
    """Return the solution with its lower bound; see `difflayers.amwc.certify`.

    ```python
    >>> from difflayers import mwc
    >>> problem = mwc.MWC([[0, 2], [2, 0], [1, 1]], [[0, 1], [1, 2]], [1.0, 3.0])
    >>> mwc.certify(problem, mwc.solve(problem)).gap
    0.0

    ```
    """
    check_problem(problem, MWC)
    return amwc.certify(problem.as_amwc, solution)
