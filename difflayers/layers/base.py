"""The base of all layers: what is left to an estimator is a `solve` and a `pull_back`."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from difflayers.engine.autograd import differentiate
from difflayers.engine.call import Call
from difflayers.engine.module import SolverModule


class SolverLayer(SolverModule):
    """A combinatorial solver as a layer; a subclass says what its gradient is.

    `solve(call)` returns the outputs of the forward pass for `call.costs`, by default the solutions W(c), and
    hands to `call.save` the tensors that the backward pass needs. `pull_back(call, gradients)` returns a
    gradient for each of `call.costs`, from the gradient of each output; `call.saved` holds what was saved.
    The call has checked everything, runs the solver with all options, and always minimizes. Instances that
    failed or have no incoming gradient are left out of `pull_back`.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        options: how the solver is run, see `SolveOptions`.

    ```python
    >>> import difflayers, torch
    >>> class Target(difflayers.SolverLayer):
    ...     "Descend along the gradient g, and take the solver's answer there: y − W(c + g)."
    ...     def pull_back(self, call, gradients):
    ...         moved = call.solve([c + g for c, g in zip(call.costs, gradients)], "moved")
    ...         return [there - here for there, here in zip(moved, call.saved)]
    >>> costs = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
    >>> Target(difflayers.solvers.TopK(1), batched=True)(costs).backward(torch.tensor([[0.0, 5.0, 0.0]]))
    >>> costs.grad.tolist()
    [[0.0, -1.0, 1.0]]

    ```
    """

    def forward(self, *costs: Tensor, context: Sequence[Any] | None = None) -> Any:
        """Solve a batch.

        Args:
            costs: one or several tensors (B, *shape), each with its own shape; infinite values are allowed.
            context: one object per instance, which the solver gets as its last argument and which is not
                differentiated.

        Returns:
            The solution (B, *shape), or a tuple of them for several costs, with the device and dtype of the
            costs.

        Raises:
            TypeError, ValueError: costs or contexts do not fit, or there is a NaN in the costs.
            SolverError: the solver failed, or its solution has a wrong shape or a value that is not finite.
            NotImplementedError: a second derivative was asked for.
        """
        solutions = differentiate(self, costs, context)
        return solutions[0] if len(solutions) == 1 else tuple(solutions)

    def solve(self, call: Call) -> list[Tensor]:
        """Return and save the solutions W(c)."""
        solutions = call.solve()
        call.save(*solutions)
        return solutions
