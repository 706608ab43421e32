"""Any combinatorial solver as a differentiable PyTorch layer."""

import importlib
from typing import TYPE_CHECKING, Any

from difflayers import functional, losses
from difflayers.blackbox import BlackboxLayer
from difflayers.identity import IdentityLayer
from difflayers.imle import AdaptiveTarget, IMLELayer
from difflayers.lagrangian import LPGDLayer
from difflayers.noise import Noise, gaussian_noise, gumbel_noise, sum_of_gamma_noise
from difflayers.perturbed import PerturbedLayer
from difflayers.pool import SolutionPool
from difflayers.regularized import RegularizedFrankWolfe
from difflayers.scales import AdaptiveScale, FixedScale, UniformScales
from difflayers.solver import Solver, SolverError
from difflayers.warming import warmup

if TYPE_CHECKING:
    from difflayers.diagnosis import diagnose

__version__ = "0.1.0"

__all__ = [
    "AdaptiveScale",
    "AdaptiveTarget",
    "BlackboxLayer",
    "FixedScale",
    "IMLELayer",
    "IdentityLayer",
    "LPGDLayer",
    "Noise",
    "PerturbedLayer",
    "RegularizedFrankWolfe",
    "SolutionPool",
    "Solver",
    "SolverError",
    "UniformScales",
    "diagnose",
    "functional",
    "gaussian_noise",
    "gumbel_noise",
    "losses",
    "sum_of_gamma_noise",
    "warmup",
]

# Imported when first used, like `diagnose`: most need Numba, which takes longer to import than all else.
_ON_DEMAND = (
    "amwc",
    "graph",
    "lifted_multicut",
    "lpmp",
    "multicut",
    "mutex",
    "mwc",
    "panoptic",
    "solvers",
    "wrap",
)


def __getattr__(name: str) -> Any:
    if name == "diagnose":
        return importlib.import_module("difflayers.diagnosis").diagnose
    if name in _ON_DEMAND:
        return importlib.import_module(f"difflayers.{name}")
    raise AttributeError(f"module 'difflayers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ON_DEMAND, "__version__"])
