"""Implicit maximum likelihood: a difference of two perturbed solutions under the same noise.

Niepert, Minervini and Franceschi, Implicit MLE: Backpropagating Through Discrete Exponential Family
Distributions, NeurIPS 2021; adaptive steps are in `adaptive_target`.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from difflayers._arguments import count, positive
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.layers.base import SolverLayer
from difflayers.layers.interpolation import draw, learn, mean, moved, notes, slope
from difflayers.layers.noise import Noise, gumbel_noise
from difflayers.layers.scales import Scales, as_scales
from difflayers.solver import Solver


class IMLELayer(SolverLayer):
    """A combinatorial solver as a layer that samples solutions, with the I-MLE gradient.

    The forward pass returns the mean of the solutions W(c − σ εₛ) over the samples s (perturb-and-MAP). For
    the incoming gradient g, the backward pass moves the costs to those of the target distribution, c + λ g,
    under the same noise. It returns the mean of (W(c + λ g − σ εₛ) − W(c − σ εₛ)) / λ (Niepert et al.,
    Algorithm 1, there for maximization and not divided by λ), which needs one more call of the solver per
    sample. With one sample and σ → 0 this is blackbox differentiation.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        scales: λ, as a positive number in units of cost per unit of gradient or as a rule that chooses it,
            see `BlackboxLayer`; `AdaptiveTarget` makes it adaptive I-MLE.
        sigma: σ, positive, the temperature of the noise in units of cost.
        samples: how many solutions are averaged per instance; with 1 the result is a solution.
        noise: the distribution of ε, `gumbel_noise()` by default. Niepert et al. use
            `sum_of_gamma_noise(k)` where solutions have k ones.
        options: how the solver is run, see `SolveOptions`. All samples of a batch are solved together.

    Shape: costs (B, *shape) of any floating dtype and on any device; solutions the same.

    The states of the noise and of `scales` are part of the layer's `state_dict`. Training and evaluation draw
    alike. Layers whose noise has the same seed draw the same numbers: give each layer, and each process of
    distributed training, a seed of its own.

    ```python
    >>> import difflayers, torch
    >>> layer = difflayers.IMLELayer(difflayers.solvers.TopK(1), scales=5.0, samples=4, batched=True)
    >>> layer(torch.tensor([[3.0, 1.0, 2.0]])).sum().item()  # a mean of four solutions of one item
    1.0

    ```
    """

    stateful = ("noise", "scales")

    def __init__(
        self,
        solver: Solver,
        scales: Scales | float = 10.0,
        sigma: float = 1.0,
        samples: int = 1,
        noise: Noise | None = None,
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__(solver, **options)
        self.scales: Scales = as_scales(scales)
        self.sigma: float = positive("sigma", sigma)
        self.samples: int = count("samples", samples)
        self.noise: Noise = gumbel_noise() if noise is None else noise

    def solve(self, call: Call) -> list[Tensor]:
        """Return the mean of W(c − σ ε)."""
        perturbed = [
            cost - self.sigma * torch.from_numpy(self.noise.draw((self.samples, *cost.shape))).to(cost)
            for cost in call.costs
        ]
        solved = call.solve(perturbed, [f"sample {sample}" for sample in range(self.samples)])
        call.save(*(part.transpose(0, 1) for part in [*perturbed, *solved]))  # (B, samples, …)
        return [y.mean(0) for y in solved]

    def pull_back(self, call: Call, gradients: list[Tensor]) -> list[Tensor]:
        """Return the mean of (W(c + λ g − σ ε) − W(c − σ ε)) / λ."""
        samples = [part.transpose(0, 1) for part in call.saved]
        perturbed, solved = samples[: len(call.costs)], samples[len(call.costs) :]
        scales, gradients = draw(self.scales, call.costs, gradients)
        target = [moved(perturbed, scale, gradients) for scale in scales]  # (samples, M, *shape) for each λ
        solutions = call.solve_several(target, [f"target distribution, {note}" for note in notes(scales)])
        learn(self.scales, call, solutions, solved)
        means = [slope(y, solved, scale) for y, scale in zip(solutions, scales, strict=True)]
        return [part.mean(0) for part in mean(means)]

    def saved_like(self, costs: list[Tensor]) -> list[Tensor]:
        """Return the shapes of the perturbed costs and their solutions, (B, samples, *shape)."""
        return [cost.new_empty(len(cost), self.samples, *cost.shape[1:]) for cost in [*costs, *costs]]

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return f"scales={self.scales}, sigma={self.sigma:g}, samples={self.samples}, noise={self.noise}"


def imle(
    solver: Solver,
    *costs: Tensor,
    scales: Scales | float = 10.0,
    sigma: float = 1.0,
    samples: int = 1,
    noise: Noise | None = None,
    context: Sequence[Any] | None = None,
    **options: Unpack[SolveOptions],
) -> Any:
    """Solve a batch, differentiably: the functional form of `IMLELayer`, with the same arguments.

    Hand over a `noise` that you keep: the default one draws the same numbers at every call.

    ```python
    >>> import difflayers, torch
    >>> noise, solver = difflayers.gumbel_noise(seed=0), difflayers.solvers.TopK(1)
    >>> costs = torch.tensor([[3.0, 1.0, 2.0]])
    >>> difflayers.functional.imle(solver, costs, samples=4, noise=noise, batched=True).sum().item()
    1.0

    ```
    """
    return IMLELayer(solver, scales, sigma, samples, noise, **options)(*costs, context=context)
