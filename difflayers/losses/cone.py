"""Cone alignment: predicted costs under which the true solution is optimal, with no solver in the loop.

Tang and Khalil, CaVE: A Cone-Aligned Approach for Fast Predict-then-Optimize with Binary Linear Programs,
CPAIOR 2024.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from difflayers._arguments import as_array
from difflayers.engine.autograd import LossReduction
from difflayers.engine.call import Call
from difflayers.engine.checks import check_call
from difflayers.engine.compiler import outside_compiler
from difflayers.engine.instances import each, flat
from difflayers.layers.noise import Noise
from difflayers.losses.base import SolverLoss, inner
from difflayers.solver import Array

_INSIDE = 1e-7
"""The share of its length by which a vector may miss its projection and still is inside the cone."""


class ConeAlignmentLoss(SolverLoss):
    """One minus the cosine of the angle between −ĉ and the cone of the constraints that bind at y*.

    A solution y* of a linear program is optimal for ĉ exactly if −ĉ is a sum λᵀA, λ ≥ 0, of the normals A of
    those constraints a·y ≤ b that hold with equality at y*. These sums form a cone, and p is the projection
    of −ĉ onto it, found by non-negative least squares. The loss is 1 − ⟨−ĉ, p⟩ / (‖ĉ‖ ‖p‖). It is 0 in the
    cone, and 1 without a gradient if −ĉ is at 90° or more from every normal. The paper calls it CaVE-E.

    The loss calls no solver of the program; the true solutions only serve to find what binds, see
    `binding_normals`.

    Args:
        reduction: "mean", "sum", or "none" for a loss (B,).
        maximize: whether ĉ are rewards to be maximized: ĉ, not −ĉ, should lie in the cone.
        n_jobs: how many projections run at the same time, see `difflayers.engine.parallel.map_instances`.
        inner: η, from 0 to below 1. If −ĉ is outside the cone, (1 − η) p/‖p‖ + η m takes the place of p,
            where m is the mean of the normals of length 1: a point inside the cone, not on its border. With
            η = 0.2 and `solve_ratio=1`, this is CaVE+ with non-negative least squares.
        solve_ratio: the probability that a call projects. Below 1, this is CaVE-Hybrid, and η must be above
            0: a call that does not project takes −ĉ in place of p, without a least-squares problem.
        seed: of the generator that decides. Its state is part of the `state_dict` if `solve_ratio` is below
            1.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> loss = ConeAlignmentLoss()
        >>> normals = [np.array([[1.0, 0.0], [0.0, 1.0]])]  # the cone is the first quadrant
        >>> loss(torch.tensor([[-1.0, -3.0]]), normals=normals)
        tensor(0.)
        >>> loss(torch.tensor([[-1.0, 1.0]]), normals=normals)  # 45° from the cone: 1 − √½
        tensor(0.2929)
    """

    stateful = ("chance",)
    shown = ("maximize", "inner", "solve_ratio")

    def __init__(
        self,
        reduction: LossReduction = "mean",
        maximize: bool = False,
        n_jobs: int = 1,
        inner: float = 0.0,
        solve_ratio: float = 1.0,
        seed: int = 0,
    ) -> None:
        if not 0 <= inner < 1:
            raise ValueError(f"inner must be from 0 to below 1, got {inner}")
        if not 0 <= solve_ratio <= 1:
            raise ValueError(f"solve_ratio must be from 0 to 1, got {solve_ratio}")
        if solve_ratio < 1 and inner == 0:
            raise ValueError("inner must be above 0 if solve_ratio is below 1, for example 0.2, got 0")
        super().__init__(partial(_aim, float(inner)), reduction, n_jobs=n_jobs)
        self.maximize: bool = maximize
        self.inner: float = float(inner)
        self.solve_ratio: float = float(solve_ratio)
        self.chance: Noise | None = None if solve_ratio == 1 else Noise("uniform", _uniform, seed=seed)

    def forward(self, costs: Tensor, *, normals: Sequence[ArrayLike], return_solution: bool = False) -> Any:
        """Compare predicted costs with the cones.

        Args:
            costs: predicted costs, a tensor (B, *shape) of n entries per instance.
            normals: for each instance a matrix (K, n) with a row per binding constraint; an equality has two
                rows, a and −a. A tensor (B, K, n) that is padded with rows of zeros will do.
            return_solution: whether to return what −ĉ is compared with too, by default the projections p.

        Returns:
            The loss, or with `return_solution` a pair of it and a tensor (B, *shape).

        Raises:
            TypeError, ValueError: tensors or matrices do not fit, or have a NaN or infinite value.
            SolverError: the projection of an instance did not converge.
        """
        contexts = _checked(costs, normals, self.chance, self.solve_ratio)
        towards = costs if self.maximize else -costs
        return self.compare(towards, context=contexts, return_solution=return_solution)

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss per instance and what −ĉ is compared with."""
        (towards,) = call.costs
        # The angle does not depend on the length; squares of huge costs would not be finite.
        largest = flat(towards).norm(torch.inf, dim=1)
        size = each(torch.where(largest > 0, largest, 1), towards)
        towards = towards / size
        (aim,) = call.solve([towards], "projecting onto its cone")
        lengths = [flat(vector).norm(dim=1) for vector in (towards, aim)]
        seen = (lengths[0] > 0) & (lengths[1] > 0)
        length, other = (each(torch.where(seen, length, 1), towards) for length in lengths)
        cosine = torch.where(seen, inner([towards / length], [aim / other]), 0)
        # The aim may be held fixed also if it is the projection, which is the nearest point.
        slope = each(cosine, towards) * towards / length - aim / other
        call.save(slope * each(seen, towards) / length / size)
        return [1 - cosine, aim * size]


def cone_alignment_loss(
    costs: Tensor, *, normals: Sequence[ArrayLike], return_solution: bool = False, **arguments: Any
) -> Any:
    """Compare predicted costs with cones: `ConeAlignmentLoss` as a function.

    A `solve_ratio` below 1 needs the class, because every call of the function would decide alike.

    Args:
        costs: see `ConeAlignmentLoss.forward`.
        normals: see there.
        return_solution: see there.
        arguments: the arguments of `ConeAlignmentLoss`.

    Examples:
        >>> normals = [np.array([[1.0, 0.0], [0.0, 1.0]])]
        >>> cone_alignment_loss(torch.tensor([[1.0, -1.0]]), normals=normals)
        tensor(0.2929)
    """
    if arguments.get("solve_ratio", 1) != 1:
        raise TypeError("solve_ratio needs ConeAlignmentLoss, which keeps the generator from call to call")
    return ConeAlignmentLoss(**arguments)(costs, normals=normals, return_solution=return_solution)


def binding_normals(
    true_solutions: ArrayLike,
    A_ub: ArrayLike | None = None,
    b_ub: ArrayLike | None = None,
    A_eq: ArrayLike | None = None,
    tolerance: float = 1e-6,
) -> list[Array]:
    """Collect the normals of the constraints that bind at each solution of a 0/1 linear program.

    The program is over {y: A_ub y ≤ b_ub, A_eq y = b_eq, 0 ≤ y ≤ 1}, in the names of
    `scipy.optimize.linprog`.

    Args:
        true_solutions: (B, *shape) feasible solutions of n entries.
        A_ub: (K, n) rows of the inequalities, or None.
        b_ub: (K,) their right-hand sides.
        A_eq: (E, n) rows of the equalities, or None; equalities bind everywhere.
        tolerance: a constraint binds if its two sides differ by at most this much.

    Returns:
        For each solution a float64 array (·, n).

    Raises:
        ValueError: only one of A_ub and b_ub is given, the shapes do not fit, a number is NaN or infinite, or
            a solution breaks an inequality or bound by more than the tolerance.

    Examples:
        >>> binding_normals([[1.0, 0.0]], A_ub=[[1.0, 1.0]], b_ub=[1.0])  # y₁ ≤ 1, −y₂ ≤ 0, y₁ + y₂ ≤ 1
        [array([[ 1.,  0.],
               [ 0., -1.],
               [ 1.,  1.]])]
    """
    solutions = _numbers("true_solutions", true_solutions)
    if solutions.ndim == 0:
        raise ValueError("true_solutions must have shape (B, *shape), got one number")
    solutions = solutions.reshape(len(solutions), math.prod(solutions.shape[1:]))
    identity = np.eye(solutions.shape[1])
    rows, limits = [identity, 0 - identity], [np.ones(len(identity)), np.zeros(len(identity))]
    if (A_ub is None) != (b_ub is None):
        given, missing = ("A_ub", "b_ub") if b_ub is None else ("b_ub", "A_ub")
        raise ValueError(f"{given} is given without {missing}: inequalities need both")
    if A_ub is not None and b_ub is not None:
        rows.append(_rows("A_ub", A_ub, len(identity)))
        limits.append(_numbers("b_ub", b_ub))
        if limits[-1].shape != rows[-1].shape[:1]:
            raise ValueError(f"b_ub must have shape ({len(rows[-1])},), got {limits[-1].shape}")
    matrix, limit = np.concatenate(rows), np.concatenate(limits)
    equal = np.empty((0, len(identity))) if A_eq is None else _rows("A_eq", A_eq, len(identity))
    slack = limit - solutions @ matrix.T
    for instance, row in enumerate(slack):
        if row.min(initial=0) < -tolerance:
            raise ValueError(f"true_solutions must be feasible, but instance {instance} breaks a constraint")
    return [np.concatenate([matrix[row <= tolerance], equal, -equal]) for row in slack]


def _numbers(name: str, value: ArrayLike) -> Array:
    array = as_array(name, value)
    if array.dtype.kind not in "fbiu" or not np.isfinite(array).all():
        raise ValueError(f"{name} must hold finite real numbers")
    return array.astype(np.float64)


def _rows(name: str, value: ArrayLike, columns: int) -> Array:
    array = _numbers(name, value)
    if array.ndim != 2 or array.shape[1] != columns:
        raise ValueError(f"{name} must have shape (K, {columns}), got {array.shape}")
    return array


@outside_compiler
def _checked(
    costs: Tensor, normals: Sequence[ArrayLike], chance: Noise | None, solve_ratio: float
) -> list[tuple[Array, bool]]:
    """Return the matrix of each instance, and whether this call projects onto its cone."""
    check_call([costs], (), None)
    if len(normals) != len(costs):
        raise ValueError(f"normals must hold {len(costs)} matrices, one per instance, got {len(normals)}")
    projects = chance is None or bool(chance.draw(()) < solve_ratio)
    contexts = []
    for instance, matrix in enumerate(normals):
        rows = _rows(f"normals[{instance}]", matrix, costs[instance].numel())
        contexts.append((rows[rows.any(axis=1)], projects))
    return contexts


def _aim(inner: float, towards: Array, context: tuple[Array, bool]) -> Array:
    """Return the vector that `towards` should point to; O(K³) in the worst case."""
    normals, projects = context
    if len(normals) == 0:
        return np.zeros_like(towards)
    point = _project(towards.ravel().astype(np.float64), normals) if projects else towards.ravel()
    length = np.linalg.norm(point)
    inside = projects and np.linalg.norm(point - towards.ravel()) <= _INSIDE * length
    if inner > 0 and not inside:
        mean = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).mean(axis=0)
        point = (1 - inner) * point / (length or 1) + inner * mean
    return point.reshape(towards.shape)


def _project(towards: Array, normals: Array) -> Array:
    """Return the point of {λᵀA: λ ≥ 0} that is nearest to `towards`."""
    from scipy.optimize import nnls  # here, since `import difflayers` does without SciPy

    weights, _ = nnls(normals.T, towards)
    return weights @ normals


def _uniform(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return generator.random(shape)
