"""Losses that put a solver into the training of the costs, and what they are judged by."""

from difflayers.losses.base import SolverLoss
from difflayers.losses.cone import ConeAlignmentLoss, binding_normals
from difflayers.losses.contrastive import ContrastiveLoss
from difflayers.losses.fenchel_young import FenchelYoungLoss
from difflayers.losses.hamming import hamming_loss
from difflayers.losses.perturbation_gradient import PerturbationGradientLoss
from difflayers.losses.ranking import RankingLoss
from difflayers.losses.recall import recall_loss
from difflayers.losses.regret import Regret, RegretSummary
from difflayers.losses.regularized_fenchel_young import RegularizedFenchelYoungLoss
from difflayers.losses.score_function import ScoreFunctionLoss
from difflayers.losses.spo_plus import SPOPlusLoss
from difflayers.losses.structured_svm import StructuredSVMLoss

__all__ = [
    "ConeAlignmentLoss",
    "ContrastiveLoss",
    "FenchelYoungLoss",
    "PerturbationGradientLoss",
    "RankingLoss",
    "Regret",
    "RegretSummary",
    "RegularizedFenchelYoungLoss",
    "SPOPlusLoss",
    "ScoreFunctionLoss",
    "SolverLoss",
    "StructuredSVMLoss",
    "binding_normals",
    "hamming_loss",
    "recall_loss",
]
