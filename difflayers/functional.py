"""The layers as functions, for those who keep solver and options elsewhere (as torch.nn.functional does)."""

from difflayers.blackbox import blackbox
from difflayers.identity import identity
from difflayers.imle import imle
from difflayers.lagrangian import lpgd
from difflayers.perturbed import perturbed
from difflayers.regularized import regularized_frank_wolfe

__all__ = ["blackbox", "identity", "imle", "lpgd", "perturbed", "regularized_frank_wolfe"]
