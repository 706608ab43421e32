"""A solver with a quadratic regularization: the point of the solutions' convex hull nearest to −c/ω.

Dalle et al., Learning with Combinatorial Optimization Layers: a Probabilistic Approach, 2022, where
regularized optimizers run the Frank–Wolfe algorithm with the solver as its linear oracle. Corrections of
the weights: Wolfe, Finding the nearest point in a polytope, Mathematical Programming 11, 1976.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from torch import Tensor

from difflayers._arguments import count, positive
from difflayers.engine.call import Call
from difflayers.engine.instances import flat
from difflayers.engine.options import SolveOptions
from difflayers.layers.base import SolverLayer
from difflayers.solver import Array, Solver

_NO_WEIGHT = 1e-12


class RegularizedLayer(SolverLayer):
    """A combinatorial solver as a layer that minimizes ⟨c, y⟩ + (ω/2) ‖y‖² over the hull of its solutions.

    The result mixes few solutions, and is piecewise linear in c. Each step of the fully corrective
    Frank–Wolfe algorithm asks the solver for W(c + ω y), adds this solution to the mixture, finds the best
    weights of all solutions in it, and drops the solutions that are not needed. With an exact solver the
    algorithm ends after finitely many steps. With a solver that picks one of n items the result is the sparse
    argmax of −c/ω (Martins and Astudillo 2016).

    The backward pass calls no solver. Inside of a face of the hull the KKT conditions are linear: y is the
    projection of −c/ω onto the affine hull of the solutions in the mixture. The Jacobian is −Π/ω, where Π
    projects orthogonally onto the differences of these solutions.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        strength: ω, positive, in units of cost; the smaller, the nearer the result is to one solution.
        iterations: how many times the solver is asked per instance, at most. If they do not suffice, the
            result is in the hull but not the minimizer, and its gradient belongs to the face found so far.
        tolerance: an instance is done if the best step towards the last solution found is no more than this
            share of the way.
        options: how the solver is run, see `SolveOptions`. Each step asks the solver once for all
            instances that are not done.

    Shape: costs (B, *shape) of any floating dtype and on any device; results the same. Infinite costs forbid:
    if the solver keeps to that, the result is 0 there.

    ```python
    >>> import difflayers, torch
    >>> layer = difflayers.RegularizedLayer(difflayers.solvers.TopK(1), strength=2.0, batched=True)
    >>> layer(torch.tensor([[1.0, 2.0, 5.0]])).tolist()
    [[0.75, 0.25, 0.0]]

    ```
    """

    def __init__(
        self,
        solver: Solver,
        strength: float = 1.0,
        iterations: int = 100,
        tolerance: float = 1e-9,
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__(solver, **options)
        self.strength: float = positive("strength", strength)
        self.iterations: int = count("iterations", iterations)
        self.tolerance: float = positive("tolerance", tolerance)

    def solve(self, call: Call) -> list[Tensor]:
        """Return the minimizer y; several costs are the parts of one vector."""
        mixtures = mix(call, self.strength, self.iterations, self.tolerance)
        call.save(self._corners(call, mixtures))
        return points(call, mixtures)

    def pull_back(self, call: Call, gradients: list[Tensor]) -> list[Tensor]:
        """Return −Π g / ω."""
        incoming, (corners,) = _join(gradients), call.saved
        projected = [_along_face(own, g) for own, g in zip(corners.cpu().numpy(), incoming, strict=True)]
        return _split(-np.array(projected) / self.strength, call.costs)

    def saved_like(self, costs: list[Tensor]) -> list[Tensor]:
        """Return the shape of the solutions in the mixtures: no mixture needs more than n + 1 of them."""
        size = sum(math.prod(cost.shape[1:]) for cost in costs)
        shape = len(costs[0]), min(self.iterations, size + 1), size
        return [costs[0].new_empty(shape, dtype=torch.float64)]

    def _corners(self, call: Call, mixtures: list["Mixture"]) -> Tensor:
        """The solutions of all mixtures (B, m, n); shorter ones repeat a solution, which changes no face."""
        longest = max((len(mixture.weights) for mixture in mixtures), default=1)
        count = self.saved_like(call.costs)[0].shape[1] if call.plan.fixed else longest
        rows = [np.pad(m.solutions, ((0, count - len(m.weights)), (0, 0)), "edge") for m in mixtures]
        size = _join(call.costs).shape[1]
        return torch.from_numpy(np.array(rows).reshape(len(mixtures), count, size)).to(call.costs[0].device)

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return f"strength={self.strength:g}, iterations={self.iterations}, tolerance={self.tolerance:g}"


def regularized(
    solver: Solver,
    *costs: Tensor,
    strength: float = 1.0,
    iterations: int = 100,
    tolerance: float = 1e-9,
    context: Sequence[Any] | None = None,
    **options: Unpack[SolveOptions],
) -> Any:
    """Solve a batch, differentiably: the functional form of `RegularizedLayer`, with the same arguments.

    ```python
    >>> import difflayers, torch
    >>> costs = torch.tensor([[1.0, 2.0, 5.0]])
    >>> solver = difflayers.solvers.TopK(1)
    >>> difflayers.functional.regularized(solver, costs, strength=2.0, batched=True).tolist()
    [[0.75, 0.25, 0.0]]

    ```
    """
    layer = RegularizedLayer(solver, strength, iterations, tolerance, **options)
    return layer(*costs, context=context)


class Mixture(NamedTuple):
    """A convex combination of solutions.

    Attributes:
        solutions: (m, n) float64, affinely independent.
        weights: (m,) positive, with the sum 1.
    """

    solutions: Array
    weights: Array

    @property
    def point(self) -> Array:
        """The combination itself, (n,)."""
        return self.weights @ self.solutions

    def with_solution(self, solution: Array, target: Array) -> "Mixture":
        """Return the combination of these solutions and one more that is nearest to `target`.

        Wolfe's minor cycle: go to the nearest point of the affine hull, but only to where the first weight
        becomes 0; drop that solution, and again. Each round costs a least-squares problem of n × m.
        """
        solutions, weights = np.vstack([self.solutions, solution]), np.append(self.weights, 0.0)
        while True:
            differences = solutions[1:] - solutions[0]
            others = np.linalg.lstsq(differences.T, target - solutions[0], rcond=None)[0]
            affine = np.append(1 - others.sum(), others)
            leaving = affine <= _NO_WEIGHT
            if not leaving.any():
                return Mixture(solutions, affine)
            # A new solution that is of no use has weight 0 and may have it still: 0 / 0.
            fall = np.maximum(weights[leaving] - affine[leaving], _NO_WEIGHT)
            step = (weights[leaving] / fall).min()
            weights = weights + step * (affine - weights)
            stays = weights > _NO_WEIGHT
            solutions, weights = solutions[stays], weights[stays] / weights[stays].sum()


def _along_face(corners: Array, vector: Array) -> Array:
    """Project a vector (n,) orthogonally onto the differences of the corners (m, n) of a face."""
    differences = corners[1:] - corners[0]
    return np.linalg.lstsq(differences.T, vector, rcond=None)[0] @ differences


def mix(call: Call, strength: float, iterations: int, tolerance: float) -> list[Mixture]:
    """Minimize ⟨c, y⟩ + (ω/2) ‖y‖² over the hull of the solutions, for each instance of a batch."""
    costs = _join(call.costs)
    finite = np.isfinite(costs)
    targets = np.where(finite, -costs / strength, 0)
    mixtures = [Mixture(solution[None], np.ones(1)) for solution in _join(call.solve())]
    open_ = np.arange(len(costs))
    for iteration in range(1, iterations):
        if call.failed is not None:
            open_ = open_[~call.failed.cpu().numpy()[open_]]
        if len(open_) == 0:
            break
        points = np.array([mixtures[row].point for row in open_])
        slopes = costs[open_] + strength * points
        part = call.part(torch.from_numpy(open_).to(call.costs[0].device))
        found = _join(part.solve(_split(slopes, call.costs), f"step {iteration}"))
        ahead = points - found
        gaps = (np.where(finite[open_], slopes, 0) * ahead).sum(1)
        going = gaps > tolerance * strength * (ahead**2).sum(1)
        for place in np.flatnonzero(going):
            row = open_[place]
            mixed = mixtures[row].with_solution(found[place], targets[row])
            # Rounding can make a gap of a solution that then gets no weight, at every further step.
            going[place] = (points[place] - mixed.point) @ (
                points[place] + mixed.point - 2 * targets[row]
            ) > 0
            mixtures[row] = mixed
        open_ = open_[going]
    return mixtures


def points(call: Call, mixtures: Sequence[Mixture]) -> list[Tensor]:
    """Return the points of the mixtures (B, *shape), like the costs."""
    rows = np.array([mixture.point for mixture in mixtures])
    return _split(rows.reshape(_join(call.costs).shape), call.costs)


def _join(values: Sequence[Tensor]) -> Array:
    """Make one (B, n) float64 array of tensors (B, *shape)."""
    return np.concatenate([flat(value).numpy(force=True) for value in values], axis=1, dtype=np.float64)


def _split(array: Array, like: Sequence[Tensor]) -> list[Tensor]:
    """Undo `_join` for (M, n), with the shapes, dtypes and devices of `like`."""
    parts = torch.from_numpy(array).split([math.prod(t.shape[1:]) for t in like], dim=1)
    return [part.reshape(len(array), *t.shape[1:]).to(t) for part, t in zip(parts, like, strict=True)]
