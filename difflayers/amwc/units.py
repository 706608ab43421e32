"""Costs in another unit, for kernels that would underflow or overflow in the costs' own."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from difflayers.amwc.problem import AMWC
from difflayers.amwc.solution import Solution, evaluate
from difflayers.graph.units import exponent


def solve_scaled(problem: AMWC, solver: Callable[[AMWC], Solution]) -> Solution:
    """Return the problem's solution by a solver that is given costs of less than 1, which rounds nothing."""
    power = exponent(problem.largest_cost)
    scaled = AMWC(
        np.ldexp(problem.node_costs, -power),
        problem.edges,
        np.ldexp(problem.edge_costs, -power),
        problem.partitionable,
    )
    solution = solver(scaled)
    return replace(solution, cost=evaluate(problem, solution.labels, solution.cuts))
