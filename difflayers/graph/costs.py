"""Edge costs from the probabilities of boundaries, and back."""

from numbers import Real
from typing import Any

import numpy as np

from difflayers._arguments import as_array

# Probabilities are kept this far from 0 and 1, so that no cost exceeds 13.8 times the size's weight.
_LEAST = 1e-6


def edge_costs(probabilities: np.ndarray, bias: float = 0.5, sizes: np.ndarray | None = None) -> np.ndarray:
    """Edge costs from the probabilities that edges are cut: log odds, weighted by size.

    The cost of probability p is `log((1 - p) / p) + log((1 - bias) / bias)`, times `size / max(sizes)`. It is
    paid if the edge is cut: positive attracts, negative repels. Probabilities of 0 and 1 count as 1e-6 and
    1 - 1e-6 (Beier et al. 2017, Section 3).

    Args:
        probabilities: (m,) float in [0, 1], or of any other shape; 1 means a boundary.
        bias: in (0, 1). More than 0.5 makes cuts cheaper, so that there are more segments.
        sizes: non-negative weights of the same shape, such as the boundary sizes of a region graph; None
            weights all edges alike.

    Returns:
        Float costs of the same shape: float32 for float32 and float16, float64 otherwise.

    Raises:
        TypeError: if an argument holds no real numbers.
        ValueError: if a probability lies outside [0, 1] or is NaN, the bias outside (0, 1), or the sizes
            do not fit.

    Examples:
        >>> edge_costs(np.array([0.1, 0.5, 0.9])).round(3).tolist()
        [2.197, 0.0, -2.197]
    """
    boundary = real_numbers("probabilities", probabilities)
    outside = ~((boundary >= 0) & (boundary <= 1))
    if outside.any():
        raise ValueError(
            f"probabilities must lie in [0, 1], got {boundary[outside].flat[0]}. Logits are edge costs "
            "already: a logit of a boundary with its sign reversed, a logit of an affinity as it is. Negated "
            "mutex weights w stand for the boundary probability -w."
        )
    boundary = np.clip(boundary, _LEAST, 1 - _LEAST)
    costs = np.log((1 - boundary) / boundary) + _log_odds(bias)
    if sizes is not None:
        weights = real_numbers("sizes", sizes)
        if weights.shape != boundary.shape:
            raise ValueError(f"sizes must have shape {boundary.shape}, got {weights.shape}")
        largest = weights.max(initial=0)
        if not (np.isfinite(largest) and (weights >= 0).all()):
            raise ValueError(f"sizes must be non-negative and finite, got {weights.min()} to {largest}")
        costs *= weights / (largest or 1)
    return costs.astype(np.float32 if boundary.dtype == np.float32 else np.float64)


def boundary_probabilities(costs: np.ndarray, bias: float = 0.5) -> np.ndarray:
    """The probabilities of boundaries that `edge_costs` with this bias turns into these costs.

    Args:
        costs: float costs of any shape, not weighted by size.
        bias: in (0, 1), as it was given to `edge_costs`.

    Returns:
        Probabilities of the same shape, float32 or float64 as the costs.

    Raises:
        TypeError, ValueError: if the costs are no real numbers or NaN, or the bias lies outside (0, 1).

    Examples:
        >>> boundary_probabilities(edge_costs(np.array([0.1, 0.5]), bias=0.4), bias=0.4).round(3).tolist()
        [0.1, 0.5]
    """
    odds = real_numbers("costs", costs)
    if np.isnan(odds).any():
        raise ValueError("costs must be no NaN")
    shifted = odds - odds.dtype.type(_log_odds(bias))
    # The logistic function by that of |x|, which does not overflow.
    small = np.exp(-np.abs(shifted))
    return np.where(shifted >= 0, small, 1) / (1 + small)


def _log_odds(bias: float) -> float:
    if isinstance(bias, bool) or not (isinstance(bias, Real) and 0 < bias < 1):
        raise ValueError(f"bias must be a number between 0 and 1, got {bias!r}")
    return float(np.log((1 - bias) / bias))


def real_numbers(name: str, value: Any) -> np.ndarray:
    """The value as an array of float32 or float64; raises TypeError naming it if it holds no real numbers."""
    array = as_array(name, value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers, got {array.dtype}")
    return array.astype(np.float32 if array.dtype in (np.float32, np.float16) else np.float64, copy=False)
