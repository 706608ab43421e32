"""Perturbed Fenchel–Young losses, for imitating given solutions with a smoothed solver.

Berthet et al., Learning with Differentiable Perturbed Optimizers, NeurIPS 2020, Section 4; multiplicative
perturbation: Dalle et al., Learning with Combinatorial Optimization Layers, arXiv 2207.13513, 2022.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from difflayers.autograd import Reduction
from difflayers.batch import BatchRun, BatchSolver, SolveOptions
from difflayers.losses.call import (
    Tensors,
    check_positive,
    check_reduction,
    evaluate,
    inner,
    pull_back,
    save,
    truths,
)
from difflayers.noise import Noise, gaussian_noise
from difflayers.solver import Solver


class FenchelYoungLoss(nn.Module):
    """The Fenchel–Young loss of the perturbed solver y(ĉ) = E W(ĉ − σZ), averaged over samples of Z.

    A call draws Z_1 … Z_S and returns the mean of ⟨ĉ − σZ_s, y* − W(ĉ − σZ_s)⟩. It is convex in ĉ, never
    negative for a y* that is feasible, or a mean of feasible solutions, and its gradient is y* − (1/S) Σ_s
    W(ĉ − σZ_s), which is zero where the mean of the perturbed solutions is y*. In expectation it is the loss
    of Berthet et al. in the form ⟨ĉ, y*⟩ − F(ĉ) + Ω(y*), with F(ĉ) = E min_y ⟨ĉ − σZ, y⟩ and, for a vertex
    y*, Ω(y*) = −σ E⟨Z, y*⟩. With one of n items to choose and Gumbel noise it is σ times the cross-entropy
    of softmax(−ĉ/σ).

    With `multiplicative`, ĉ ⊙ exp(σZ − σ²/2) takes the place of ĉ − σZ, so that costs keep their signs; the
    loss is no longer convex in general, and the gradient is the mean of exp(σZ_s − σ²/2) ⊙ (y* − W(…)).

    Args:
        solver: a callable on NumPy arrays, see `difflayers.Solver`; an exact one for the above to hold.
        sigma: σ, positive; in units of cost, or without unit where multiplicative.
        samples: S, how many problems a call solves an instance.
        noise: the distribution of Z with its generator; standard normal by default.
        multiplicative: whether to perturb by a factor; it needs normal noise, for the factor's mean to be 1.
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `difflayers.batch.BatchSolver`.

    The state of the noise's generator is part of the `state_dict`.
    """

    def __init__(
        self,
        solver: Solver,
        sigma: float = 1.0,
        samples: int = 10,
        noise: Noise | None = None,
        multiplicative: bool = False,
        reduction: Reduction = "mean",
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__()
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise ValueError(f"samples must be an integer of at least 1, but is {samples!r}")
        self.noise = gaussian_noise() if noise is None else noise
        if multiplicative and self.noise.name != "gaussian":
            raise ValueError(f"multiplicative perturbation needs gaussian noise, but noise is {self.noise}")
        self.solver = BatchSolver(solver, **options)
        self.sigma = check_positive("sigma", sigma)
        self.samples = samples
        self.multiplicative = multiplicative
        self.reduction = check_reduction(reduction)

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
            costs: predicted costs, a tensor (B, *shape), or several for a solver that takes several.
            true_solutions: y*, the same number and shapes; feasible, or means of feasible solutions.
            context: one object an instance, handed to the solver as its last argument.
            return_solution: whether to return the mean of the perturbed solutions too.

        Returns:
            The loss, or with `return_solution` a pair of it and the mean solution.

        Raises:
            TypeError, ValueError: tensors that do not fit each other, or have a NaN or infinite value.
            SolverError: the solver failed, or returned something that is no solution.
        """
        return evaluate(self, costs, context, return_solution, self.reduction, true_solutions=true_solutions)

    def solve(self, run: BatchRun) -> list[Tensor]:
        """Return the loss of each instance and its mean solution."""
        (best,) = truths(run)
        perturbed, factors = [], []
        for cost in run.costs:
            noise = torch.from_numpy(self.noise.draw((self.samples, *cost.shape))).to(cost.dtype)
            factors.append(torch.exp(self.sigma * noise - self.sigma**2 / 2) if self.multiplicative else None)
            perturbed.append(cost - self.sigma * noise if factors[-1] is None else cost * factors[-1])
        notes = [f"perturbed sample {s}" for s in range(self.samples) for _ in run.failed]
        solved = run.solve([each.flatten(0, 1) for each in perturbed], note=notes)
        solutions = [each.unflatten(0, (self.samples, -1)) for each in solved]
        gaps = [there - here for there, here in zip(best, solutions, strict=True)]
        values = inner([each.flatten(0, 1) for each in perturbed], [gap.flatten(0, 1) for gap in gaps])
        slopes = [gap if f is None else f * gap for f, gap in zip(factors, gaps, strict=True)]
        return save(
            run,
            values.unflatten(0, (self.samples, -1)).mean(0),
            [slope.mean(0) for slope in slopes],
            [each.mean(0) for each in solutions],
        )

    pull_back = staticmethod(pull_back)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state of the noise, for `state_dict`."""
        return self.noise.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Set the state of the noise, for `load_state_dict`."""
        self.noise.load_state_dict(state)

    def extra_repr(self) -> str:
        """Describe the loss in `print(model)`."""
        kind = ", multiplicative=True" if self.multiplicative else ""
        return (
            f"sigma={self.sigma:g}, samples={self.samples}, noise={self.noise}{kind}, "
            f"reduction={self.reduction!r}"
        )


def fenchel_young_loss(
    solver: Solver,
    costs: Tensors,
    *,
    true_solutions: Tensors,
    sigma: float = 1.0,
    samples: int = 10,
    noise: Noise,
    multiplicative: bool = False,
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    reduction: Reduction = "mean",
    **options: Unpack[SolveOptions],
) -> Any:
    """Compare costs with wanted solutions: `FenchelYoungLoss` as a function, with the same arguments.

    The noise must be given and kept, since new noise would draw the same numbers at every call.
    """
    loss = FenchelYoungLoss(solver, sigma, samples, noise, multiplicative, reduction, **options)
    return loss(costs, true_solutions=true_solutions, context=context, return_solution=return_solution)
