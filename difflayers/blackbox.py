"""Blackbox differentiation: a solver as a layer whose gradient is a difference of two solutions.

Vlastelica et al., Differentiation of Blackbox Combinatorial Solvers, ICLR 2020; Eq. 3 and, averaged over
several interpolation ranges, Eq. 4 of COPS (Abbas and Swoboda, Combinatorial Optimization for Panoptic
Segmentation, NeurIPS 2021).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from difflayers.batch import BatchRun, Shift, check_call, to_array, to_tensor
from difflayers.compiler import outside_compiler
from difflayers.parallel import check_jobs
from difflayers.scales import Scales, as_scales
from difflayers.solver import Solver


class BlackboxLayer(nn.Module):
    """A combinatorial solver as a differentiable layer.

    The forward pass returns the solver's solutions y = W(c). The backward pass returns, for the incoming
    gradient g = ∂L/∂y, the average over λ of (W(c + λ g) − W(c)) / λ (Eq. 3 and 4): with the default
    single λ one more call of the solver an instance, with UniformScales N more.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        scales: λ as a positive number, or FixedScale, UniformScales or your own `scales.Scales`. Large
            enough that λ g can change the solution: about the size of typical cost differences divided by
            that of typical gradients. Whatever multiplies the loss (a GradScaler too) multiplies λ.
        batched: whether the solver takes the arrays and contexts of the whole batch at once.
        n_jobs: how many solver calls run at the same time, see `difflayers.parallel.map_instances`.

    Shape: costs (B, *shape) of any floating dtype and on any device; solutions the same.

    The state of a random generator in `scales` is part of the layer's `state_dict`.
    """

    def __init__(
        self, solver: Solver, scales: Scales | float = 10.0, batched: bool = False, n_jobs: int = 1
    ) -> None:
        super().__init__()
        if not callable(solver):
            raise TypeError(f"solver must be callable, but is a {type(solver).__name__}")
        check_jobs(n_jobs)
        self.solver = solver
        self.scales = as_scales(scales)
        self.batched = batched
        self.n_jobs = n_jobs

    def forward(self, *costs: Tensor, context: Sequence[Any] | None = None) -> Any:
        """Solve a batch.

        Args:
            costs: one or several tensors (B, *shape), each with its own shape; infinite values are allowed.
            context: one object an instance, handed to the solver as its last argument and not differentiated.

        Returns:
            The solution (B, *shape), or a tuple of them for several costs, with the device and dtype of the
            costs.

        Raises:
            ValueError: a NaN in the costs, one or an infinite value in the incoming gradient, or batch
                sizes that differ.
            SolverError: the solver failed, or its solution has the wrong shape or a value that is not finite.
            NotImplementedError: a second derivative was asked for.
        """
        return blackbox(
            self.solver,
            *costs,
            scales=self.scales,
            context=context,
            batched=self.batched,
            n_jobs=self.n_jobs,
        )

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of the scales, for `state_dict`."""
        return self.scales.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set the state of the scales, for `load_state_dict`."""
        self.scales.load_state_dict(state)

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        solver = getattr(self.solver, "__qualname__", type(self.solver).__name__)
        return f"{solver}, scales={self.scales}, batched={self.batched}, n_jobs={self.n_jobs}"


@outside_compiler
def blackbox(
    solver: Solver,
    *costs: Tensor,
    scales: Scales | float = 10.0,
    context: Sequence[Any] | None = None,
    batched: bool = False,
    n_jobs: int = 1,
) -> Any:
    """Solve a batch, differentiably: the functional form of `BlackboxLayer`, with the same arguments.

    A float as `scales` makes a FixedScale. Returns the solution (B, *shape), or a tuple for several costs.
    """
    check_call(costs, context)
    run = BatchRun.here(solver, context, batched, n_jobs)
    solutions = _Blackbox.apply(run, as_scales(scales), *costs)
    return solutions[0] if len(costs) == 1 else solutions


class _Blackbox(torch.autograd.Function):
    """Eq. 3 and 4. No torch arithmetic happens inside, so autocast has nothing to change here."""

    @staticmethod
    def forward(ctx: Any, run: BatchRun, scales: Scales, *costs: Tensor) -> tuple[Tensor, ...]:
        arrays = [to_array(cost, f"costs[{index}]", infinite=True) for index, cost in enumerate(costs)]
        solutions = run.solve(arrays, range(len(costs[0])))
        ctx.save_for_backward(*costs)
        # In the solver's precision: bfloat16 rounds a solution above 256, and Eq. 3 would see a difference.
        ctx.run, ctx.scales, ctx.solutions = run, scales, solutions
        ctx.set_materialize_grads(False)
        return tuple(to_tensor(solution, cost) for solution, cost in zip(solutions, costs, strict=True))

    @staticmethod
    @outside_compiler  # for a compiled training step, whose backward() is within reach of the compiler
    def backward(ctx: Any, *incoming: Tensor | None) -> tuple[Tensor | None, ...]:
        costs = ctx.saved_tensors
        arrays = [to_array(cost, f"costs[{index}]", infinite=True) for index, cost in enumerate(costs)]
        directions = tuple(
            np.zeros_like(array)
            if gradient is None
            else to_array(gradient, f"the gradient of solution {index}", infinite=False)
            for index, (array, gradient) in enumerate(zip(arrays, incoming, strict=True))
        )
        batch = len(arrays[0])
        moved = np.zeros(batch, dtype=bool)
        for direction in directions:
            moved |= direction.any(axis=tuple(range(1, direction.ndim)))
        rows = np.flatnonzero(moved).tolist()  # for the others Eq. 3 is W(c) − W(c)

        averages = [np.zeros_like(array) for array in arrays]
        shifts = [Shift(float(scale), directions) for scale in ctx.scales.draw()]
        for shift, perturbed in zip(shifts, ctx.run.solve_shifted(arrays, rows, shifts), strict=True):
            for average, solution, at_zero in zip(averages, perturbed, ctx.solutions, strict=True):
                average[rows] += (solution - at_zero[rows]) / (shift.scale * len(shifts))
        needed = ctx.needs_input_grad[2:]
        gradients: list[Tensor | None] = [
            to_tensor(average, cost) if need else None
            for average, cost, need in zip(averages, costs, needed, strict=True)
        ]
        if torch.is_grad_enabled():  # create_graph=True
            sources = [
                tensor for tensor in (*incoming, *costs) if tensor is not None and tensor.requires_grad
            ]
            gradients = [
                gradient if gradient is None else _NoSecondDerivative.apply(gradient, *sources)
                for gradient in gradients
            ]
        return None, None, *gradients


class _NoSecondDerivative(torch.autograd.Function):
    """Pass a gradient on, tied to what it was computed from, so that differentiating it again is noticed."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *sources: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor) -> Any:
        raise NotImplementedError(
            "a blackbox solver has no second derivative: its gradient (Eq. 3) is piecewise constant. "
            "Call backward or torch.autograd.grad without create_graph=True, or detach that gradient"
        )
