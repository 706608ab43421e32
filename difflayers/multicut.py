"""Multicut: asymmetric multiway cut with one partitionable label and no node costs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from difflayers import amwc
from difflayers._arguments import as_array
from difflayers.amwc import Solution
from difflayers.amwc.solution import checked_labels, solution_from_clusters
from difflayers.graph.checks import check_problem, checked_nodes


@dataclass(frozen=True, eq=False)
class Multicut:
    """Partition a graph into connected segments so that the edges between them cost least.

    Args:
        num_nodes: number n of nodes.
        edges: (m, 2) integers, pairs of different nodes. Parallel edges add up.
        edge_costs: (m,) float, cost of cutting; positive attracts, negative repels.

    Raises:
        TypeError, ValueError: as :class:`difflayers.amwc.AMWC` does; ValueError if there are no nodes.
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
    problem: Multicut, method: str = "default", *, start: np.ndarray | Solution | None = None
) -> Solution:
    """Solve a multicut approximately; arguments and errors as :func:`difflayers.amwc.solve`.

    ``start`` is a solution or (n,) segments, below n, of which the connected parts are taken.
    """
    check_problem(problem, Multicut)
    if start is not None and not isinstance(start, Solution):
        segments = checked_labels("start", start, problem.num_nodes, problem.num_nodes)
        start = solution_from_clusters(problem.as_amwc, np.zeros(problem.num_nodes), segments)
    return amwc.solve(problem.as_amwc, method, start=start)


def solve_exact(problem: Multicut, time_limit: float | None = None) -> Solution:
    """Solve a multicut to proven optimality; see :func:`difflayers.amwc.solve_exact`."""
    check_problem(problem, Multicut)
    return amwc.solve_exact(problem.as_amwc, time_limit)


def lower_bound(problem: Multicut) -> float:
    """A number that no solution costs less than; see :func:`difflayers.amwc.lower_bound`."""
    check_problem(problem, Multicut)
    return amwc.lower_bound(problem.as_amwc)


def certify(problem: Multicut, solution: Solution) -> Solution:
    """The solution with its lower bound; see :func:`difflayers.amwc.certify`."""
    check_problem(problem, Multicut)
    return amwc.certify(problem.as_amwc, solution)
