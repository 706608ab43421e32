"""Blackbox differentiation: a solver as a layer whose gradient is a difference of two solutions.

Vlastelica et al., Differentiation of Blackbox Combinatorial Solvers, ICLR 2020; Eq. 3 and, averaged over
several interpolation ranges, Eq. 4 of COPS (Abbas and Swoboda, Combinatorial Optimization for Panoptic
Segmentation, NeurIPS 2021).
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from difflayers.engine.autograd import differentiate
from difflayers.engine.batch import BatchSolver
from difflayers.engine.compiler import uncompiled
from difflayers.engine.instances import joined, moving_rows
from difflayers.engine.options import SolveOptions
from difflayers.engine.run import BatchRun
from difflayers.engine.solving import only
from difflayers.layers.scales import Scales, as_scales
from difflayers.solver import Array, Solver


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
        options: how the solver is run, see `difflayers.engine.batch.BatchSolver`.

    Shape: costs (B, *shape) of any floating dtype and on any device; solutions the same.

    The state of a random generator in `scales` is part of the layer's `state_dict`.
    """

    def __init__(
        self, solver: Solver, scales: Scales | float = 10.0, **options: Unpack[SolveOptions]
    ) -> None:
        super().__init__()
        self.solver: BatchSolver = BatchSolver(solver, **options)
        self.scales: Scales = as_scales(scales)

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
        return only(differentiate(self, costs, context))

    def solve(self, run: BatchRun) -> list[Any]:
        """Return W(c)."""
        run.saved = run.solve()
        return run.saved

    def pull_back(self, run: BatchRun, gradients: list[Any]) -> list[Any]:
        """Return the average over λ of (W(c + λ g) − W(c)) / λ."""
        scales = self.scales.draw().tolist()
        costs, solutions, rows = run.costs, run.saved, None
        # Where g = 0, Eq. 3 is W(c) − W(c) and need not be solved. A g without any 0 is soon seen.
        if run.batch == 0 or not gradients[0].all():
            rows = moving_rows(gradients)
            if len(rows) == 0:
                return [0 * solution for solution in solutions]
            costs, solutions, gradients = (
                [part[rows] for part in parts] for parts in (costs, solutions, gradients)
            )
        perturbed = [
            joined([cost + scale * gradient for scale in scales])
            for cost, gradient in zip(costs, gradients, strict=True)
        ]
        notes = [f"perturbed with scale {scale:g}" for scale in scales]
        answers = run.solve(perturbed, None if rows is None else joined([rows] * len(scales)), notes)
        observe = getattr(self.scales, "observe", None)  # isinstance with a protocol takes as long as a solve
        if observe is not None:
            changed = _changed(answers, solutions, len(scales))
            if run.any_failed:
                failed = run.failed if rows is None else run.failed[rows]
                changed = changed[:, ~failed.numpy(force=True)]
            if changed.size:
                observe(changed.mean(1))
        averages = [
            _average_change(answer, solution, scales)
            for answer, solution in zip(answers, solutions, strict=True)
        ]
        if rows is None:
            return averages
        everywhere = [0 * solution for solution in run.saved]
        for result, average in zip(everywhere, averages, strict=True):
            result[rows] = average
        return everywhere

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of the scales, for `state_dict`."""
        return self.scales.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set the state of the scales, for `load_state_dict`."""
        self.scales.load_state_dict(state)

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return f"scales={self.scales}"


def _average_change(answers: Any, solutions: Any, scales: Sequence[float]) -> Any:
    """Return the average over λ of (y(λ) − y) / λ, of N · M answers y(λ), in order of λ, to M solutions y."""
    changes = [
        (answer - solutions) / (scale * len(scales))
        for answer, scale in zip(answers.reshape(len(scales), *solutions.shape), scales, strict=True)
    ]
    return functools.reduce(operator.add, changes)


def _changed(answers: Sequence[Any], solutions: Sequence[Any], count: int) -> Array:
    """Return for each of N λ which of M instances have another solution in any output, (N, M) bool."""
    changed = [
        (there.reshape(count, *here.shape) != here).reshape(count, len(here), -1).any(2)
        for there, here in zip(answers, solutions, strict=True)
    ]
    return torch.as_tensor(functools.reduce(operator.or_, changed)).numpy(force=True)


@uncompiled
def blackbox(
    solver: Solver,
    *costs: Tensor,
    scales: Scales | float = 10.0,
    context: Sequence[Any] | None = None,
    **options: Unpack[SolveOptions],
) -> Any:
    """Solve a batch, differentiably: the functional form of `BlackboxLayer`, with the same arguments.

    A float as `scales` makes a FixedScale. Returns the solution (B, *shape), or a tuple for several costs.
    """
    return BlackboxLayer(solver, scales, **options)(*costs, context=context)
