"""A solver with a quadratic regularisation: the point of the solutions' convex hull nearest to −c/ω.

Dalle et al., Learning with Combinatorial Optimization Layers: a Probabilistic Approach, 2022, where
regularised optimisers run the Frank–Wolfe algorithm with the solver as its linear oracle. Corrections of
the weights: Wolfe, Finding the nearest point in a polytope, Mathematical Programming 11, 1976.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from difflayers._arguments import count, positive
from difflayers.engine.autograd import differentiate
from difflayers.engine.batch import BatchSolver
from difflayers.engine.instances import flat, moving_rows
from difflayers.engine.options import SolveOptions
from difflayers.engine.run import BatchRun
from difflayers.engine.solving import only
from difflayers.solver import Array, Solver

_NO_WEIGHT = 1e-12


class RegularizedFrankWolfe(nn.Module):
    """A combinatorial solver as a layer that minimises ⟨c, y⟩ + (ω/2) ‖y‖² over the hull of its solutions.

    The result mixes few solutions, and is piecewise linear in c. Each step of the (fully corrective)
    Frank–Wolfe algorithm asks the solver for W(c + ω y), adds it to the solutions in the mixture, and finds
    the best weights of all of these, which leaves out those that are not needed: where the solver is exact,
    the algorithm ends after finitely many steps. With a solver that picks one of n items it is sparse argmax
    (Martins and Astudillo 2016), of −c/ω.

    The backward pass calls no solver. On the face of the hull that y is inside of, the KKT conditions are
    linear: y is the projection of −c/ω onto the affine hull of the solutions in the mixture, and the
    Jacobian is −Π/ω, where Π projects orthogonally onto the differences of these solutions.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        strength: ω, positive, in units of cost; the smaller, the nearer the result is to one solution.
        iterations: how many times the solver is asked for an instance, at most. The result then still is in
            the hull, but not the minimiser, and its gradient belongs to the face that has been found.
        tolerance: an instance is done where the best step towards the last solution found is no more than
            this share of the way.
        options: how the solver is run, see `difflayers.engine.batch.BatchSolver`. Each step asks once,
            for all instances that are not done.

    Shape: costs (B, *shape) of any floating dtype and on any device; results the same. Infinite costs forbid:
    where the solver keeps to that, the result is 0 there.
    """

    def __init__(
        self,
        solver: Solver,
        strength: float = 1.0,
        iterations: int = 100,
        tolerance: float = 1e-9,
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__()
        self.solver: BatchSolver = BatchSolver(solver, **options)
        self.strength: float = positive("strength", strength)
        self.iterations: int = count("iterations", iterations)
        self.tolerance: float = positive("tolerance", tolerance)

    def forward(self, *costs: Tensor, context: Sequence[Any] | None = None) -> Any:
        """Minimise over the hull; arguments and errors are those of `BlackboxLayer.forward`.

        Returns:
            The minimiser (B, *shape), or a tuple of them for several costs, with the device and dtype of the
            costs.
        """
        return only(differentiate(self, costs, context))

    def solve(self, run: BatchRun) -> list[Any]:
        """Return the minimiser y; several costs are the parts of one vector."""
        run.saved = mix(run, self.strength, self.iterations, self.tolerance)
        points = np.array([mixture.point for mixture in run.saved])
        return _split(points.reshape(_join(run.costs).shape), run.costs)

    def pull_back(self, run: BatchRun, gradients: list[Any]) -> list[Any]:
        """Return −Π g / ω."""
        incoming = _join(gradients)
        result = np.zeros_like(incoming)
        for row in moving_rows(gradients).tolist():
            result[row] = -run.saved[row].along_face(incoming[row]) / self.strength
        return _split(result, run.costs)

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return f"strength={self.strength:g}, iterations={self.iterations}, tolerance={self.tolerance:g}"


def regularized_frank_wolfe(
    solver: Solver,
    *costs: Tensor,
    strength: float = 1.0,
    iterations: int = 100,
    tolerance: float = 1e-9,
    context: Sequence[Any] | None = None,
    **options: Unpack[SolveOptions],
) -> Any:
    """Solve a batch, differentiably: the functional form of `RegularizedFrankWolfe`, same arguments."""
    layer = RegularizedFrankWolfe(solver, strength, iterations, tolerance, **options)
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

    def along_face(self, vector: Array) -> Array:
        """Project a vector (n,) orthogonally onto the differences of the solutions."""
        differences = self.solutions[1:] - self.solutions[0]
        return np.linalg.lstsq(differences.T, vector, rcond=None)[0] @ differences


def mix(run: BatchRun, strength: float, iterations: int, tolerance: float) -> list[Mixture]:
    """Minimise ⟨c, y⟩ + (ω/2) ‖y‖² over the hull of the solutions, for each instance of a batch."""
    costs = _join(run.costs)
    finite = np.isfinite(costs)
    targets = np.where(finite, -costs / strength, 0)
    mixtures = [Mixture(solution[None], np.ones(1)) for solution in _join(run.solve())]
    open_ = np.arange(len(costs))
    for iteration in range(1, iterations):
        open_ = open_[~run.failed[open_].numpy()]
        if len(open_) == 0:
            break
        points = np.array([mixtures[row].point for row in open_])
        slopes = costs[open_] + strength * points
        found = _join(run.solve(_split(slopes, run.costs), torch.from_numpy(open_), f"step {iteration}"))
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


def _join(values: Sequence[Any]) -> Array:
    """Make one (B, n) float64 array of (B, *shape) arrays or tensors."""
    arrays = [flat(torch.as_tensor(value)).numpy(force=True) for value in values]
    return np.concatenate(arrays, axis=1, dtype=np.float64)


def _split(array: Array, like: Sequence[Any]) -> list[Tensor]:
    """Undo `_join` for (M, n), with the shapes, dtype and device of `like`."""
    sizes = [math.prod(value.shape[1:]) for value in like]
    parts = torch.from_numpy(array).split(sizes, dim=1)
    wanted = [torch.as_tensor(value) for value in like]
    return [part.reshape(len(array), *t.shape[1:]).to(t) for part, t in zip(parts, wanted, strict=True)]
