"""Asymmetric multiway cut (Eq. 2 of the paper): problem, solution, solvers and bounds on NumPy arrays."""

from difflayers.amwc.bounds import certify, lower_bound
from difflayers.amwc.exact import solve_exact
from difflayers.amwc.problem import AMWC
from difflayers.amwc.search import solve
from difflayers.amwc.solution import Solution, evaluate, is_feasible

__all__ = ["AMWC", "Solution", "certify", "evaluate", "is_feasible", "lower_bound", "solve", "solve_exact"]
