"""Costs that no optimal solution pays become constraints, and common offsets of a node's costs are removed.

A finite cost of 1e10 is a usual way to write "forbidden". Beside costs of 1, it takes digits and tolerances
from them in every sum and in every linear program. The problem that is made here has the same optimal
solutions, and only costs that have to be weighed against each other.
"""

from typing import NamedTuple

import numpy as np

from difflayers.amwc.constraints import Penalized
from difflayers.amwc.problem import AMWC
from difflayers.graph.components import components
from difflayers.graph.magnitudes import SAFE, are_large, thresholds
from difflayers.graph.rows import INDEX
from difflayers.graph.units import Resolution, resolution

# Parts of the graph whose constraints are tried one by one, if all together contradict each other.
_MOST_PARTS = 200
# Problems of more costs than this are searched only if a sample of so many has a wide range.
_SAMPLE = 100_000
_WIDE = 64.0


class Hardened(NamedTuple):
    """A problem with the same optimal solutions.

    Attributes:
        problem: float64 costs; the cheapest label of a node costs 0, costs that cannot be paid are infinite.
        offsets: a solution that keeps all constraints costs the sum of these more in the original problem.
        sums: the resolution of sums of the problem's costs.
        original_sums: the resolution of sums of the problem's costs and the offsets.
    """

    problem: AMWC
    offsets: np.ndarray
    sums: Resolution
    original_sums: Resolution


def harden(problem: AMWC) -> Hardened:
    """Return the hardened problem, in O((n K + m) t) for t different orders of magnitude.

    A label cannot be paid if it costs more than all edges of its node. A set of nodes that large costs tie
    together pays none of these costs if they can all be avoided at once, and if the smallest of them is
    more than all other costs of the set's nodes and edges: any solution that pays one becomes cheaper where
    the set changes.

    Raises:
        ValueError: if the problem's own constraints contradict each other.
    """
    if problem.constrained:
        Penalized(problem)
    if not _may_be_wide(problem):
        sums = resolution(problem.node_costs, problem.edge_costs)
        return Hardened(problem, np.zeros(1), sums, sums)
    node_costs, edge_costs = problem.node_costs.astype(np.float64), problem.edge_costs.astype(np.float64)
    least = node_costs.min(axis=1)
    reduced = node_costs - least[:, None]
    # Rounded down, so that a bound on the hardened problem is one on the problem.
    finite = np.isfinite(reduced)
    rose = np.where(finite, node_costs - np.where(finite, reduced, 0.0), np.inf) < least[:, None]
    reduced = np.where(rose, np.nextafter(reduced, 0.0), reduced)
    forbid_single_labels(problem.edges, reduced, edge_costs)
    for threshold in thresholds(reduced, edge_costs):
        _harden_above(problem, reduced, edge_costs, threshold)
    always = np.isneginf(edge_costs) & np.isfinite(problem.edge_costs)
    hardened = AMWC(reduced, problem.edges, edge_costs, problem.partitionable)
    offsets = np.concatenate([least, problem.edge_costs[always]]).astype(np.float64)
    sums = resolution(reduced, edge_costs)
    return Hardened(hardened, offsets, sums, resolution(reduced, edge_costs, offsets))


def _may_be_wide(problem: AMWC) -> bool:
    total = problem.node_costs.size + len(problem.edge_costs)
    if total <= _SAMPLE or problem.constrained:
        return True
    step = total // _SAMPLE + 1
    sample = [np.abs(costs.ravel()[::step]) for costs in (problem.node_costs, problem.edge_costs)]
    typical = min(float(np.median(costs[costs > 0.0])) for costs in sample if (costs > 0.0).any())
    return problem.largest_cost > _WIDE * typical


def forbid_single_labels(edges: np.ndarray, node_costs: np.ndarray, edge_costs: np.ndarray) -> None:
    """Make labels infinite that cost more than all edges of their node, where none of these is infinite."""
    count = len(node_costs)
    strength = sum(np.bincount(edges[:, end], np.abs(edge_costs), count) for end in (0, 1))
    node_costs[node_costs > SAFE * np.asarray(strength)[:, None]] = np.inf


def _harden_above(problem: AMWC, node_costs: np.ndarray, edge_costs: np.ndarray, threshold: int) -> None:
    """Make costs of at least this exponent infinite in the parts of the graph where they cannot be paid."""
    edges, count = problem.edges, problem.num_nodes
    large, strong = are_large(node_costs, threshold), are_large(edge_costs, threshold)
    ties = strong | np.isinf(edge_costs)
    part = components(count, edges[ties].view(INDEX))
    stake = np.bincount(part, np.where(large | np.isinf(node_costs), 0.0, node_costs).max(axis=1), count)
    small = np.where(ties, 0.0, np.abs(edge_costs))
    for end in (0, 1):
        stake += np.bincount(part[edges[:, end]], small, count)
    smallest = np.full(count, np.inf)
    np.minimum.at(smallest, part, np.where(large, node_costs, np.inf).min(axis=1))
    np.minimum.at(smallest, part[edges[strong, 0]], np.abs(edge_costs[strong]))
    chosen = np.isfinite(smallest) & (smallest > SAFE * stake)
    chosen = _satisfiable(problem, node_costs, edge_costs, large, strong, part, chosen)
    node_costs[large & chosen[part][:, None]] = np.inf
    hard = strong & chosen[part[edges[:, 0]]]
    edge_costs[hard] *= np.inf


def _satisfiable(
    problem: AMWC,
    node_costs: np.ndarray,
    edge_costs: np.ndarray,
    large: np.ndarray,
    strong: np.ndarray,
    part: np.ndarray,
    chosen: np.ndarray,
) -> np.ndarray:
    """Those of the chosen parts (n,) whose large costs can all be avoided at once."""
    if not chosen.any():
        return chosen
    edges = problem.edges

    def possible(nodes: np.ndarray) -> bool:
        inside = nodes[edges[:, 0]] & (strong | np.isinf(edge_costs))
        number = np.cumsum(nodes) - 1
        costs = np.where(large[nodes], np.inf, node_costs[nodes])
        try:
            Penalized(AMWC(costs, number[edges[inside]], np.inf * edge_costs[inside], problem.partitionable))
        except ValueError:
            return False
        return True

    if possible(chosen[part]):
        return chosen
    numbers = np.flatnonzero(chosen)
    if len(numbers) > _MOST_PARTS:
        return np.zeros_like(chosen)
    possible_parts = np.zeros_like(chosen)
    for number in numbers.tolist():
        possible_parts[number] = possible(part == number)
    return possible_parts
