"""Hamming distance between a layer's solutions and given ones: the plainest loss on solutions of 0 and 1."""

import torch
from torch import Tensor

from difflayers._arguments import one_of
from difflayers.engine.autograd import LossReduction, reduce_losses
from difflayers.engine.instances import flat


def hamming_loss(solutions: Tensor, true_solutions: Tensor, *, reduction: LossReduction = "mean") -> Tensor:
    """Return the Hamming distance Σ y (1 − y*) + (1 − y) y* of solutions y to given ones y*, of 0 and 1.

    The loss of Vlastelica et al. (2020) for shortest paths: its gradient 1 − 2 y* is a constant. Between 0
    and 1, as the mean of several solutions is, it is the expected distance.

    Args:
        solutions: y (B, *shape), what a layer returned, or any solutions to be measured.
        true_solutions: y*, the same shape, of any dtype.
        reduction: "mean", "sum", or "none" for (B,), where instances that `on_failure="skip"` took out are
            NaN; they are in no mean or sum.

    Raises ValueError where the shapes differ.
    """
    one_of("reduction", reduction, LossReduction)
    if solutions.shape != true_solutions.shape:
        raise ValueError(
            f"true_solutions has shape {tuple(true_solutions.shape)}, "
            f"but solutions has shape {tuple(solutions.shape)}"
        )
    solutions = solutions if solutions.dtype == torch.float64 else solutions.float()
    wanted = true_solutions.to(solutions.dtype)
    return reduce_losses(flat(wanted + (1 - 2 * wanted) * solutions).sum(1), reduction)
