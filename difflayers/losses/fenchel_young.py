"""Perturbed Fenchel–Young losses, for imitating given solutions with a smoothed solver.

Berthet et al., Learning with Differentiable Perturbed Optimizers, NeurIPS 2020, Section 4; multiplicative
perturbation: Dalle et al., Learning with Combinatorial Optimization Layers, arXiv 2207.13513, 2022.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from difflayers._arguments import count, one_of, positive
from difflayers.engine.autograd import LossReduction
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.layers.noise import Noise, gaussian_noise
from difflayers.layers.perturbed import Perturbation
from difflayers.losses.base import SolverLoss, Tensors, inner
from difflayers.solver import Solver


class FenchelYoungLoss(SolverLoss):
    """The Fenchel–Young loss of the perturbed solver y(ĉ) = E W(ĉ − σZ), averaged over samples of Z.

    A call draws Z_1 … Z_S and returns the mean of ⟨ĉ − σZ_s, y* − W(ĉ − σZ_s)⟩. The loss is convex in ĉ. It
    is not negative if y* is feasible or a mean of feasible solutions. Its gradient is
    y* − (1/S) Σ_s W(ĉ − σZ_s), which is zero if the mean of the perturbed solutions is y*.

    In expectation, this is the loss ⟨ĉ, y*⟩ − F(ĉ) + Ω(y*) of Berthet et al., with
    F(ĉ) = E min_y ⟨ĉ − σZ, y⟩ and, for a vertex y*, the constant Ω(y*) = −σ E⟨Z, y*⟩. With one of n items to
    choose and Gumbel noise, it is σ times the cross-entropy of softmax(−ĉ/σ).

    "multiplicative" perturbation keeps the signs of the costs: ĉ ⊙ exp(σZ − σ²/2) takes the place of ĉ − σZ.
    The loss is still convex and not negative. Its gradient is the mean of exp(σZ_s − σ²/2) ⊙ (y* − W(…)); for
    normal noise, its expectation is y* − E exp(σZ − σ²/2) ⊙ W(…), as in Dalle et al.

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`. The above holds if the solver is exact.
        sigma: σ, positive; in units of cost, or without unit for "multiplicative".
        samples: S, the number of problems that a call solves per instance.
        noise: the distribution of Z with its generator; standard normal by default.
        perturbation: "additive" or "multiplicative".
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`.

    The state of the noise's generator is part of the `state_dict`.

    Examples:
        >>> import difflayers, torch
        >>> loss = difflayers.losses.FenchelYoungLoss(
        ...     difflayers.solvers.TopK(1), samples=20_000, noise=difflayers.gumbel_noise(), batched=True
        ... )
        >>> costs = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True)
        >>> loss(costs, true_solutions=torch.tensor([[1.0, 0.0, 0.0]])).backward()
        >>> softmax = (-costs.detach()).softmax(1)
        >>> torch.allclose(costs.grad, torch.tensor([[1.0, 0.0, 0.0]]) - softmax, atol=0.02)
        True
    """

    stateful = ("noise",)
    shown = ("sigma", "samples", "noise", "perturbation")

    def __init__(
        self,
        solver: Solver,
        sigma: float = 1.0,
        samples: int = 10,
        noise: Noise | None = None,
        perturbation: Perturbation = "additive",
        reduction: LossReduction = "mean",
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__(solver, reduction, **options)
        self.sigma: float = positive("sigma", sigma)
        self.samples: int = count("samples", samples)
        self.noise: Noise = gaussian_noise() if noise is None else noise
        self.perturbation: Perturbation = one_of("perturbation", perturbation, Perturbation)

    def forward(
        self,
        costs: Tensors,
        *,
        true_solutions: Tensors,
        context: Sequence[Any] | None = None,
        return_solution: bool = False,
    ) -> Any:
        """Compare predicted costs with solutions that should be the cheapest under them.

        Args:
            costs: predicted costs ĉ, a tensor (B, *shape), or several for a solver that takes several.
            true_solutions: y*, the same number and shapes; feasible, or means of feasible solutions.
            context: see `SolverLoss.compare`, like the result and the errors.
            return_solution: whether to return the mean of the perturbed solutions too.
        """
        return self.compare(
            costs, context=context, return_solution=return_solution, true_solutions=true_solutions
        )

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss per instance and the mean solution."""
        best, costs, count = call.targets["true_solutions"], call.costs, self.samples
        draws = [self.sigma * self.noise.draw((count, *cost.shape)) for cost in costs]
        factors: list[Tensor] | None = None
        if self.perturbation == "additive":
            shifts = [torch.from_numpy(draw).to(cost) for draw, cost in zip(draws, costs, strict=True)]
            perturbed = [cost - shift for cost, shift in zip(costs, shifts, strict=True)]
        else:
            powers = [np.exp(draw - self.sigma**2 / 2) for draw in draws]
            factors = [torch.from_numpy(power).to(cost) for power, cost in zip(powers, costs, strict=True)]
            perturbed = [cost * factor for cost, factor in zip(costs, factors, strict=True)]
        solutions = call.solve(perturbed, [f"sample {sample}" for sample in range(count)])
        gaps = [there - here for there, here in zip(best, solutions, strict=True)]
        flat = [[part.flatten(0, 1) for part in parts] for parts in (perturbed, gaps)]
        values = inner(*flat).reshape(count, call.batch).mean(0)
        if factors is not None:
            gaps = [factor * gap for factor, gap in zip(factors, gaps, strict=True)]
        call.save(*(gap.mean(0) for gap in gaps))
        return [values, *(solution.mean(0) for solution in solutions)]


def fenchel_young_loss(
    solver: Solver,
    costs: Tensors,
    *,
    true_solutions: Tensors,
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    noise: Noise,
    **arguments: Any,
) -> Any:
    """Compare predicted costs with solutions: `FenchelYoungLoss` as a function.

    The noise must be given and kept, because new noise would draw the same numbers in every call.

    Args:
        solver: see `FenchelYoungLoss`.
        costs: see `FenchelYoungLoss.forward`.
        true_solutions: see there.
        context: see there.
        return_solution: see there.
        noise: the noise, which must be kept from call to call.
        arguments: the other arguments of `FenchelYoungLoss`.

    Examples:
        >>> import difflayers, torch
        >>> noise = difflayers.gaussian_noise()
        >>> difflayers.functional.fenchel_young_loss(
        ...     difflayers.solvers.TopK(1),
        ...     torch.tensor([[1.0, 100.0, 100.0]]),
        ...     true_solutions=torch.tensor([[1.0, 0.0, 0.0]]),
        ...     noise=noise,
        ...     batched=True,
        ... )  # item 0 is the cheapest under all noise
        tensor(0.)
    """
    loss = FenchelYoungLoss(solver, noise=noise, **arguments)
    return loss(costs, true_solutions=true_solutions, context=context, return_solution=return_solution)
