"""Every loss on one feasible set, the 3 × 3 matchings, so that claims common to all can be made of each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from difflayers import SolutionPool, functional, losses
from difflayers.layers.noise import gaussian_noise
from tests.losses.polytopes import Enumeration, matchings

SUMS = np.concatenate([np.kron(np.eye(3), np.ones((1, 3))), np.kron(np.ones((1, 3)), np.eye(3))])


def paid(decisions, parameters):
    """The objective of score functions: what decisions cost, if the parameters are costs."""
    if isinstance(decisions, tuple):
        return sum(map(paid, decisions, parameters))
    return (decisions * parameters).sum(axis=tuple(range(1, decisions.ndim)))


@dataclass(frozen=True)
class Case:
    """A loss with its function and the arguments that it takes."""

    name: str
    loss: Callable[..., Any]
    function: Callable[..., Any]
    needs: tuple[str, ...]
    solves: bool = True
    keeps: str = ""  # from call to call: "noise" or "pool"

    def make(self, solver=None, **options):
        """A new loss module."""
        if not self.solves:
            return self.loss(**{k: v for k, v in options.items() if k != "batched"})
        solver = Enumeration(matchings()) if solver is None else solver
        if self.name.startswith("score"):
            options["objective"] = paid
        return self.loss(solver, **options)

    def call_function(self, costs, target, **options):
        """The value of the function with new noise and a new pool, as a new module has."""
        own = {"noise": {"noise": gaussian_noise()}, "pool": {"pool": SolutionPool()}}.get(self.keeps, {})
        solver = (Enumeration(matchings()),) if self.solves else ()
        if self.name.startswith("score"):
            solver += (paid,)
        return self.function(*solver, costs, **target, **own, **options)

    def target(self, true_costs, maximize=False):
        """The keyword arguments of a call for instances with these true costs."""
        sign = -1 if maximize else 1
        solver = Enumeration(matchings(), batched=True)
        best = solver(sign * true_costs.double().numpy())
        every = {
            "true_costs": true_costs,
            "true_parameters": sign * true_costs,
            "true_solutions": torch.tensor(best, dtype=true_costs.dtype),
            "normals": losses.binding_normals(best, A_eq=SUMS),
        }
        return {name: every[name] for name in self.needs}


def _case(name, loss, function, *needs, solves=True, keeps="", **own):
    return Case(name, partial(loss, **own), partial(function, **own), needs, solves, keeps)


F = functional
CASES = [
    _case("spo-plus", losses.SPOPlusLoss, F.spo_plus_loss, "true_costs"),
    _case("spo-plus-given", losses.SPOPlusLoss, F.spo_plus_loss, "true_costs", "true_solutions"),
    *(
        _case(
            f"gradient-{difference}",
            losses.PerturbationGradientLoss,
            F.perturbation_gradient_loss,
            "true_costs",
            difference=difference,
            step=0.5,
        )
        for difference in ("backward", "forward", "central")
    ),
    *(
        _case(
            f"fenchel-young-{perturbation}",
            losses.FenchelYoungLoss,
            F.fenchel_young_loss,
            "true_solutions",
            keeps="noise",
            perturbation=perturbation,
            sigma=0.5,
        )
        for perturbation in ("additive", "multiplicative")
    ),
    _case(
        "quadratic",
        losses.RegularizedFenchelYoungLoss,
        F.regularized_fenchel_young_loss,
        "true_solutions",
        strength=0.5,
    ),
    *(
        _case(
            f"score-function-{variate}",
            losses.ScoreFunctionLoss,
            F.score_function_loss,
            "true_parameters",
            keeps="noise",
            samples=20,
            control_variate=variate,
        )
        for variate in ("mean", "antithetic")
    ),
    _case("structured-svm", losses.StructuredSVMLoss, F.structured_svm_loss, "true_solutions"),
    *(
        _case(
            f"contrastive-{kind}",
            losses.ContrastiveLoss,
            F.contrastive_loss,
            "true_solutions",
            keeps="pool",
            kind=kind,
        )
        for kind in ("nce", "map")
    ),
    *(
        _case(
            f"ranking-{kind}",
            losses.RankingLoss,
            F.ranking_loss,
            "true_costs",
            "true_solutions",
            keeps="pool",
            kind=kind,
        )
        for kind in ("pointwise", "pairwise", "listwise")
    ),
    _case("cone", losses.ConeAlignmentLoss, F.cone_alignment_loss, "normals", solves=False),
]
ONE_OF_EACH = list({case.loss.func: case for case in CASES}.values())
SOLVING = [case for case in CASES if case.solves]
