"""Any combinatorial solver as a differentiable PyTorch layer."""

__version__ = "0.1.0"
