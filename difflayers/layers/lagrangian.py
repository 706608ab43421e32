"""Lagrangian proximal gradient descent: finite steps in one or both directions of the loss.

Paulus, Martius and Musil, LPGD: A General Framework for Backpropagation through Embedded Optimization
Layers, ICML 2024.
"""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

from torch import Tensor

from difflayers._arguments import one_of, positive
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.layers.base import SolverLayer
from difflayers.layers.interpolation import draw, learn, mean, moved, notes, slope
from difflayers.layers.scales import Scales, as_scales
from difflayers.solver import Solver

Envelope = Literal["lower", "upper", "average"]


class LPGDLayer(SolverLayer):
    """A combinatorial solver as a layer whose gradient is that of a Lagrange–Moreau envelope of the loss.

    For the solution y* = W(c) and the incoming gradient g = ∂L/∂y, the loss is replaced by the linear
    ℓ(y) = ⟨g, y⟩. The Lagrange divergence of a solution y is D(y|c) = ⟨c, y⟩ − ⟨c, y*⟩ ≥ 0, and the
    envelopes over the feasible y are

        lower    ℓ_τ(c) = min ℓ(y) + D(y|c)/τ + ‖y − y*‖²/(2ρ)    attained at y_τ
        upper    ℓ^τ(c) = max ℓ(y) − D(y|c)/τ − ‖y − y*‖²/(2ρ)    attained at y^τ
        average  (ℓ_τ + ℓ^τ) / 2

    with the gradients (y_τ − y*)/τ, (y* − y^τ)/τ and (y_τ − y^τ)/(2τ), for y* held fixed in the last term.
    Without that term, y_τ = W(c + τ g) and y^τ = W(c − τ g): "lower" then is blackbox differentiation
    (Vlastelica et al. 2020) with λ = τ, and "average" its central difference. The backward pass needs one
    more call of the solver per instance and τ, and two for "average".

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        scales: the temperature τ, as a positive number in units of cost per unit of gradient or as a rule
            that chooses it, see `BlackboxLayer`; gradients are averaged over several τ.
        envelope: which of the three.
        rho: ρ of the augmentation, which keeps y_τ near y*; None leaves that term out. The minimum is taken
            over what the solver can return, not over the convex hull, and all of it must be 0 or 1: then
            ‖y − y*‖² is linear in y, and y_τ = W(c + τ g + τ (1 − 2 y*) / (2ρ)).
        options: how the solver is run, see `SolveOptions`.

    Shape: costs (B, *shape) of any floating dtype and on any device; solutions the same.

    The state of `scales` is part of the layer's `state_dict`.

    ```python
    >>> import difflayers, torch
    >>> layer = difflayers.LPGDLayer(difflayers.solvers.TopK(1), scales=2.0, batched=True)
    >>> costs = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    >>> layer(costs).backward(torch.tensor([[0.0, 1.0, 0.0]]))
    >>> costs.grad.tolist()
    [[0.0, -0.25, 0.25]]

    ```
    """

    stateful = ("scales",)

    def __init__(
        self,
        solver: Solver,
        scales: Scales | float = 10.0,
        envelope: Envelope = "average",
        rho: float | None = None,
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__(solver, **options)
        self.scales: Scales = as_scales(scales)
        self.envelope: Envelope = one_of("envelope", envelope, Envelope)
        self.rho: float | None = None if rho is None else positive("rho", rho)

    def solve(self, call: Call) -> list[Tensor]:
        """Return y* = W(c).

        Raises:
            ValueError: `rho` is given, and a solution has a value other than 0 and 1.
        """
        solutions = super().solve(call)
        if self.rho is not None:
            for index, solution in enumerate(solutions):
                other = solution[(solution != 0) & (solution != 1)]
                if len(other):
                    raise ValueError(
                        f"rho needs solutions of 0 and 1, but solution {index} holds {float(other[0]):g}"
                    )
        return solutions

    def pull_back(self, call: Call, gradients: list[Tensor]) -> list[Tensor]:
        """Return the gradient of the envelope, averaged over τ."""
        signs = {"lower": (1,), "upper": (-1,), "average": (1, -1)}[self.envelope]
        scales, gradients = draw(self.scales, call.costs, gradients)
        steps = [(sign, scale) for sign in signs for scale in scales]
        problems = [
            moved(call.costs, scale, self._directions(call, sign, gradients)) for sign, scale in steps
        ]
        about = [
            f"{note}, towards {'lower' if s > 0 else 'higher'} loss" for s in signs for note in notes(scales)
        ]
        nearest = call.solve_several(problems, about)
        learn(self.scales, call, nearest[: len(scales)], call.saved)
        slopes = [
            slope(y, call.saved, scale) if sign > 0 else slope(call.saved, y, scale)
            for y, (sign, scale) in zip(nearest, steps, strict=True)
        ]
        return mean(slopes)

    def _directions(self, call: Call, sign: int, gradients: Sequence[Tensor]) -> list[Tensor]:
        """What the costs move along: ± g, and with ρ towards y*."""
        directions = [gradient if sign > 0 else -gradient for gradient in gradients]
        if self.rho is None:
            return directions
        return [g + (1 - 2 * y) / (2 * self.rho) for g, y in zip(directions, call.saved, strict=True)]

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        augmented = "" if self.rho is None else f", rho={self.rho:g}"
        return f"scales={self.scales}, envelope={self.envelope!r}{augmented}"


def lpgd(
    solver: Solver,
    *costs: Tensor,
    scales: Scales | float = 10.0,
    envelope: Envelope = "average",
    rho: float | None = None,
    context: Sequence[Any] | None = None,
    **options: Unpack[SolveOptions],
) -> Any:
    """Solve a batch, differentiably: the functional form of `LPGDLayer`, with the same arguments.

    ```python
    >>> import difflayers, torch
    >>> costs = torch.tensor([[3.0, 1.0, 2.0]])
    >>> difflayers.functional.lpgd(difflayers.solvers.TopK(1), costs, scales=2.0, batched=True).tolist()
    [[0.0, 1.0, 0.0]]

    ```
    """
    return LPGDLayer(solver, scales, envelope, rho, **options)(*costs, context=context)
