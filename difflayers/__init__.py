"""Any combinatorial solver as a differentiable PyTorch layer.

All names load when they are first used, so that `from difflayers import multicut` needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from difflayers import (
        adapters,
        amwc,
        blockwise,
        functional,
        graph,
        lifted_multicut,
        losses,
        lpmp,
        multicut,
        mutex,
        mwc,
        panoptic,
        solvers,
        tasks,
        wrap,
    )
    from difflayers.contraction import contract
    from difflayers.engine.pool import SolutionPool
    from difflayers.layers import (
        AdaptiveScale,
        AdaptiveTarget,
        BlackboxLayer,
        FixedScale,
        IdentityLayer,
        IMLELayer,
        LPGDLayer,
        Noise,
        PerturbedLayer,
        RegularizedLayer,
        SolverLayer,
        UniformScales,
        gaussian_noise,
        gumbel_noise,
        sum_of_gamma_noise,
    )
    from difflayers.layers.diagnosis import diagnose
    from difflayers.solver import Solver, SolverError
    from difflayers.warming import warmup

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
    "RegularizedLayer",
    "SolutionPool",
    "Solver",
    "SolverError",
    "SolverLayer",
    "UniformScales",
    "adapters",
    "amwc",
    "blockwise",
    "contract",
    "diagnose",
    "functional",
    "gaussian_noise",
    "graph",
    "gumbel_noise",
    "lifted_multicut",
    "losses",
    "lpmp",
    "multicut",
    "mutex",
    "mwc",
    "panoptic",
    "solvers",
    "sum_of_gamma_noise",
    "tasks",
    "warmup",
    "wrap",
]

# Where each name comes from; the names that are missing here are modules of this package.
_SOURCES = {
    "AdaptiveScale": "difflayers.layers",
    "AdaptiveTarget": "difflayers.layers",
    "BlackboxLayer": "difflayers.layers",
    "FixedScale": "difflayers.layers",
    "IMLELayer": "difflayers.layers",
    "IdentityLayer": "difflayers.layers",
    "LPGDLayer": "difflayers.layers",
    "Noise": "difflayers.layers",
    "PerturbedLayer": "difflayers.layers",
    "RegularizedLayer": "difflayers.layers",
    "SolutionPool": "difflayers.engine.pool",
    "Solver": "difflayers.solver",
    "SolverError": "difflayers.solver",
    "SolverLayer": "difflayers.layers",
    "UniformScales": "difflayers.layers",
    "contract": "difflayers.contraction",
    "diagnose": "difflayers.layers.diagnosis",
    "gaussian_noise": "difflayers.layers",
    "gumbel_noise": "difflayers.layers",
    "sum_of_gamma_noise": "difflayers.layers",
    "warmup": "difflayers.warming",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'difflayers' has no attribute {name!r}")
    if name in _SOURCES:
        value = getattr(importlib.import_module(_SOURCES[name]), name)
    else:
        value = importlib.import_module(f"difflayers.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
