"""Asymmetric multiway cut (Eq. 2 of the paper): problem, solution, solvers and bounds on NumPy arrays."""

import importlib
from types import ModuleType

from difflayers.amwc.bounds import certify, lower_bound
from difflayers.amwc.exact import solve_exact
from difflayers.amwc.problem import AMWC
from difflayers.amwc.search import solve
from difflayers.amwc.solution import Solution, evaluate, is_feasible

__all__ = ["AMWC", "Solution", "certify", "evaluate", "is_feasible", "lower_bound", "solve", "solve_exact"]


def __getattr__(name: str) -> ModuleType:
    if name in ("device", "draw"):  # the one part that needs torch, and the one for people only
        return importlib.import_module(f"difflayers.amwc.{name}")
    raise AttributeError(f"module 'difflayers.amwc' has no attribute {name!r}")
