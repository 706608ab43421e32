"""A solver smoothed by noise on its costs: the average of its solutions is differentiable.

Additive noise: Berthet et al., Learning with Differentiable Perturbed Optimizers, NeurIPS 2020.
Multiplicative noise: Dalle et al., Learning with Combinatorial Optimization Layers: a Probabilistic
Approach, 2022.
"""

from collections.abc import Sequence
from typing import Any, Literal, Unpack

import torch
from torch import Tensor

from difflayers._arguments import count, one_of, positive
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.layers.base import SolverLayer
from difflayers.layers.noise import Noise, gaussian_noise
from difflayers.solver import Solver

Perturbation = Literal["additive", "multiplicative"]
ControlVariate = Literal["none", "mean", "solution", "antithetic"]


class PerturbedLayer(SolverLayer):
    """A combinatorial solver as a layer that returns its average solution under noise.

    With "additive" noise (Berthet et al.) the layer estimates y(c) = E[W(c − σ Z)] from `samples` draws of Z.
    For noise of density exp(−ν(z)) the exact Jacobian is ∂y/∂c = −E[W(c − σ Z) ∇ν(Z)ᵀ] / σ (Proposition 3.1,
    there for maximization). With "multiplicative" noise (Dalle et al.), which keeps the signs of the costs,
    y(c) = E[W(c ⊙ exp(σ Z − σ²/2))] and ∂y/∂cⱼ = E[W(…) ∇ν(Z)ⱼ] / (σ cⱼ); a cost of 0 has the gradient 0. The
    backward pass uses the solutions of the forward pass and calls no solver.

    The gradient is a mean of ⟨g, W⟩ ∇ν(Z) over the samples. The control variate replaces ⟨g, W⟩ by
    ⟨g, W⟩ − b. This leaves the expectation as it is, because E[∇ν(Z)] = 0, and lowers the variance:

    - "none": b = 0.
    - "mean": b is the mean of the other samples' ⟨g, W⟩.
    - "solution": b = ⟨g, W(c)⟩, for one more call of the solver per instance.
    - "antithetic": the samples come in pairs Z and −Z, in which any b cancels; for symmetric noise.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`. Its solutions may have another shape than
            its costs.
        sigma: σ, positive; in units of cost for additive noise, without a unit for multiplicative.
        samples: how many perturbed problems are averaged per instance.
        noise: the distribution of Z; `gaussian_noise()` by default.
        perturbation: how the noise enters.
        control_variate: how the variance of the gradient is lowered.
        options: how the solver is run, see `SolveOptions`. All samples of a batch are solved together.

    Shape: costs (B, *shape) of any floating dtype and on any device; solutions (B, *solution shape).

    The state of the noise is part of the layer's `state_dict`. Training and evaluation draw alike. Layers
    whose noise has the same seed draw the same numbers: give each layer, and each process of distributed
    training, a seed of its own.

    ```python
    >>> import difflayers, torch
    >>> layer = difflayers.PerturbedLayer(difflayers.solvers.TopK(1), sigma=0.5, samples=100, batched=True)
    >>> y = layer(torch.tensor([[3.0, 1.0, 1.5]]))
    >>> bool(y[0, 1] > y[0, 2] > y[0, 0]), round(y.sum().item(), 6)
    (True, 1.0)

    ```
    """

    stateful = ("noise",)

    def __init__(
        self,
        solver: Solver,
        sigma: float = 1.0,
        samples: int = 10,
        noise: Noise | None = None,
        perturbation: Perturbation = "additive",
        control_variate: ControlVariate = "mean",
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__(solver, **options)
        self.sigma: float = positive("sigma", sigma)
        self.samples: int = count("samples", samples)
        self.noise: Noise = gaussian_noise() if noise is None else noise
        self.perturbation: Perturbation = one_of("perturbation", perturbation, Perturbation)
        self.control_variate: ControlVariate = one_of("control_variate", control_variate, ControlVariate)
        self._check()

    def _check(self) -> None:
        if self.noise.score is None:
            raise ValueError(f"noise must have a score, but {self.noise} has none")
        if self.control_variate == "mean" and self.samples < 2:
            raise ValueError("control_variate 'mean' needs at least 2 samples, but samples is 1")
        if self.control_variate == "antithetic" and (self.samples % 2 or not self.noise.symmetric):
            raise ValueError(
                "control_variate 'antithetic' needs an even number of samples and symmetric noise, "
                f"but samples is {self.samples} and noise is {self.noise}"
            )

    def solve(self, call: Call) -> list[Tensor]:
        """Return the average of W over perturbed costs."""
        drawn = [self._draw(cost) for cost in call.costs]
        problems = [self._perturb(cost, z) for cost, z in zip(call.costs, drawn, strict=True)]
        notes = [f"sample {sample}" for sample in range(self.samples)]
        if self.control_variate == "solution":
            problems = [torch.cat([p, c[None]]) for p, c in zip(problems, call.costs, strict=True)]
            notes.append("unperturbed")
        solved = call.solve(problems, notes, any_shape=True)
        call.save(*(part.transpose(0, 1) for part in [*drawn, *solved]))  # (B, samples, …)
        return [y[: self.samples].mean(0) for y in solved]

    def pull_back(self, call: Call, gradients: list[Tensor]) -> list[Tensor]:
        """Return the estimate of ∂⟨g, y⟩/∂c from the samples of the forward pass."""
        samples = [part.transpose(0, 1) for part in call.saved]
        drawn, solved = samples[: len(call.costs)], samples[len(call.costs) :]
        values = sum(torch.einsum("sb...,b...->sb", y, g) for y, g in zip(solved, gradients, strict=True))
        assert isinstance(values, Tensor)
        weights = self._without_baseline(values) / self.samples
        return [self._weighted(weights.to(z), z, cost) for z, cost in zip(drawn, call.costs, strict=True)]

    def saved_like(self, costs: list[Tensor]) -> list[Tensor]:
        """Return the shapes of the draws and of the solutions, (B, samples, *shape)."""
        solved = self.samples + (self.control_variate == "solution")
        shapes = [(self.samples, cost) for cost in costs] + [(solved, cost) for cost in costs]
        return [cost.new_empty(len(cost), count, *cost.shape[1:]) for count, cost in shapes]

    def _draw(self, cost: Tensor) -> Tensor:
        pairs = self.control_variate == "antithetic"
        z = torch.from_numpy(self.noise.draw((self.samples // (1 + pairs), *cost.shape))).to(cost)
        return torch.cat([z, -z]) if pairs else z

    def _perturb(self, cost: Tensor, z: Tensor) -> Tensor:
        if self.perturbation == "multiplicative":
            return cost * (self.sigma * z - self.sigma**2 / 2).exp()
        return cost - self.sigma * z

    def _without_baseline(self, values: Tensor) -> Tensor:
        if self.control_variate == "mean":
            return (self.samples * values - values.sum(0)) / (self.samples - 1)
        if self.control_variate == "solution":
            return values[:-1] - values[-1]
        return values

    def _weighted(self, weights: Tensor, z: Tensor, cost: Tensor) -> Tensor:
        assert self.noise.score is not None
        score = torch.from_numpy(self.noise.score(z.cpu().numpy())).to(z)
        total = torch.einsum("sb,sb...->b...", weights, score) / self.sigma
        if self.perturbation == "multiplicative":
            return torch.where(cost == 0, 0, total / cost)
        return -total.masked_fill(cost.isinf(), 0)  # no noise changes what an infinite cost forbids

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return (
            f"sigma={self.sigma:g}, samples={self.samples}, noise={self.noise}, "
            f"perturbation={self.perturbation!r}, control_variate={self.control_variate!r}"
        )


def perturbed(
    solver: Solver,
    *costs: Tensor,
    sigma: float = 1.0,
    samples: int = 10,
    noise: Noise | None = None,
    perturbation: Perturbation = "additive",
    control_variate: ControlVariate = "mean",
    context: Sequence[Any] | None = None,
    **options: Unpack[SolveOptions],
) -> Any:
    """Solve a batch, differentiably: the functional form of `PerturbedLayer`, with the same arguments.

    Hand over a `noise` that you keep: the default one draws the same numbers at every call.

    ```python
    >>> import difflayers, torch
    >>> noise, solver = difflayers.gaussian_noise(seed=0), difflayers.solvers.TopK(1)
    >>> costs = torch.tensor([[3.0, 1.0, 2.0]])
    >>> round(difflayers.functional.perturbed(solver, costs, noise=noise, batched=True).sum().item(), 6)
    1.0

    ```
    """
    layer = PerturbedLayer(solver, sigma, samples, noise, perturbation, control_variate, **options)
    return layer(*costs, context=context)
