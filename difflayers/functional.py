"""The layers as functions, for those who keep solver and options elsewhere (as torch.nn.functional does)."""

from difflayers.blackbox import blackbox
from difflayers.losses.cone import cone_alignment_loss
from difflayers.losses.fenchel_young import fenchel_young_loss
from difflayers.losses.perturbation_gradient import perturbation_gradient_loss
from difflayers.losses.regret import normalized_regret, regret
from difflayers.losses.spo_plus import spo_plus_loss
from difflayers.losses.structured_svm import structured_svm_loss

__all__ = [
    "blackbox",
    "cone_alignment_loss",
    "fenchel_young_loss",
    "normalized_regret",
    "perturbation_gradient_loss",
    "regret",
    "spo_plus_loss",
    "structured_svm_loss",
]
