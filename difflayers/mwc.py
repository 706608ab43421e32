"""Multiway cut: asymmetric multiway cut in which no label may be split (P is empty in Eq. 2)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from difflayers import amwc
from difflayers._arguments import as_array
from difflayers.amwc import Solution
from difflayers.graph.checks import check_problem


@dataclass(frozen=True, eq=False)
class MWC:
    """Label the nodes of a graph at least cost; an edge is cut where its labels differ.

    Args:
        node_costs: (n, K) float, cost of every label at every node.
        edges: (m, 2) integers, pairs of different nodes. Parallel edges add up.
        edge_costs: (m,) float, cost of cutting; positive attracts, negative repels.

    Raises:
        TypeError, ValueError: as :class:`difflayers.amwc.AMWC` does.
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


def solve(problem: MWC, method: str = "default", *, start: np.ndarray | Solution | None = None) -> Solution:
    """Solve a multiway cut approximately; arguments and errors as :func:`difflayers.amwc.solve`."""
    check_problem(problem, MWC)
    return amwc.solve(problem.as_amwc, method, start=start)


def solve_exact(problem: MWC, time_limit: float | None = None) -> Solution:
    """Solve a multiway cut to proven optimality; see :func:`difflayers.amwc.solve_exact`."""
    check_problem(problem, MWC)
    return amwc.solve_exact(problem.as_amwc, time_limit)


def lower_bound(problem: MWC) -> float:
    """A number that no solution costs less than; see :func:`difflayers.amwc.lower_bound`."""
    check_problem(problem, MWC)
    return amwc.lower_bound(problem.as_amwc)


def certify(problem: MWC, solution: Solution) -> Solution:
    """The solution with its lower bound; see :func:`difflayers.amwc.certify`."""
    check_problem(problem, MWC)
    return amwc.certify(problem.as_amwc, solution)
