"""Lifted multicut: multicut in which pairs that are no neighbours have costs too (Keuper et al. 2015)."""

from difflayers.lifted_multicut.bounds import certify, lower_bound
from difflayers.lifted_multicut.exact import solve_exact
from difflayers.lifted_multicut.problem import LiftedMulticut, Solution, evaluate, is_feasible
from difflayers.lifted_multicut.search import solve

__all__ = [
    "LiftedMulticut",
    "Solution",
    "certify",
    "evaluate",
    "is_feasible",
    "lower_bound",
    "solve",
    "solve_exact",
]
