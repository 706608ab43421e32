"""Blackbox differentiation: a solver as a layer whose gradient is a difference of two solutions.

Vlastelica et al., Differentiation of Blackbox Combinatorial Solvers, ICLR 2020; Eq. 3 and, averaged over
several interpolation ranges, Eq. 4 of COPS (Abbas and Swoboda, Combinatorial Optimization for Panoptic
Segmentation, NeurIPS 2021).
"""

from collections.abc import Sequence
from typing import Any, Unpack

from torch import Tensor

from difflayers.engine.call import Call
from difflayers.engine.compiler import uncompiled
from difflayers.engine.options import SolveOptions
from difflayers.layers.base import SolverLayer
from difflayers.layers.interpolation import draw, learn, mean, moved, notes, slope
from difflayers.layers.scales import Scales, as_scales
from difflayers.solver import Solver


class BlackboxLayer(SolverLayer):
    """A combinatorial solver as a differentiable layer.

    The forward pass returns the solver's solutions y = W(c). The backward pass returns, for the incoming
    gradient g = ∂L/∂y, the average over λ of (W(c + λ g) − W(c)) / λ (Eq. 3 and 4). It needs one more call of
    the solver per instance with a single λ, and N more with `UniformScales`.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        scales: λ as a positive number, or a rule that chooses it: `FixedScale`, `UniformScales`,
            `AdaptiveScale`, `AdaptiveTarget` or one of your own, see `difflayers.layers.scales.Scales`. A
            good λ changes some solutions and not all: about the size of typical cost differences divided by
            that of typical gradients. Whatever multiplies the loss multiplies λ too; the option `loss_scale`
            undoes that for a GradScaler.
        options: how the solver is run, see `SolveOptions`.

    Shape: costs (B, *shape) of any floating dtype and on any device; solutions the same.

    The state of `scales` is part of the layer's `state_dict`.

    ```python
    >>> import difflayers, torch
    >>> layer = difflayers.BlackboxLayer(difflayers.solvers.TopK(1), scales=2.0, batched=True)
    >>> costs = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    >>> y = layer(costs)
    >>> y.backward(torch.tensor([[0.0, 1.0, 0.0]]))  # the second item should not be taken
    >>> y.tolist(), costs.grad.tolist()
    ([[0.0, 1.0, 0.0]], [[0.0, -0.5, 0.5]])

    ```
    """

    stateful = ("scales",)

    def __init__(
        self, solver: Solver, scales: Scales | float = 10.0, **options: Unpack[SolveOptions]
    ) -> None:
        super().__init__(solver, **options)
        self.scales: Scales = as_scales(scales)

    def pull_back(self, call: Call, gradients: list[Tensor]) -> list[Tensor]:
        """Return the average over λ of (W(c + λ g) − W(c)) / λ."""
        scales, gradients = draw(self.scales, call.costs, gradients)
        perturbed = [moved(call.costs, scale, gradients) for scale in scales]  # c + λ g
        solutions = call.solve_several(perturbed, notes(scales))  # W(c + λ g)
        learn(self.scales, call, solutions, call.saved)
        return mean([slope(y, call.saved, scale) for y, scale in zip(solutions, scales, strict=True)])

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return f"scales={self.scales}"


@uncompiled
def blackbox(
    solver: Solver,
    *costs: Tensor,
    scales: Scales | float = 10.0,
    context: Sequence[Any] | None = None,
    **options: Unpack[SolveOptions],
) -> Any:
    """Solve a batch, differentiably: the functional form of `BlackboxLayer`, with the same arguments.

    A float as `scales` makes a `FixedScale`. Returns the solution (B, *shape), or a tuple for several costs.

    ```python
    >>> import difflayers, torch
    >>> costs = torch.tensor([[3.0, 1.0, 2.0]])
    >>> difflayers.functional.blackbox(difflayers.solvers.TopK(1), costs, scales=2.0, batched=True).tolist()
    [[0.0, 1.0, 0.0]]

    ```
    """
    return BlackboxLayer(solver, scales, **options)(*costs, context=context)
