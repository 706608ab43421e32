"""Hard constraints as infinite costs: an equivalent finite problem, and its solutions made to keep them."""

from collections.abc import Callable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from difflayers.amwc.colouring import list_colouring
from difflayers.amwc.problem import AMWC
from difflayers.amwc.solution import Solution, checked_labels, solution_from_clusters


class Penalized:
    """The finite problem that stands for one with infinite costs, and the way back.

    Nodes that must be linked become one. A forbidden label and an uncut pair that must be cut cost a finite
    penalty, which exceeds all that the nodes tied to it by pairs to cut could save together: whoever breaks a
    constraint can pay for keeping it, so optima keep all of them if that is possible at all. Penalties are
    no larger than that and in float64, whatever the problem's costs are, so that the other costs still count.

    Args:
        problem: an asymmetric multiway cut with infinite costs.

    Raises:
        ValueError: if constraints contradict each other; names nodes. Finding out may take long only where
            many nodes without a label to split must be cut from each other.
    """

    def __init__(self, problem: AMWC) -> None:
        self.problem = problem
        edges, costs = problem.edges, problem.edge_costs.astype(np.float64)
        must = costs == np.inf
        self.group: np.ndarray = _components(problem.num_nodes, edges[must])
        count = int(self.group.max()) + 1
        node_costs = np.zeros((count, problem.num_labels))
        np.add.at(node_costs, self.group, problem.node_costs.astype(np.float64))
        self.allowed: np.ndarray = node_costs < np.inf
        self._check_labels()
        pairs = self.group[edges]
        apart = costs == -np.inf
        self._check_apart(edges[apart], pairs[apart])
        kept = (pairs[:, 0] != pairs[:, 1]) & ~must
        self.apart: np.ndarray = apart[kept]
        self.pairs: np.ndarray = pairs[kept]
        self.fixed: np.ndarray = ~(self.allowed & problem.partitionable).any(axis=1)
        self.tied: np.ndarray = _components(count, self.pairs[self.apart])
        self.colours: np.ndarray = self._colours(node_costs)
        penalty = self._penalties(node_costs, costs[kept])
        plain = np.where(self.apart, -penalty[self.pairs[:, 0]], costs[kept])
        worst = np.where(self.allowed, node_costs, -np.inf).max(axis=1) + penalty
        node_costs = np.where(self.allowed, node_costs, worst[:, None])
        self.plain: AMWC = AMWC(node_costs, self.pairs, plain, problem.partitionable)
        # What pairs to cut take off the cost of the finite problem where all are cut.
        self.offset: float = float(-plain[self.apart].sum())

    def start(self, start: np.ndarray | Solution) -> np.ndarray | Solution:
        """The start of the finite problem: every group as its first node."""
        n, num_labels = self.problem.node_costs.shape
        first = np.unique(self.group, return_index=True)[1]
        if not isinstance(start, Solution):
            return checked_labels("start", start, n, num_labels)[first]
        labels = checked_labels("start.labels", start.labels, n, num_labels)
        segments = checked_labels("start.segments", start.segments, n, n)
        return solution_from_clusters(self.plain, labels[first], segments[first])

    def kept(self, solution: Solution) -> Solution:
        """The solution of the finite problem if it keeps all constraints, else changed so that it does."""
        labels, segments = solution.labels.copy(), solution.segments.copy()
        broken = ~self.allowed[np.arange(len(labels)), labels]
        broken[self.pairs[self.apart & (solution.cuts == 0)]] = True
        if not broken.any():
            return solution
        # A group that may be split is kept by a segment of its own, the others need a label of their own.
        recoloured = self.fixed & np.isin(self.tied, self.tied[broken & self.fixed])
        labels[recoloured] = self.colours[recoloured]
        ends = self.pairs[self.apart]
        same = (labels[ends[:, 0]] == labels[ends[:, 1]]) & ~self.plain.partitionable[labels[ends[:, 0]]]
        broken[ends[same]] = True
        alone = np.flatnonzero(broken & ~self.fixed)
        splits = self.allowed[alone] & self.plain.partitionable
        labels[alone] = np.where(splits, self.plain.node_costs[alone], np.inf).argmin(axis=1)
        segments[alone] = len(labels) + alone
        return solution_from_clusters(self.plain, labels, np.unique(segments, return_inverse=True)[1])

    def lifted(self, solution: Solution) -> Solution:
        """Solution of the constrained problem from one of the finite problem that keeps its constraints."""
        found = solution_from_clusters(
            self.problem, solution.labels[self.group], solution.segments[self.group]
        )
        if found.cost == np.inf:
            raise RuntimeError("a constraint was broken in spite of penalties and repair")
        if solution.lower_bound is None:
            return found
        bound = min(solution.lower_bound + self.offset, found.cost)
        return Solution(found.labels, found.segments, found.cuts, found.cost, bound, solution.proven_optimal)

    def _check_labels(self) -> None:
        for group in np.flatnonzero(~self.allowed.any(axis=1))[:1].tolist():
            nodes = np.flatnonzero(self.group == group).tolist()
            raise ValueError(f"nodes {_listed(nodes)} must be linked, but no label is allowed at all of them")

    def _check_apart(self, edges: np.ndarray, pairs: np.ndarray) -> None:
        for e in np.flatnonzero(pairs[:, 0] == pairs[:, 1])[:1].tolist():
            u, v = edges[e].tolist()
            raise ValueError(f"nodes {u} and {v} must be cut (edge cost -inf), but must-links join them")

    def _penalties(self, node_costs: np.ndarray, costs: np.ndarray) -> np.ndarray:
        """Return a bound (g,) on what the groups that are to be cut from each could lose by any change."""
        count = len(node_costs)
        largest = np.where(self.allowed, node_costs, -np.inf).max(axis=1)
        least = np.where(self.allowed, node_costs, np.inf).min(axis=1)
        finite = np.where(self.apart, 0.0, np.abs(costs))
        stake = largest - least
        for end in (0, 1):
            stake += np.bincount(self.pairs[:, end], finite, count)
        penalty = 2.0 * np.bincount(self.tied, stake)[self.tied]
        # Where nothing is at stake, any cost will do.
        return np.where(penalty > 0.0, penalty, 1.0)

    def _colours(self, node_costs: np.ndarray) -> np.ndarray:
        """Return labels (g,) that cut every must-cut pair of groups without a partitionable label."""
        ends = self.pairs[self.apart]
        ends = ends[self.fixed[ends].all(axis=1)]
        colours = node_costs.argmin(axis=1)
        members, number = np.unique(ends, return_inverse=True)
        found = list_colouring(node_costs[members], number.reshape(-1, 2))
        if isinstance(found, list):
            first = np.unique(self.group, return_index=True)[1]
            raise ValueError(
                f"nodes {_listed(first[members[found]].tolist())} must be cut from each other (edge cost "
                "-inf), but the labels allowed there, none of them partitionable, do not suffice for that"
            )
        colours[members] = found
        return colours


def solve_constrained(
    problem: AMWC,
    solver: Callable[[Penalized, np.ndarray | Solution | None], Solution],
    start: np.ndarray | Solution | None = None,
) -> Solution:
    """Solution of a problem with infinite costs by a solver of finite ones, which keeps every constraint."""
    penalized = Penalized(problem)
    solution = solver(penalized, None if start is None else penalized.start(start))
    kept = penalized.kept(solution)
    if kept is not solution:
        # A repair may have torn apart what only moves can mend.
        again = solver(penalized, kept)
        kept = again if penalized.kept(again) is again else kept
    return penalized.lifted(kept)


def _components(count: int, pairs: np.ndarray) -> np.ndarray:
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    component = connected_components(graph, directed=False)[1]
    first = np.unique(component, return_index=True)[1]
    return np.argsort(np.argsort(first))[component]


def _listed(nodes: list[int]) -> str:
    shown = ", ".join(str(node) for node in nodes[:10])
    return shown if len(nodes) <= 10 else f"{shown} and {len(nodes) - 10} more"
