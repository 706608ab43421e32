"""Hamming distance between the solutions of a layer and given solutions of 0 and 1."""

import torch
from torch import Tensor

from difflayers._arguments import one_of
from difflayers.engine.autograd import LossReduction, reduce_losses
from difflayers.engine.instances import flat


def hamming_loss(solutions: Tensor, true_solutions: Tensor, *, reduction: LossReduction = "mean") -> Tensor:
    """Return the Hamming distance Σ y (1 − y*) + (1 − y) y* of solutions y to given ones y*, of 0 and 1.

    Vlastelica et al. (2020) use this loss for shortest paths. Its gradient, 1 − 2 y*, is a constant. For
    entries between 0 and 1, such as a mean of several solutions, it is the expected distance.

    Args:
        solutions: y (B, *shape), what a layer returned, or any solutions to be measured.
        true_solutions: y*, the same shape, of any dtype.
        reduction: "mean", "sum", or "none" for (B,). Instances that `on_failure="skip"` took out are NaN, and
            in no mean or sum.

    Raises:
        ValueError: the shapes differ.

    Examples:
        >>> hamming_loss(torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([[1, 1, 0]]))
        tensor(2.)
    """
    one_of("reduction", reduction, LossReduction)
    if solutions.shape != true_solutions.shape:
        raise ValueError(
            f"true_solutions must have shape {tuple(solutions.shape)}, as solutions have, "
            f"got {tuple(true_solutions.shape)}"
        )
    solutions = solutions if solutions.dtype == torch.float64 else solutions.float()
    wanted = true_solutions.to(solutions.dtype)
    return reduce_losses(flat(wanted + (1 - 2 * wanted) * solutions).sum(1), reduction)
