"""Layers: a solver with a gradient estimator, a file per estimator."""

from difflayers.layers.adaptive_target import AdaptiveTarget
from difflayers.layers.base import SolverLayer
from difflayers.layers.blackbox import BlackboxLayer
from difflayers.layers.identity import IdentityLayer
from difflayers.layers.imle import IMLELayer
from difflayers.layers.lagrangian import LPGDLayer
from difflayers.layers.noise import Noise, gaussian_noise, gumbel_noise, sum_of_gamma_noise
from difflayers.layers.perturbed import PerturbedLayer
from difflayers.layers.regularized import RegularizedLayer
from difflayers.layers.scales import AdaptiveScale, FixedScale, UniformScales

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
    "SolverLayer",
    "UniformScales",
    "gaussian_noise",
    "gumbel_noise",
    "sum_of_gamma_noise",
]
