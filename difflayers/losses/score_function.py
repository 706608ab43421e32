"""Score-function gradients: for parameters anywhere in the problem, and for any loss on the decisions.

Silvestri, Berden, Mandi, Mahmutoğulları, Mulamba, De Filippo, Guns and Lombardi, Score Function Gradient
Estimation to Widen the Applicability of Decision-Focused Learning, 2023.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from difflayers._arguments import count, one_of, positive
from difflayers.engine.autograd import LossReduction
from difflayers.engine.call import Call
from difflayers.engine.options import SolveOptions
from difflayers.layers.noise import Noise, gaussian_noise
from difflayers.layers.perturbed import ControlVariate
from difflayers.losses.base import SolverLoss, Tensors
from difflayers.solver import Array, Solver

Objective = Callable[[Any, Any], Array]


class ScoreFunctionLoss(SolverLoss):
    """What decisions cost in expectation, E f(W(p̂ + σZ), p), for predicted parameters p̂ and true ones p.

    The parameters may be costs, or stand in the constraints: weights, capacities, demands. The solver W and
    the objective f may be anything; f may include the cost of repairing decisions that prove infeasible.
    For noise of density exp(−ν(z)), the gradient is E[(f − b) ∇ν(Z)] / σ, where ∇ν(Z) = Z if Z is normal.
    The loss is the mean of f over the samples, and the gradient is estimated from the same samples.

    The baseline b leaves the expectation of the gradient as it is and lowers its variance:

    - "none": b = 0.
    - "mean": b is the mean of the other samples.
    - "solution": b = f(W(p̂), p), for one more call of the solver per instance.
    - "antithetic": the samples come in pairs Z and −Z, in which any b cancels; for symmetric noise.

    Args:
        solver: a callable from parameters to decisions, see `difflayers.Solver`. Decisions may have another
            shape than the parameters.
        objective: a callable on NumPy arrays from decisions (M, …) and true parameters (M, …) to what the
            decisions cost (M,), such as the `objective` of a `tasks.Task`. For several tensors of parameters,
            it gets tuples of arrays.
        sigma: σ, positive; in units of the parameters.
        samples: how many perturbed problems are solved per instance.
        noise: the distribution of Z with its generator; standard normal by default.
        control_variate: the baseline.
        common: whether all instances and calls share their random numbers. Losses of two models then differ
            less by chance, but the errors of the gradients of a batch no longer cancel.
        reduction: "mean", "sum", or "none" for a loss (B,).
        options: how the solver is run, see `SolveOptions`.

    The state of the noise's generator is part of the `state_dict`.

    Examples:
        >>> import difflayers, torch
        >>> order = lambda demand: demand  # a newsvendor who orders what is predicted
        >>> def cost(ordered, demand):
        ...     return (3 * np.maximum(demand - ordered, 0) + np.maximum(ordered - demand, 0))[:, 0]
        >>> loss = difflayers.losses.ScoreFunctionLoss(order, cost, samples=20_000, batched=True)
        >>> predicted = torch.tensor([[5.0]], requires_grad=True)
        >>> loss(predicted, true_parameters=torch.tensor([[5.0]])).backward()
        >>> round(predicted.grad.item(), 1)  # (1 − 3) / 2
        -1.0
    """

    stateful = ("noise",)
    shown = ("sigma", "samples", "noise", "control_variate", "common")

    def __init__(
        self,
        solver: Solver,
        objective: Objective,
        sigma: float = 1.0,
        samples: int = 10,
        noise: Noise | None = None,
        control_variate: ControlVariate = "mean",
        common: bool = False,
        reduction: LossReduction = "mean",
        **options: Unpack[SolveOptions],
    ) -> None:
        super().__init__(solver, reduction, **options)
        if not callable(objective):
            raise TypeError(f"objective must be callable, got a {type(objective).__name__}")
        self.objective: Objective = objective
        self.sigma: float = positive("sigma", sigma)
        self.samples: int = count("samples", samples)
        self.noise: Noise = gaussian_noise() if noise is None else noise
        self.control_variate: ControlVariate = one_of("control_variate", control_variate, ControlVariate)
        self.common: bool = common
        if self.noise.score is None:
            raise ValueError(f"noise must have a score, but {self.noise} has none")
        if control_variate == "mean" and self.samples < 2:
            raise ValueError("control_variate 'mean' needs at least 2 samples, but samples is 1")
        if control_variate == "antithetic" and (self.samples % 2 or not self.noise.symmetric):
            raise ValueError(
                "control_variate 'antithetic' needs an even number of samples and symmetric noise, "
                f"but samples is {self.samples} and noise is {self.noise}"
            )

    def forward(
        self,
        parameters: Tensors,
        *,
        true_parameters: Tensors,
        context: Sequence[Any] | None = None,
        return_solution: bool = False,
    ) -> Any:
        """Judge the decisions for predicted parameters under the true ones.

        Args:
            parameters: predicted parameters p̂, a tensor (B, *shape), or several for a solver of several.
            true_parameters: p, the same number and shapes; only the objective gets them.
            context: see `SolverLoss.compare`, like the result and the errors.
            return_solution: whether to return the mean of the decisions too.
        """
        return self.compare(
            parameters, context=context, return_solution=return_solution, true_parameters=true_parameters
        )

    def solve(self, call: Call) -> list[Tensor]:
        """Return the loss per instance and the mean decision."""
        drawn = self._draw(call.costs)
        problems = [
            cost + self.sigma * torch.from_numpy(z).to(cost)
            for cost, z in zip(call.costs, drawn, strict=True)
        ]
        notes = [f"sample {sample}" for sample in range(self.samples)]
        if self.control_variate == "solution":
            problems = [torch.cat([some, own[None]]) for some, own in zip(problems, call.costs, strict=True)]
            notes.append("unperturbed")
        decisions = call.solve(problems, notes, any_shape=True)
        values = self._values(decisions, call.targets["true_parameters"])
        weights = self._without_baseline(values) / (self.samples * self.sigma)
        assert self.noise.score is not None
        gradients = [np.einsum("sb,sb...->b...", weights, self.noise.score(z)) for z in drawn]
        call.save(*(torch.from_numpy(g).to(cost) for g, cost in zip(gradients, call.costs, strict=True)))
        mean = torch.from_numpy(values[: self.samples].mean(axis=0)).to(call.costs[0])
        return [mean, *(y[: self.samples].mean(0) for y in decisions)]

    def _draw(self, costs: Sequence[Tensor]) -> list[Array]:
        """Draws (samples, B, *shape) of each; with common random numbers, always the same ones."""
        noise = copy.deepcopy(self.noise) if self.common else self.noise
        pairs = self.control_variate == "antithetic"
        drawn = []
        for cost in costs:
            shape = (1, *cost.shape[1:]) if self.common else tuple(cost.shape)
            z = noise.draw((self.samples // (1 + pairs), *shape))
            z = np.concatenate([z, -z]) if pairs else z
            drawn.append(np.broadcast_to(z, (self.samples, *cost.shape)).copy())
        return drawn

    def _values(self, decisions: Sequence[Tensor], truth: Sequence[Tensor]) -> Array:
        """The objective (problems, B) of decisions (problems, B, …) under true parameters (B, …)."""
        problems, batch = decisions[0].shape[:2]
        if batch == 0:
            return np.zeros((problems, 0))
        chosen = tuple(y.flatten(0, 1).double().cpu().numpy() for y in decisions)
        repeated = tuple(np.concatenate([p.double().cpu().numpy()] * problems) for p in truth)
        alone = len(chosen) == 1
        values = np.asarray(
            self.objective(chosen[0], repeated[0]) if alone else self.objective(chosen, repeated)
        )
        if values.shape != (problems * batch,):
            raise ValueError(f"objective must return shape ({problems * batch},), got {values.shape}")
        return values.reshape(problems, batch).astype(np.float64)

    def _without_baseline(self, values: Array) -> Array:
        if self.control_variate == "mean":
            return (self.samples * values - values.sum(axis=0)) / (self.samples - 1)
        if self.control_variate == "solution":
            return values[:-1] - values[-1]
        return values


def score_function_loss(
    solver: Solver,
    objective: Objective,
    parameters: Tensors,
    *,
    true_parameters: Tensors,
    context: Sequence[Any] | None = None,
    return_solution: bool = False,
    noise: Noise,
    **arguments: Any,
) -> Any:
    """Judge decisions for predicted parameters: `ScoreFunctionLoss` as a function.

    The noise must be given and kept, because new noise would draw the same numbers in every call.

    Args:
        solver: see `ScoreFunctionLoss`.
        objective: see there.
        parameters: see `ScoreFunctionLoss.forward`.
        true_parameters: see there.
        context: see there.
        return_solution: see there.
        noise: the noise, which must be kept from call to call.
        arguments: the other arguments of `ScoreFunctionLoss`.

    Examples:
        >>> import difflayers, torch
        >>> from difflayers import tasks
        >>> difflayers.functional.score_function_loss(
        ...     difflayers.solvers.TopK(1),
        ...     tasks.linear,
        ...     torch.tensor([[1.0, 100.0]]),
        ...     true_parameters=torch.tensor([[2.0, 3.0]]),
        ...     noise=difflayers.gaussian_noise(),
        ...     batched=True,
        ... )  # item 0 is the cheapest under all noise
        tensor(2.)
    """
    loss = ScoreFunctionLoss(solver, objective, noise=noise, **arguments)
    return loss(parameters, true_parameters=true_parameters, context=context, return_solution=return_solution)
