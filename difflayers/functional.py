"""The layers and losses as functions, for callers who keep solver and options elsewhere."""

from difflayers.layers.blackbox import blackbox
from difflayers.layers.identity import identity
from difflayers.layers.imle import imle
from difflayers.layers.lagrangian import lpgd
from difflayers.layers.perturbed import perturbed
from difflayers.layers.regularized import regularized
from difflayers.losses.cone import cone_alignment_loss
from difflayers.losses.contrastive import contrastive_loss
from difflayers.losses.fenchel_young import fenchel_young_loss
from difflayers.losses.perturbation_gradient import perturbation_gradient_loss
from difflayers.losses.ranking import ranking_loss
from difflayers.losses.regret import normalized_regret, regret
from difflayers.losses.regularized_fenchel_young import regularized_fenchel_young_loss
from difflayers.losses.score_function import score_function_loss
from difflayers.losses.spo_plus import spo_plus_loss
from difflayers.losses.structured_svm import structured_svm_loss

__all__ = [
    "blackbox",
    "cone_alignment_loss",
    "contrastive_loss",
    "fenchel_young_loss",
    "identity",
    "imle",
    "lpgd",
    "normalized_regret",
    "perturbation_gradient_loss",
    "perturbed",
    "ranking_loss",
    "regret",
    "regularized",
    "regularized_fenchel_young_loss",
    "score_function_loss",
    "spo_plus_loss",
    "structured_svm_loss",
]
