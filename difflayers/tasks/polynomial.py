"""Costs that are a polynomial of random features, as in Elmachtoub and Grigas (2022) and in PyEPO."""

import numpy as np

from difflayers._arguments import count
from difflayers.solver import Array


def checked(num_instances: int, num_features: int, degree: int, noise: float) -> None:
    """Raise ValueError naming the argument unless these are positive integers and a number from 0 to 1."""
    count("num_instances", num_instances)
    count("num_features", num_features)
    count("degree", degree)
    if not 0 <= noise <= 1:
        raise ValueError(f"noise must be from 0 to 1, got {noise!r}")


def scores(features: Array, weights: Array) -> Array:
    """Return Bx / √p + 3 for features x (n, p) and weights B (m, p), an array (n, m)."""
    return features @ weights.T / np.sqrt(features.shape[1]) + 3


def polynomial_costs(
    rng: np.random.RandomState,
    features: Array,
    weights: Array,
    degree: int,
    noise: float,
    scale: float = 1,
) -> Array:
    """Return scale ((Bx / √p + 3)^degree + 1) / 3.5^degree, times numbers uniform in 1 ± noise; (n, m)."""
    costs = (scores(features, weights) ** degree + 1) * scale / 3.5**degree
    return costs * rng.uniform(1 - noise, 1 + noise, costs.shape)
