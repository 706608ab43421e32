"""Portfolios of limited risk whose returns depend on features (Elmachtoub and Grigas, 2022, section 6.2)."""

import numpy as np

from difflayers._arguments import count, positive
from difflayers.solvers import Portfolio
from difflayers.tasks.polynomial import checked
from difflayers.tasks.task import Task


def portfolio(
    num_instances: int = 1000,
    num_features: int = 5,
    num_assets: int = 50,
    degree: int = 4,
    noise: float = 1.0,
    risk: float = 2.25,
    seed: int = 135,
) -> Task:
    """The shares of assets with the highest return at a limited risk.

    The same numbers as `pyepo.data.portfolio.genData`, with returns as negative costs.

    Args:
        num_instances: number N of instances.
        num_features: number p of features.
        num_assets: number n of assets.
        degree: of the polynomial that makes returns of features.
        noise: scale τ of the factors and of the noise of the returns, above 0.
        risk: limit of xᵀΣx, in units of the mean entry of the covariance Σ.
        seed: of the random numbers.

    Returns:
        A task with features (N, p) and costs −return (N, n). `solver.covariance` is Σ.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> task = portfolio(num_instances=2, num_assets=4)
        >>> task.decisions.round(3)
        array([[0.   , 0.   , 0.273, 0.727],
               [0.342, 0.   , 0.658, 0.   ]])
    """
    checked(num_instances, num_features, degree, 0)
    count("num_assets", num_assets)
    scale = positive("noise", noise)
    rng = np.random.RandomState(seed)
    weights = rng.binomial(1, 0.5, (num_assets, num_features))
    loadings = rng.uniform(-2.5e-3 * scale, 2.5e-3 * scale, (num_assets, num_features))
    features = rng.normal(0, 1, (num_instances, num_features))
    means = (0.05 * (features @ weights.T) / np.sqrt(num_features) + 0.1 ** (1 / degree)) ** degree
    shocks = rng.normal(size=(num_instances, num_features + num_assets))
    factors, own = shocks[:, :num_features], shocks[:, num_features:]
    returns = means + factors @ loadings.T + 0.01 * scale * own
    covariance = loadings @ loadings.T + (0.01 * scale) ** 2 * np.eye(num_assets)
    solver = Portfolio(covariance, positive("risk", risk) * covariance.mean())
    return Task(features, -returns, solver, seed=seed)
