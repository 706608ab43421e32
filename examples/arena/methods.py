"""The methods of the arena: each makes a loss from a solver, and names the settings to try."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

import difflayers
from difflayers import losses
from difflayers.solver import Solver
from difflayers.tasks import Task


class Batch(NamedTuple):
    """What a loss compares a prediction with: true parameters (B, *shape), their decisions, and contexts."""

    parameters: Tensor
    decisions: Tensor
    contexts: Sequence[Any] | None


Loss = Callable[[Tensor, Batch], Tensor]  # (predicted parameters, batch) -> a number


class Surroundings(NamedTuple):
    """What a method may look at when it makes its loss: the task, the size of its parameters, and a seed.

    The size is the standard deviation of the true parameters in training. Noise, margins and strengths are
    multiples of it, so that one grid of settings serves all tasks.
    """

    task: Task
    size: float
    seed: int

    @property
    def solver(self) -> Solver:
        """The solver of the task."""
        return self.task.solver


class Method(NamedTuple):
    """How a loss is made from a setting, and which settings are tried on validation data.

    `decisions` is "any", or "binary" if they must be 0 and 1. `anywhere` says whether the parameters may
    stand in the constraints; otherwise they must be costs.
    """

    make: Callable[[Surroundings, float], Loss]
    settings: tuple[float, ...]
    decisions: Literal["any", "binary"] = "any"
    anywhere: bool = False


def squared_error(_: Surroundings, power: float) -> Loss:
    """Plain regression, which sees no decision."""
    return lambda predicted, batch: ((predicted - batch.parameters).abs() ** power).mean()


def with_costs(loss: nn.Module) -> Loss:
    """A loss that compares with true costs."""
    return lambda predicted, batch: loss(predicted, true_costs=batch.parameters, context=batch.contexts)


def with_both(loss: nn.Module) -> Loss:
    """A loss that compares with true costs, and is told their decisions."""
    return lambda predicted, batch: loss(
        predicted, true_costs=batch.parameters, true_solutions=batch.decisions, context=batch.contexts
    )


def with_decisions(loss: nn.Module) -> Loss:
    """A loss that compares with the best decisions."""
    return lambda predicted, batch: loss(predicted, true_solutions=batch.decisions, context=batch.contexts)


def through(layer: nn.Module) -> Loss:
    """The true cost of the layer's decisions: the regret, and a constant.

    It is a sum over the batch, so that λ has no unit: both costs and gradients are costs.
    """
    return lambda predicted, batch: (batch.parameters * layer(predicted, context=batch.contexts)).sum()


def _ranking(kind: losses.ranking.Ranking) -> Callable[[Surroundings, float], Loss]:
    def make(given: Surroundings, setting: float) -> Loss:
        scale = setting * given.size
        pool = difflayers.SolutionPool(solve_ratio=0.1, seed=given.seed)
        return with_both(losses.RankingLoss(given.solver, kind, scale, scale, pool=pool, batched=True))

    return make


def _contrastive(given: Surroundings, _: float) -> Loss:
    pool = difflayers.SolutionPool(solve_ratio=0.1, seed=given.seed)
    return with_decisions(losses.ContrastiveLoss(given.solver, "map", pool=pool, batched=True))


def _score_function(given: Surroundings, sigma: float) -> Loss:
    noise = difflayers.gaussian_noise(given.seed)
    loss = losses.ScoreFunctionLoss(
        given.solver, given.task.objective, sigma * given.size, 10, noise, batched=True
    )
    return lambda predicted, batch: loss(predicted, true_parameters=batch.parameters, context=batch.contexts)


def _spo_plus(given: Surroundings, _: float) -> Loss:
    return with_both(losses.SPOPlusLoss(given.solver, batched=True))


def _perturbation_gradient(given: Surroundings, step: float) -> Loss:
    return with_costs(losses.PerturbationGradientLoss(given.solver, step, batched=True))


def _fenchel_young(given: Surroundings, sigma: float) -> Loss:
    noise = difflayers.gaussian_noise(given.seed)
    loss = losses.FenchelYoungLoss(given.solver, sigma * given.size, 1, noise, batched=True)
    return with_decisions(loss)


def _regularized_fenchel_young(given: Surroundings, strength: float) -> Loss:
    loss = losses.RegularizedFenchelYoungLoss(given.solver, strength * given.size, batched=True)
    return with_decisions(loss)


def _structured_svm(given: Surroundings, margin: float) -> Loss:
    return with_decisions(losses.StructuredSVMLoss(given.solver, margin * given.size, batched=True))


def _blackbox(given: Surroundings, scale: float) -> Loss:
    return through(difflayers.BlackboxLayer(given.solver, scale, batched=True))


def _several_scales(given: Surroundings, scale: float) -> Loss:
    scales = difflayers.UniformScales(0.1 * scale, scale, samples=5, seed=given.seed)
    return through(difflayers.BlackboxLayer(given.solver, scales, batched=True))


def _identity(given: Surroundings, _: float) -> Loss:
    return through(difflayers.IdentityLayer(given.solver, batched=True))


def _lpgd(given: Surroundings, scale: float) -> Loss:
    return through(difflayers.LPGDLayer(given.solver, scale, envelope="average", batched=True))


def _perturbed(given: Surroundings, sigma: float) -> Loss:
    noise = difflayers.gaussian_noise(given.seed)
    return through(difflayers.PerturbedLayer(given.solver, sigma * given.size, 3, noise, batched=True))


def _imle(given: Surroundings, sigma: float) -> Loss:
    noise = difflayers.gumbel_noise(given.seed)
    return through(difflayers.IMLELayer(given.solver, 1.0, sigma * given.size, 1, noise, batched=True))


def _adaptive_imle(given: Surroundings, sigma: float) -> Loss:
    noise, scales = difflayers.gumbel_noise(given.seed), difflayers.AdaptiveTarget()
    return through(difflayers.IMLELayer(given.solver, scales, sigma * given.size, 1, noise, batched=True))


def _regularized(given: Surroundings, strength: float) -> Loss:
    return through(difflayers.RegularizedLayer(given.solver, strength * given.size, batched=True))


METHODS: dict[str, Method] = {
    "squared error": Method(squared_error, (2.0,), anywhere=True),
    "score function": Method(_score_function, (0.1, 0.3, 1.0), anywhere=True),
    "SPO+": Method(_spo_plus, (0.0,)),
    "perturbation gradient": Method(_perturbation_gradient, (0.1, 1.0)),
    "perturbed Fenchel–Young": Method(_fenchel_young, (0.1, 0.3, 1.0)),
    "regularized Fenchel–Young": Method(_regularized_fenchel_young, (0.1, 0.3, 1.0)),
    "structured SVM": Method(_structured_svm, (0.1, 1.0), decisions="binary"),
    "contrastive, MAP": Method(_contrastive, (0.0,)),
    "ranking, pointwise": Method(_ranking("pointwise"), (1.0,)),
    "ranking, pairwise": Method(_ranking("pairwise"), (0.1, 1.0)),
    "ranking, listwise": Method(_ranking("listwise"), (0.1, 1.0)),
    "blackbox": Method(_blackbox, (0.1, 1.0, 10.0)),
    "blackbox, 5 λ": Method(_several_scales, (1.0, 10.0)),
    "identity": Method(_identity, (0.0,)),
    "LPGD": Method(_lpgd, (0.1, 1.0, 10.0)),
    "perturbed": Method(_perturbed, (0.1, 0.3, 1.0)),
    "I-MLE": Method(_imle, (0.1, 0.3, 1.0)),
    "adaptive I-MLE": Method(_adaptive_imle, (0.1, 0.3, 1.0)),
    "regularized": Method(_regularized, (0.1, 0.3, 1.0)),
}
