"""The layers as functions, for those who keep solver and options elsewhere (as torch.nn.functional does)."""

from difflayers.blackbox import blackbox

__all__ = ["blackbox"]
