"""Lagrangian proximal gradient descent: finite steps in one or both directions of the loss.

Paulus, Martius and Musil, LPGD: A General Framework for Backpropagation through Embedded Optimization
Layers, ICML 2024.
"""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from difflayers._arguments import one_of, positive
from difflayers.engine.autograd import differentiate
from difflayers.engine.batch import BatchSolver
from difflayers.engine.instances import moving_rows
from difflayers.engine.options import SolveOptions
from difflayers.engine.run import BatchRun
from difflayers.engine.solving import only
from difflayers.solver import Solver

Envelope = Literal["lower", "upper", "average"]


class LPGDLayer(nn.Module):
    """A combinatorial solver as a layer whose gradient is that of a Lagrange–Moreau envelope of the loss.

    For the solution y* = W(c) and the incoming gradient g = ∂L/∂y, the loss is replaced by the linear
    ℓ(y) = ⟨g, y⟩. The Lagrange divergence of a solution y is D(y|c) = ⟨c, y⟩ − ⟨c, y*⟩ ≥ 0, and the
    envelopes over the feasible y are

        lower    ℓ_τ(c) = min ℓ(y) + D(y|c)/τ + ‖y − y*‖²/(2ρ)    attained at y_τ
        upper    ℓ^τ(c) = max ℓ(y) − D(y|c)/τ − ‖y − y*‖²/(2ρ)    attained at y^τ
        average  (ℓ_τ + ℓ^τ) / 2

    with the gradients (y_τ − y*)/τ, (y* − y^τ)/τ and (y_τ − y^τ)/(2τ), for y* held fixed in the last term.
    Without that term, y_τ = W(c + τ g) and y^τ = W(c − τ g): "lower" then is blackbox differentiation
    (Vlastelica et al. 2020) with λ = τ, and "average" its central difference. One more call of the solver
    an instance, two for "average".

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        tau: the temperature τ, positive, in units of cost per unit of gradient.
        envelope: which of the three.
        rho: ρ of the augmentation, which keeps y_τ near y*; None leaves that term out. The minimum is taken
            over what the solver can return, not over the convex hull, and all of it must be 0 or 1: then
            ‖y − y*‖² is linear in y, and y_τ = W(c + τ g + τ (1 − 2 y*) / (2ρ)).
        options: how the solver is run, see `difflayers.engine.batch.BatchSolver`.

    Shape: costs (B, *shape) of any floating dtype and on any device; solutions the same.
    """

    def __init__(
        self,
        solver: Solver,
        tau: float = 10.0,
        envelope: Envelope = "average",
        rho: float | None = None,
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__()
        self.solver: BatchSolver = BatchSolver(solver, **options)
        self.tau: float = positive("tau", tau)
        self.envelope: Envelope = one_of("envelope", envelope, Envelope)
        self.rho: float | None = None if rho is None else positive("rho", rho)

    def forward(self, *costs: Tensor, context: Sequence[Any] | None = None) -> Any:
        """Solve a batch; arguments, result and errors are those of `BlackboxLayer.forward`.

        Raises ValueError besides where `rho` is given and a solution has a value other than 0 and 1.
        """
        return only(differentiate(self, costs, context))

    def solve(self, run: BatchRun) -> list[Any]:
        """Return y* = W(c)."""
        run.saved = run.tensors(run.solve())
        if self.rho is not None:
            for index, solution in enumerate(run.saved):
                other = solution[(solution != 0) & (solution != 1)]
                if len(other):
                    raise ValueError(
                        f"rho needs solutions of 0 and 1, but solution {index} holds {float(other[0]):g}"
                    )
        return run.saved

    def pull_back(self, run: BatchRun, gradients: list[Any]) -> list[Any]:
        """Return the gradient of the envelope."""
        costs, gradients = run.tensors(run.costs), run.tensors(gradients)
        rows = moving_rows(gradients)
        signs = {"lower": (1,), "upper": (-1,), "average": (1, -1)}[self.envelope]
        nearest = run.solve(
            [
                torch.cat([self._towards(c[rows], sign * g[rows], y[rows]) for sign in signs])
                for c, g, y in zip(costs, gradients, run.saved, strict=True)
            ],
            rows.repeat(len(signs)),
            [f"at tau = {sign * self.tau:g}" for sign in signs],
        )
        results = []
        for found, at_zero in zip(nearest, run.saved, strict=True):
            result = torch.zeros_like(at_zero)
            for sign, there in zip(signs, found.unflatten(0, (len(signs), len(rows))), strict=True):
                result[rows] += sign * (there - at_zero[rows]) / (self.tau * len(signs))
            results.append(result)
        return results

    def _towards(self, costs: Tensor, gradient: Tensor, solution: Tensor) -> Tensor:
        shifted = costs + self.tau * gradient
        return shifted if self.rho is None else shifted + self.tau / (2 * self.rho) * (1 - 2 * solution)

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        augmented = "" if self.rho is None else f", rho={self.rho:g}"
        return f"tau={self.tau:g}, envelope={self.envelope!r}{augmented}"


def lpgd(
    solver: Solver,
    *costs: Tensor,
    tau: float = 10.0,
    envelope: Envelope = "average",
    rho: float | None = None,
    context: Sequence[Any] | None = None,
    **options: Unpack[SolveOptions],
) -> Any:
    """Solve a batch, differentiably: the functional form of `LPGDLayer`, with the same arguments."""
    return LPGDLayer(solver, tau, envelope, rho, **options)(*costs, context=context)
