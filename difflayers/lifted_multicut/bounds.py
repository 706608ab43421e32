"""Lower bounds of lifted multicut, from the multicut in which lifted edges connect as edges do.

Segments that edges connect are connected in that multicut too, at the same cost. So nothing costs less than
its lower bound, and a solution that is proven optimal there is optimal here.
"""

from dataclasses import replace

import numpy as np

from difflayers.amwc import bounds as amwc_bounds
from difflayers.amwc.problem import AMWC
from difflayers.amwc.solution import solution_from_clusters
from difflayers.graph.checks import check_problem
from difflayers.graph.components import components
from difflayers.graph.rows import INDEX
from difflayers.graph.units import resolution, sum_down
from difflayers.lifted_multicut.constraints import check_constraints
from difflayers.lifted_multicut.problem import LiftedMulticut, Solution, evaluate


def lower_bound(problem: LiftedMulticut) -> float:
    """Return a number that no solution of the problem costs less than, in O(n + m + l) time.

    Args:
        problem: the problem.

    Returns:
        The bound, which holds for costs of solutions as float64 sums them up.

    Raises:
        TypeError: if the problem is no LiftedMulticut.
        ValueError: if constraints contradict each other.

    ```python
    >>> from difflayers import lifted_multicut
    >>> path, far = [[0, 1], [1, 2]], [[0, 2]]
    >>> problem = lifted_multicut.LiftedMulticut(3, path, [-1.0, 1.0], far, [3.0])
    >>> lifted_multicut.lower_bound(problem)
    0.0

    ```
    """
    check_problem(problem, LiftedMulticut)
    check_constraints(problem)
    relaxed, always = _relaxed(problem)
    return _original(problem, amwc_bounds.lower_bound(relaxed), always)


def certify(problem: LiftedMulticut, solution: Solution) -> Solution:
    """Return the solution with its `lower_bound`, and `proven_optimal` if the two differ by rounding only.

    Args:
        problem: the problem.
        solution: a solution of it.

    Raises:
        TypeError: if the problem is no LiftedMulticut or the solution no Solution.
        ValueError: if the solution does not fit the problem, or constraints contradict each other.

    ```python
    >>> from difflayers import lifted_multicut
    >>> path, far = [[0, 1], [1, 2]], [[0, 2]]
    >>> problem = lifted_multicut.LiftedMulticut(3, path, [-1.0, 1.0], far, [3.0])
    >>> solution = lifted_multicut.certify(problem, lifted_multicut.solve(problem))
    >>> solution.proven_optimal, solution.gap
    (True, 0.0)

    ```
    """
    check_problem(problem, LiftedMulticut)
    if not isinstance(solution, Solution):
        raise TypeError(f"solution must be a Solution of the problem, got a {type(solution).__name__}")
    cost = evaluate(problem, solution.segments)
    check_constraints(problem)
    relaxed, always = _relaxed(problem)
    nodes = np.zeros(problem.num_nodes, np.int32)
    certified = amwc_bounds.certify(relaxed, solution_from_clusters(relaxed, nodes, solution.segments))
    bound = min(_original(problem, certified.lower_bound or 0.0, always), cost)
    proven = solution.proven_optimal or certified.proven_optimal
    return replace(solution, lower_bound=bound, proven_optimal=proven)


def _relaxed(problem: LiftedMulticut) -> tuple[AMWC, np.ndarray]:
    """The multicut whose edges are all pairs that edges connect, and the costs of the other pairs."""
    component = components(problem.num_nodes, problem.edges.view(INDEX))
    pairs = np.concatenate([problem.edges, problem.lifted_edges])
    costs = np.concatenate([problem.edge_costs, problem.lifted_costs])
    joined = component[pairs[:, 0]] == component[pairs[:, 1]]
    nodes = np.zeros((problem.num_nodes, 1), costs.dtype)
    always = costs[~joined].astype(np.float64)
    return AMWC(nodes, pairs[joined], costs[joined], np.ones(1, bool)), always[np.isfinite(always)]


def _original(problem: LiftedMulticut, bound: float, always: np.ndarray) -> float:
    costs = problem.edge_costs, problem.lifted_costs
    return resolution(*costs).below(sum_down(bound, always), *costs)
