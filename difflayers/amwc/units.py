"""Costs in another unit: the rounding that solvers allow for is that of costs neither tiny nor huge."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from difflayers.amwc.problem import AMWC
from difflayers.amwc.solution import Solution, evaluate

# Exponents of the largest cost, to base 2, that solvers take as it is.
_ORDINARY = range(-9, 21)


def is_ordinary(largest: float) -> bool:
    """Whether the largest cost of a problem is neither tiny nor huge, or 0."""
    return largest == 0.0 or exponent(largest) in _ORDINARY


def exponent(largest: float) -> int:
    """The power of two that makes costs up to ``largest`` ones of less than 1, 0 where all are 0."""
    return math.frexp(largest)[1]


def scaled_down(problem: AMWC, power: int) -> AMWC:
    """The problem with all its costs divided by two to a power, which rounds nothing."""
    return AMWC(
        np.ldexp(problem.node_costs, -power),
        problem.edges,
        np.ldexp(problem.edge_costs, -power),
        problem.partitionable,
    )


def solve_scaled(problem: AMWC, solver: Callable[[AMWC], Solution]) -> Solution:
    """The problem's solution by a solver that is given costs of less than 1."""
    power = exponent(problem.largest_cost)
    solution = solver(scaled_down(problem, power))
    cost = evaluate(problem, solution.labels, solution.cuts)
    return replace(solution, cost=cost, lower_bound=scaled_up(solution.lower_bound, power, cost))


def scaled_up(bound: float | None, power: int, cost: float) -> float | None:
    """A bound of the problem scaled down as one of the problem itself, at most the ``cost`` of a solution."""
    return None if bound is None else min(math.ldexp(bound, power), cost)
