"""The step of adaptive I-MLE, as a rule that chooses λ.

Minervini, Franceschi and Niepert, Adaptive Perturbation-Based Gradient Estimation for Discrete Latent
Variable Models, AAAI 2023.
"""

import threading

import numpy as np
import torch

from difflayers._arguments import positive
from difflayers.engine.state import State, check_names
from difflayers.solver import Array

# One lock for all, as in `scales`: a lock inside the object could not be pickled or copied.
_DRAWING = threading.Lock()


class AdaptiveTarget:
    """The step λ = α ‖c‖ / ‖g‖ of adaptive I-MLE, with an α that follows how much solutions change.

    After each backward call α grows by `step` if, on a running average, a perturbed solution differs from the
    unperturbed one in fewer than `density` entries. Otherwise α shrinks by `step`, but not below 0. Norms are
    those of an instance over all of its finite costs. An instance whose costs are all zero has λ = 0 and no
    gradient.

    Args:
        alpha: α to start with, at least 0, without unit.
        step: how much α changes per call.
        density: how many entries of a solution should change, on average over instances and samples.
        decay: of the running average, in [0, 1); the average starts at `density`.

    ```python
    >>> import difflayers
    >>> rule = difflayers.AdaptiveTarget(alpha=0.5)
    >>> layer = difflayers.IMLELayer(difflayers.solvers.TopK(2), scales=rule, batched=True)

    ```
    """

    relative: bool = True
    """Whether `draw` returns multiples of ‖c‖ / ‖g‖."""

    def __init__(
        self, alpha: float = 1.0, step: float = 1e-3, density: float = 1.0, decay: float = 0.9
    ) -> None:
        self.alpha: float = 0.0 if alpha == 0 else positive("alpha", alpha)
        self.step: float = positive("step", step)
        self.density: float = positive("density", density)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}")
        self.decay: float = decay
        self.average: float = self.density

    def draw(self) -> Array:
        """Return α as a float64 array of shape (1,)."""
        return np.array([self.alpha])

    def adapt(self, changed: float) -> None:
        """Take in how many entries of a solution changed in a backward call, on average."""
        with _DRAWING:
            self.average = self.decay * self.average + (1 - self.decay) * changed
            self.alpha = max(self.alpha + (self.step if self.average < self.density else -self.step), 0.0)

    def state_dict(self) -> State:
        """Return α and the running average."""
        return {
            name: torch.tensor(getattr(self, name), dtype=torch.float64, device="cpu")
            for name in ("alpha", "average")
        }

    def load_state_dict(self, state: State) -> None:
        """Set α and the running average.

        Raises:
            ValueError: another kind of object saved the state, or a number is negative.
        """
        check_names(state, ("alpha", "average"), repr(self))
        alpha, average = (float(state[name]) for name in ("alpha", "average"))
        if not (0 <= alpha < float("inf") and 0 <= average < float("inf")):
            raise ValueError(f"alpha and average must be finite and at least 0, got {alpha} and {average}")
        self.alpha, self.average = alpha, average

    def __repr__(self) -> str:
        return f"AdaptiveTarget(alpha={self.alpha:g})"
