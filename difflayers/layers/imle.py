"""Implicit maximum likelihood: a difference of two perturbed solutions under the same noise.

Niepert, Minervini and Franceschi, Implicit MLE: Backpropagating Through Discrete Exponential Family
Distributions, NeurIPS 2021; with an adaptive step, Minervini, Franceschi and Niepert, Adaptive
Perturbation-Based Gradient Estimation for Discrete Latent Variable Models, AAAI 2023.
"""

import threading
from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from difflayers._arguments import count, positive
from difflayers.engine.autograd import differentiate
from difflayers.engine.batch import BatchSolver
from difflayers.engine.instances import each, moving_rows, norms
from difflayers.engine.options import SolveOptions
from difflayers.engine.run import BatchRun
from difflayers.engine.solving import only
from difflayers.layers.noise import Noise, gumbel_noise
from difflayers.solver import Solver

_ADAPTING = threading.Lock()


class AdaptiveTarget:
    """The step λ = α ‖c‖ / ‖g‖ of adaptive I-MLE, with an α that follows how much solutions change.

    After each backward call α grows by `step` where, on a running average, a perturbed solution differs
    from the unperturbed one in fewer than `density` entries, and shrinks by `step` (not below 0) otherwise
    (Minervini et al. 2023). Norms are those of an instance over all of its finite costs; an
    instance whose costs are all zero has λ = 0 and no gradient.

    Args:
        alpha: α to start with, at least 0.
        step: how much α changes in a call.
        density: how many entries of a solution should change, on average over instances and samples.
        decay: of the running average, in [0, 1); it starts at `density`.
    """

    def __init__(
        self, alpha: float = 1.0, step: float = 1e-3, density: float = 1.0, decay: float = 0.9
    ) -> None:
        self.alpha: float = 0.0 if alpha == 0 else positive("alpha", alpha)
        self.step: float = positive("step", step)
        self.density: float = positive("density", density)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, but is {decay}")
        self.decay = decay
        self.average: float = self.density

    def scales(self, costs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
        """Return λ (B,) of instances with nonzero gradients."""
        return self.alpha * norms(costs) / norms(gradients)

    def adapt(self, changed: float) -> None:
        """Take in how many entries changed in a backward call, on average."""
        with _ADAPTING:
            self.average = self.decay * self.average + (1 - self.decay) * changed
            self.alpha = max(self.alpha + (self.step if self.average < self.density else -self.step), 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Return α and the running average."""
        return {"alpha": self.alpha, "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set α and the running average."""
        self.alpha, self.average = state["alpha"], state["average"]

    def __repr__(self) -> str:
        return f"AdaptiveTarget(alpha={self.alpha:g})"


class IMLELayer(nn.Module):
    """A combinatorial solver as a layer that samples solutions, with the I-MLE gradient.

    The forward pass returns the mean of the solutions W(c − σ εₛ) over the samples s (perturb-and-MAP). For
    the incoming gradient g, the backward pass moves the costs to those of the target distribution, c + λ g,
    under the same noise, and returns the mean of (W(c + λ g − σ εₛ) − W(c − σ εₛ)) / λ (Niepert et al.,
    Algorithm 1, there for maximisation and not divided by λ): one more call of the solver a sample. With
    one sample and σ → 0 it is blackbox differentiation.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`.
        scale: λ, positive, in units of cost per unit of gradient; or an AdaptiveTarget, for adaptive I-MLE.
        sigma: σ, positive, the temperature of the noise in units of cost.
        samples: how many solutions an instance's result is the mean of; 1 keeps it a solution.
        noise: the distribution of ε, `gumbel_noise()` by default. Niepert et al. use
            `sum_of_gamma_noise(k)` where solutions have k ones.
        options: how the solver is run, see `difflayers.engine.batch.BatchSolver`. All samples of a
            batch are solved together.

    Shape: costs (B, *shape) of any floating dtype and on any device; solutions the same.

    The state of the noise and of an AdaptiveTarget is part of the layer's `state_dict`.
    """

    def __init__(
        self,
        solver: Solver,
        scale: float | AdaptiveTarget = 10.0,
        sigma: float = 1.0,
        samples: int = 1,
        noise: Noise | None = None,
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__()
        self.solver: BatchSolver = BatchSolver(solver, **options)
        self.scale: AdaptiveTarget | float = (
            scale if isinstance(scale, AdaptiveTarget) else positive("scale", scale)
        )
        self.sigma: float = positive("sigma", sigma)
        self.samples: int = count("samples", samples)
        self.noise: Noise = gumbel_noise() if noise is None else noise

    def forward(self, *costs: Tensor, context: Sequence[Any] | None = None) -> Any:
        """Sample and average solutions; arguments and errors are those of `BlackboxLayer.forward`.

        Returns:
            The mean solution (B, *shape), or a tuple of them for several costs, with the device and dtype of
            the costs.
        """
        return only(differentiate(self, costs, context))

    def solve(self, run: BatchRun) -> list[Any]:
        """Return the mean of W(c − σ ε)."""
        perturbed = [
            cost - self.sigma * torch.from_numpy(self.noise.draw((self.samples, *cost.shape))).to(cost)
            for cost in run.tensors(run.costs)
        ]
        solved = self._solve(run, perturbed, torch.arange(run.batch), "")
        run.saved = perturbed, solved
        return [y.mean(0) for y in solved]

    def pull_back(self, run: BatchRun, gradients: list[Any]) -> list[Any]:
        """Return the mean of (W(c + λ g − σ ε) − W(c − σ ε)) / λ."""
        (perturbed, solved), costs, gradients = run.saved, run.tensors(run.costs), run.tensors(gradients)
        results = [torch.zeros_like(cost) for cost in costs]
        moving = moving_rows(gradients)
        if len(moving) == 0:
            return results
        scales = self._scales([c[moving] for c in costs], [g[moving] for g in gradients])
        rows, scales = moving[scales > 0], scales[scales > 0]
        target = [p[:, rows] + each(scales, g) * g[rows] for p, g in zip(perturbed, gradients, strict=True)]
        moved = self._solve(run, target, rows, ", target distribution")
        changed = 0
        for result, there, y in zip(results, moved, solved, strict=True):
            difference = (there - y[:, rows]) * each(~run.failed[rows], result)
            result[rows] = difference.mean(0) / each(scales, result)
            changed += int(difference.count_nonzero())
        if isinstance(self.scale, AdaptiveTarget):
            self.scale.adapt(changed / (self.samples * len(moving)))
        return results

    def _scales(self, costs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
        if isinstance(self.scale, AdaptiveTarget):
            return self.scale.scales(costs, gradients)
        return costs[0].new_full((len(costs[0]),), self.scale)

    def _solve(self, run: BatchRun, problems: Sequence[Tensor], rows: Tensor, note: str) -> list[Tensor]:
        """Solve (S, M, *shape) problems, of the instances `rows` (M,), in one go."""
        solved = run.solve(
            [problem.flatten(0, 1) for problem in problems],
            rows.repeat(self.samples),
            [f"sample {sample}{note}" for sample in range(self.samples)],
        )
        return [y.reshape(problem.shape) for y, problem in zip(solved, problems, strict=True)]

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of the noise and of an adaptive scale, for `state_dict`."""
        state = {"noise": self.noise.state_dict()}
        if isinstance(self.scale, AdaptiveTarget):
            state["scale"] = self.scale.state_dict()
        return state

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set the state of the noise and of an adaptive scale, for `load_state_dict`."""
        self.noise.load_state_dict(state["noise"])
        if isinstance(self.scale, AdaptiveTarget):
            self.scale.load_state_dict(state["scale"])

    def extra_repr(self) -> str:
        """Describe the layer in `print(model)`."""
        return f"scale={self.scale}, sigma={self.sigma:g}, samples={self.samples}, noise={self.noise}"


def imle(
    solver: Solver,
    *costs: Tensor,
    scale: float | AdaptiveTarget = 10.0,
    sigma: float = 1.0,
    samples: int = 1,
    noise: Noise | None = None,
    context: Sequence[Any] | None = None,
    **options: Unpack[SolveOptions],
) -> Any:
    """Solve a batch, differentiably: the functional form of `IMLELayer`, with the same arguments.

    Hand over a `noise` that you keep: the default one draws the same numbers at every call.
    """
    return IMLELayer(solver, scale, sigma, samples, noise, **options)(*costs, context=context)
