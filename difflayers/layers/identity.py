"""Negative identity: the solver's derivative replaced by −1, on costs projected to what the solver can see.

Sahoo et al., Backpropagation through Combinatorial Algorithms: Identity with Projection Works, ICLR 2023.
"""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

import torch
from torch import Tensor

from difflayers._arguments import one_of
from difflayers.engine.autograd import differentiate
from difflayers.engine.call import Call
from difflayers.engine.checks import check_call
from difflayers.engine.instances import flat
from difflayers.engine.options import SolveOptions
from difflayers.engine.passes import without_autocast
from difflayers.engine.solving import only
from difflayers.layers.base import SolverLayer
from difflayers.solver import Solver

Projection = Literal["none", "mean", "norm", "std"]


class IdentityLayer(SolverLayer):
    """A combinatorial solver as a layer whose backward pass is the negative identity.

    The forward pass returns y = W(P(c)), the backward pass −P′(c)ᵀ g for the incoming gradient g = ∂L/∂y:
    no further call of the solver. The projection P takes out of the costs, and so out of the
    gradient, what does not change the solution:

    - "none": P(c) = c.
    - "mean": P(c) = c − mean(c), onto a hyperplane (each cost tensor has its own mean). Only for problems
      all of whose solutions have equally many ones: the solution of others changes with the mean.
    - "norm": P(c) = c / ‖c‖, onto the unit sphere (one norm for all cost tensors).
    - "std": first "mean", then "norm".

    Infinite costs stay infinite; mean and norm are those of the finite ones. Where the norm is zero, P
    does not divide.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        projection: which P.
        options: how the solver is run, see `SolveOptions`.

    Shape: costs (B, *shape) of any floating dtype and on any device; solutions the same.

    ```python
    >>> import difflayers, torch
    >>> layer = difflayers.IdentityLayer(difflayers.solvers.TopK(1), "mean", batched=True)
    >>> costs = torch.tensor([[1.0, 2.0, 5.0]], requires_grad=True)
    >>> layer(costs).backward(torch.tensor([[3.0, 0.0, 0.0]]))
    >>> costs.grad.tolist()  # −(3, 0, 0) less its mean
    [[-2.0, 1.0, 1.0]]

    ```
    """

    def __init__(
        self, solver: Solver, projection: Projection = "none", **options: Unpack[SolveOptions]
    ) -> None:
        super().__init__(solver, **options)
        self.projection: Projection = one_of("projection", projection, Projection)

    def forward(self, *costs: Tensor, context: Sequence[Any] | None = None) -> Any:
        """Solve a batch; arguments, result and errors are those of `SolverLayer.forward`."""
        check_call(costs, (), context)
        with without_autocast(costs[0].device):
            projected = project(costs, self.projection)
        solutions = differentiate(self, projected, context)
        return only([y.to(cost.dtype) for y, cost in zip(solutions, costs, strict=True)])

    def solve(self, call: Call) -> list[Tensor]:
        """Return W(P(c))."""
        return call.solve()

    def pull_back(self, call: Call, gradients: list[Tensor]) -> list[Tensor]:
        """Return −g; autograd goes on through P."""
        return [-gradient for gradient in gradients]

    def saved_like(self, costs: list[Tensor]) -> list[Tensor]:
        """Return nothing, because `solve` saves nothing."""
        return []

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return f"projection={self.projection!r}"


def identity(
    solver: Solver,
    *costs: Tensor,
    projection: Projection = "none",
    context: Sequence[Any] | None = None,
    **options: Unpack[SolveOptions],
) -> Any:
    """Solve a batch, differentiably: the functional form of `IdentityLayer`, with the same arguments.

    ```python
    >>> import difflayers, torch
    >>> costs = torch.tensor([[3.0, 1.0, 2.0]])
    >>> difflayers.functional.identity(difflayers.solvers.TopK(1), costs, batched=True).tolist()
    [[0.0, 1.0, 0.0]]

    ```
    """
    return IdentityLayer(solver, projection, **options)(*costs, context=context)


def project(costs: Sequence[Tensor], projection: Projection) -> list[Tensor]:
    """Project the costs (B, *shape) of each instance, differentiably; half precision becomes float32."""
    exact = [cost if cost.dtype == torch.float64 else cost.float() for cost in costs]
    infinite = [flat(cost).isinf() for cost in exact]
    # Infinite costs would make NaN of the gradients of the others.
    inner = [flat(cost).masked_fill(hidden, 0) for cost, hidden in zip(exact, infinite, strict=True)]
    centres, divides = projection in ("mean", "std"), projection in ("norm", "std")
    if divides:
        level = _level(inner, infinite, centres)
        # The largest cost is divided out before all else: the square of 1e20 or 1e-25 is no float32, and a
        # gradient that overflows does so behind all other steps.
        size = torch.where(level > 0, level, 1)
        inner = [cost / size for cost in inner]
    if centres:
        inner = [_centred(cost, hidden) for cost, hidden in zip(inner, infinite, strict=True)]
    if divides:
        square = torch.cat(inner, dim=1).square().sum(1, keepdim=True)
        norm = torch.where(level > 0, square, 1).sqrt()
        inner = [cost / norm for cost in inner]
    return [
        torch.where(cost.isinf(), cost, projected.reshape(cost.shape).to(cost.dtype))
        for cost, projected in zip(exact, inner, strict=True)
    ]


def _level(costs: Sequence[Tensor], infinite: Sequence[Tensor], centres: bool) -> Tensor:
    """The largest absolute cost of each instance (B, 1), detached; 0 if there is no direction to divide by.

    Equal costs have none: their norm is 0 or the rounding of their mean. Costs below the normal numbers have
    none either, because their gradient would overflow.
    """
    largest = _largest([cost.detach() for cost in costs])
    numbers = torch.finfo(largest.dtype)
    usable = largest > 16 * numbers.tiny
    if centres:
        units = [cost.detach() / torch.where(usable, largest, 1) for cost in costs]
        centred = [_centred(cost, hidden) for cost, hidden in zip(units, infinite, strict=True)]
        usable &= _largest(centred) > 4 * numbers.eps
    return torch.where(usable, largest, 0)


def _largest(costs: Sequence[Tensor]) -> Tensor:
    joined = torch.cat([cost.abs() for cost in costs], dim=1)
    return joined.amax(1, keepdim=True) if joined.shape[1] else joined.sum(1, keepdim=True)


def _centred(cost: Tensor, hidden: Tensor) -> Tensor:
    mean = cost.sum(1, keepdim=True) / (~hidden).sum(1, keepdim=True).clamp(min=1)
    return (cost - mean).masked_fill(hidden, 0)
