"""Hard constraints of lifted multicut as infinite costs: an equivalent finite problem, and its solutions."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order

from difflayers.graph.components import components
from difflayers.graph.rows import INDEX
from difflayers.lifted_multicut.problem import LiftedMulticut, Solution, solution_from_clusters


class Penalized:
    """The finite problem that stands for one with infinite costs, and the way back.

    Nodes of edges that must not be cut become one. All other constraints cost a finite penalty if broken,
    which exceeds all that could be saved by that.

    Args:
        problem: a lifted multicut with infinite costs.

    Raises:
        ValueError: if constraints contradict each other; names nodes.
    """

    def __init__(self, problem: LiftedMulticut) -> None:
        check_constraints(problem)
        self.problem = problem
        must = problem.edges[problem.edge_costs == np.inf]
        first = components(problem.num_nodes, must.view(INDEX))
        self.first, self.group = np.unique(first, return_inverse=True)
        costs = np.concatenate([problem.edge_costs, problem.lifted_costs]).astype(np.float64)
        total = float(np.abs(costs[np.isfinite(costs)]).sum())
        penalty = 2.0 * total if total > 0.0 else 1.0
        edges, edge_costs = self._grouped(problem.edges, problem.edge_costs, penalty)
        lifted_edges, lifted_costs = self._grouped(problem.lifted_edges, problem.lifted_costs, penalty)
        self.plain = LiftedMulticut(len(self.first), edges, edge_costs, lifted_edges, lifted_costs)

    def start(self, segments: np.ndarray) -> np.ndarray:
        """Segments of the groups, each taken from its first node."""
        return np.unique(segments[self.first], return_inverse=True)[1]

    def lifted(self, segments: np.ndarray) -> Solution:
        """The solution of the constrained problem; its cost is infinite if it breaks a constraint."""
        return solution_from_clusters(self.problem, segments[self.group])

    def repaired(self, segments: np.ndarray) -> np.ndarray:
        """Segments of the groups that keep all constraints if that can be found without a search.

        Ends of a pair that must be cut are alone. Paths of edges join the ends of pairs that must not be cut.
        """
        problem, plain = self.problem, self.plain
        cluster = segments.astype(np.int64)
        pairs = self.group[np.concatenate([problem.edges, problem.lifted_edges])]
        costs = np.concatenate([problem.edge_costs, problem.lifted_costs])
        together = pairs[(costs == -np.inf) & (cluster[pairs[:, 0]] == cluster[pairs[:, 1]])]
        alone = np.unique(together)
        cluster[alone] = plain.num_nodes + alone
        edges = self.group[problem.edges[problem.edge_costs > -np.inf]]
        graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(plain.num_nodes,) * 2)
        graph = (graph + graph.T).tocsr()
        for u, v in pairs[costs == np.inf].tolist():
            if cluster[u] == cluster[v]:
                continue
            before = breadth_first_order(graph, u)[1]
            while v != u:
                cluster[cluster == cluster[v]] = cluster[u]
                v = int(before[v])
        return np.unique(cluster, return_inverse=True)[1]

    def _grouped(self, pairs: np.ndarray, costs: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of different groups, and their costs with penalties for infinite ones."""
        pairs = self.group[pairs].reshape(-1, 2)
        apart = pairs[:, 0] != pairs[:, 1]
        return pairs[apart], np.clip(costs[apart].astype(np.float64), -penalty, penalty)


def check_constraints(problem: LiftedMulticut) -> None:
    """Raise ValueError, naming nodes, if a pair that must not be cut must be, or cannot be joined."""
    if not problem.constrained:
        return
    pairs = np.concatenate([problem.edges, problem.lifted_edges])
    costs = np.concatenate([problem.edge_costs, problem.lifted_costs])
    must, apart = pairs[costs == np.inf], pairs[costs == -np.inf]
    together = components(problem.num_nodes, must.view(INDEX))
    for u, v in apart[together[apart[:, 0]] == together[apart[:, 1]]][:1].tolist():
        raise ValueError(f"nodes {u} and {v} must be cut (cost -inf), but costs of inf join them")
    open_edges = np.ascontiguousarray(problem.edges[problem.edge_costs > -np.inf])
    reached = components(problem.num_nodes, open_edges.view(INDEX))
    for u, v in must[reached[must[:, 0]] != reached[must[:, 1]]][:1].tolist():
        raise ValueError(
            f"nodes {u} and {v} must not be cut (cost inf), but no path of edges that may be uncut joins them"
        )
