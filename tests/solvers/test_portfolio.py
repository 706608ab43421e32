import numpy as np
import pytest

from difflayers.solver import InfeasibleError
from difflayers.solvers import Portfolio


def lower_bound(costs, covariance, risk, shares):
    """No portfolio within the risk costs less: a bound of the Lagrangian, which is convex, at the shares.

    Its multiplier is the one that fits the shares best. Any other would give a bound too.
    """
    marginal = covariance @ shares
    held = shares > 1e-12
    system = np.stack([2 * marginal[held], -np.ones(held.sum())], axis=1)
    multiplier = max(np.linalg.lstsq(system, -costs[held], rcond=None)[0][0], 0)
    gradient = costs + 2 * multiplier * marginal
    value = costs @ shares + multiplier * (shares @ marginal - risk)
    return max(value + gradient.min() - gradient @ shares, costs.min())


@pytest.mark.parametrize("seed", range(60))
def test_no_portfolio_within_the_risk_costs_less(seed):
    rng = np.random.default_rng(seed)
    num_assets, num_factors = rng.integers(1, 30), rng.integers(1, 20)
    loadings = rng.normal(size=(num_assets, num_factors)) * 10.0 ** rng.integers(-3, 2)
    covariance = loadings @ loadings.T + (seed % 3 > 0) * 10.0 ** rng.integers(-6, 0) * np.eye(num_assets)
    risk = np.quantile(np.diag(covariance), rng.random())
    costs = rng.normal(size=(3, num_assets))
    if seed % 4 == 0:
        costs = np.round(costs)  # many are equal
    for row, shares in zip(costs, Portfolio(covariance, risk)(costs), strict=True):
        assert shares.min() >= 0
        assert shares.sum() == pytest.approx(1, abs=1e-9)
        assert shares @ covariance @ shares <= risk * (1 + 1e-9)
        assert row @ shares == pytest.approx(lower_bound(row, covariance, risk, shares), abs=1e-7)


def test_two_independent_assets_are_mixed_as_the_quadratic_equation_says():
    # 4 x² + (1 − x)² = 1 has the roots 0 and 2/5.
    solver = Portfolio(np.diag([4.0, 1.0]), 1.0)
    np.testing.assert_allclose(solver([[-2.0, -1.0]]), [[0.4, 0.6]], rtol=1e-12)
    np.testing.assert_allclose(solver([[-2e9, -1e9]]), [[0.4, 0.6]], rtol=1e-12)
    np.testing.assert_allclose(solver([[-1.0 - 1e-6, -1.0]]), [[0.4, 0.6]], rtol=1e-9)


def test_cash_is_held_where_the_shares_may_add_up_to_less():
    # Of one asset of variance 4 and a limit of 1, half may be bought.
    np.testing.assert_allclose(Portfolio([[4.0]], 1.0, fully_invested=False)([[-1.0]]), [[0.5]], rtol=1e-9)
    assert Portfolio([[4.0]], 1.0, fully_invested=False)([[1.0]]).tolist() == [[0.0]]
    # With cash, two independent assets are held in proportion to return over variance.
    shares = Portfolio(np.diag([4.0, 1.0]), 0.01, fully_invested=False)([[-2.0, -1.0]])
    np.testing.assert_allclose(shares[0, 0] / shares[0, 1], 0.5, rtol=1e-9)
    assert shares[0] @ np.diag([4.0, 1.0]) @ shares[0] == pytest.approx(0.01, rel=1e-9)


def test_without_risk_the_cheapest_asset_is_held_alone():
    assert Portfolio(np.zeros((3, 3)), 1.0)([[3.0, 1.0, 2.0]]).tolist() == [[0, 1, 0]]


def test_a_forbidden_asset_is_not_held_and_an_impossible_risk_is_named():
    solver = Portfolio(np.eye(3), 0.5)
    np.testing.assert_allclose(solver([[-9.0, -1.0, np.inf]]), [[0.5, 0.5, 0]], atol=1e-9)
    with pytest.raises(InfeasibleError, match="instance 1: every portfolio exceeds the risk"):
        solver([[1.0, 2.0, 3.0], [1.0, np.inf, np.inf]])


@pytest.mark.parametrize(
    ("covariance", "risk", "message"),
    [
        ([[1.0, 0.5]], 1.0, r"covariance must have shape \(n, n\), got \(1, 2\)"),
        ([[1.0, 0.5], [0.4, 1.0]], 1.0, "covariance must be finite and symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], 1.0, "covariance must be positive semidefinite, got the eigenvalue -1"),
        (np.eye(2), 0.0, "risk must be a positive finite number, got 0.0"),
    ],
)
def test_impossible_portfolios_are_refused_by_name(covariance, risk, message):
    with pytest.raises(ValueError, match=message):
        Portfolio(covariance, risk)
