"""Cone alignment: predicted costs under which the true solution is optimal, with no solver in the loop.

Tang and Khalil, CaVE: A Cone-Aligned Approach for Fast Predict-then-Optimize with Binary Linear Programs,
CPAIOR 2024.
"""

import math
from collections.abc import Sequence
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
from difflayers.losses.base import SolverLoss
from difflayers.solver import Array


class ConeAlignmentLoss(SolverLoss):
    """One minus the cosine of the angle between −ĉ and the cone of the constraints that bind at y*.

    A solution y* of a linear program is optimal for ĉ exactly where −ĉ is a sum λᵀA, λ ≥ 0, of the normals A
    of the constraints a·y ≤ b that hold with equality there. With p the projection of −ĉ onto the cone of
    these sums, found by non-negative least squares, the loss is 1 − ⟨−ĉ, p⟩ / (‖ĉ‖ ‖p‖) = 1 − ‖p‖ / ‖ĉ‖: zero
    in the cone, and 1, without a gradient, where −ĉ is at 90° or more from every normal. This
    is CaVE-E of the paper. The true solutions only serve to find what binds, see `binding_normals`.

    Args:
        reduction: "mean", "sum", or "none" for a loss (B,).
        maximize: whether ĉ are rewards to be maximised: ĉ, not −ĉ, should lie in the cone.
        n_jobs: how many projections run at the same time, see `difflayers.engine.parallel.map_instances`.
    """

    def __init__(self, reduction: LossReduction = "mean", maximize: bool = False, n_jobs: int = 1) -> None:
        super().__init__(_project, reduction, n_jobs=n_jobs)
        self.maximize = maximize

    def forward(self, costs: Tensor, *, normals: Sequence[ArrayLike], return_solution: bool = False) -> Any:
        """Compare predicted costs with the cones.

        Args:
            costs: predicted costs, a tensor (B, *shape) of n entries an instance.
            normals: for each instance a matrix (K, n), a row for each binding constraint, an equality as two
                rows a and −a; a tensor (B, K, n) padded with zero rows will do.
            return_solution: whether to return the projections p (B, *shape) too.

        Returns:
            The loss, or with `return_solution` a pair of it and the projections.

        Raises:
            TypeError, ValueError: tensors or matrices that do not fit, or have a NaN or infinite value.
            SolverError: the projection of an instance did not converge.
        """
        matrices = _checked(costs, normals)
        towards = costs if self.maximize else -costs
        return self.compare(towards, context=matrices, return_solution=return_solution)

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss of each instance and the projection."""
        (towards,) = call.costs
        # The angle does not depend on the length; squares of huge costs would not be finite.
        largest = flat(towards).norm(torch.inf, dim=1)
        size = each(torch.where(largest > 0, largest, 1), towards)
        towards = towards / size
        (projected,) = call.solve([towards], "projecting onto its cone")
        length, inside = flat(towards).norm(dim=1), flat(projected).norm(dim=1)
        seen = (length > 0) & (inside > 0)
        length, inside = torch.where(seen, length, 1), torch.where(seen, inside, 0)
        # The derivative of ‖p‖ is p / ‖p‖: p may be held fixed, since it is the nearest point.
        unit = projected / each(torch.where(seen, inside, 1), towards)
        slope = towards * each(inside / length**2, towards) - unit
        call.save(slope / each(length, towards) / size)
        return [1 - inside / length, projected * size]

    def extra_repr(self) -> str:
        """Describe the loss in `print(model)`."""
        return f"reduction={self.reduction!r}, maximize={self.maximize}"


def cone_alignment_loss(
    costs: Tensor,
    *,
    normals: Sequence[ArrayLike],
    return_solution: bool = False,
    reduction: LossReduction = "mean",
    maximize: bool = False,
    n_jobs: int = 1,
) -> Any:
    """Compare costs with cones: the functional form of `ConeAlignmentLoss`, with the same arguments."""
    loss = ConeAlignmentLoss(reduction, maximize, n_jobs)
    return loss(costs, normals=normals, return_solution=return_solution)


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
        A_eq: (E, n) rows of the equalities, or None; they bind everywhere.
        tolerance: how near to equality a constraint binds.

    Returns:
        For each solution a float64 array (·, n).

    Raises:
        ValueError: only one of A_ub and b_ub is given, the shapes do not fit, a number is NaN or infinite, or
            a solution breaks an inequality or bound by more than the tolerance.

    Example:
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
            raise ValueError(f"true_solutions breaks a constraint in instance {instance}")
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
def _checked(costs: Tensor, normals: Sequence[ArrayLike]) -> list[Array]:
    check_call([costs], (), None)
    if len(normals) != len(costs):
        raise ValueError(f"normals has {len(normals)} matrices, but the costs have a batch of {len(costs)}")
    matrices = [np.asarray(matrix, dtype=np.float64) for matrix in normals]
    for instance, matrix in enumerate(matrices):
        size = costs[instance].numel()
        if matrix.ndim != 2 or matrix.shape[1] != size:
            raise ValueError(f"normals[{instance}] must have shape (K, {size}), but has {matrix.shape}")
        if not np.isfinite(matrix).all():
            raise ValueError(f"normals[{instance}] has a NaN or infinite value")
    return matrices


def _project(towards: Array, normals: Array) -> Array:
    """Return the point of {λᵀA: λ ≥ 0} that is nearest to `towards`; O(K³) in the worst case."""
    from scipy.optimize import nnls  # here, since `import difflayers` does without SciPy

    if len(normals) == 0:
        return np.zeros_like(towards)
    weights, _ = nnls(normals.T, towards.ravel().astype(np.float64))
    return (weights @ normals).reshape(towards.shape)
