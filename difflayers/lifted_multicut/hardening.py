"""Costs of a lifted multicut that no optimal solution pays: pairs that are surely cut, or surely not."""

from typing import NamedTuple

import numpy as np

from difflayers.graph.components import components
from difflayers.graph.magnitudes import SAFE, are_large, thresholds
from difflayers.graph.rows import INDEX
from difflayers.lifted_multicut.problem import LiftedMulticut, solution_from_clusters
from difflayers.lifted_multicut.search import solve


class Certain(NamedTuple):
    """What is certain of the optimal solutions.

    Attributes:
        cut: (m + l,) bool, edges and then lifted edges that are cut.
        uncut: (m + l,) bool, edges and then lifted edges that are not cut.
    """

    cut: np.ndarray
    uncut: np.ndarray


def certain_pairs(problem: LiftedMulticut) -> Certain:
    """Return the pairs of which a large cost leaves no choice.

    A connected part of the graph pays none of its large costs if a solution avoids them all, and if the
    smallest of
    them is more than all others of the part together: a solution that pays one costs more than that solution.
    """
    pairs = np.concatenate([problem.edges, problem.lifted_edges])
    costs = np.concatenate([problem.edge_costs, problem.lifted_costs]).astype(np.float64)
    part = components(problem.num_nodes, pairs.view(INDEX))[pairs[:, 0]]
    certain = np.zeros(len(pairs), bool)
    for threshold in thresholds(costs):
        large = are_large(costs, threshold)
        stake = np.bincount(part, np.where(large, 0.0, np.abs(costs)), problem.num_nodes)
        smallest = np.full(problem.num_nodes, np.inf)
        np.minimum.at(smallest, part[large], np.abs(costs[large]))
        paid = _paid(problem, np.where(large, costs, 0.0))
        payers = np.bincount(part, large & paid, problem.num_nodes) > 0
        certain |= large & (np.isfinite(smallest) & (smallest > SAFE * stake) & ~payers)[part]
    return Certain(certain & (costs < 0.0), certain & (costs > 0.0))


def _paid(problem: LiftedMulticut, costs: np.ndarray) -> np.ndarray:
    """Which pairs (m + l,) pay in a good solution: attractive ones cut, repulsive ones uncut."""
    m = len(problem.edges)
    large = LiftedMulticut(problem.num_nodes, problem.edges, costs[:m], problem.lifted_edges, costs[m:])
    solution = solution_from_clusters(large, solve(large, "best").segments)
    cuts = np.concatenate([solution.cuts, solution.lifted_cuts]).astype(bool)
    return np.where(costs > 0.0, cuts, ~cuts)
