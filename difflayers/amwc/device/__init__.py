"""Asymmetric multiway cut as tensor operations, on whatever device the costs live.

The solvers of `difflayers.amwc` visit node after node; here everything happens in rounds that a GPU can
work on. Imported on demand only, as this is the one solver that needs torch.
"""

from difflayers.amwc.device.solving import METHODS, TensorSolution, solve

__all__ = ["METHODS", "TensorSolution", "solve"]
