"""How the interpolation range λ of Eq. 3 and 4 is chosen: one `draw` for each backward call."""

import math
import threading
from typing import Any, Protocol, runtime_checkable

import numpy as np

from difflayers.solver import Array

# One lock for all: drawing takes microseconds, and a lock inside the object could not be pickled or copied.
_DRAWING = threading.Lock()


@runtime_checkable
class Scales(Protocol):
    """Where a layer gets its interpolation ranges from."""

    def draw(self) -> Array:
        """Return the λ of one backward call, float64 of shape (N,); Eq. 4 averages over them."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what must be stored for the next draws to be repeated after a restart."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        ...


class FixedScale:
    """The same λ at every call: plain blackbox differentiation (Eq. 3; Vlastelica et al. 2020).

    Args:
        value: the interpolation range λ, positive and finite, in units of cost per unit of gradient.
    """

    def __init__(self, value: float) -> None:
        self.value = _positive("value", value)

    def draw(self) -> Array:
        """Return λ as a float64 array of shape (1,)."""
        return np.array([self.value])

    def state_dict(self) -> dict[str, Any]:
        """Return an empty dict: nothing changes from call to call."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing, since there is no state."""

    def __repr__(self) -> str:
        return f"FixedScale({self.value:g})"


class UniformScales:
    """Several λ, drawn anew at every backward call, uniformly from an interval (COPS, Eq. 4).

    Args:
        low: lower end of the interval, positive, in units of cost per unit of gradient.
        high: upper end, finite and at least `low`.
        samples: N, how many λ a call draws and so how many perturbed problems it solves an instance.
        seed: of the generator; two objects with the same seed draw the same λ.
    """

    def __init__(self, low: float, high: float, samples: int = 5, seed: int = 0) -> None:
        self.low, self.high = _positive("low", low), _positive("high", high)
        if self.low > self.high:
            raise ValueError(f"low must not be above high, but low is {low} and high is {high}")
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise ValueError(f"samples must be an integer of at least 1, but is {samples!r}")
        self.samples = samples
        self._generator = np.random.default_rng(seed)

    def draw(self) -> Array:
        """Return N new λ as a float64 array of shape (N,); safe to call from several threads."""
        with _DRAWING:
            return self._generator.uniform(self.low, self.high, self.samples)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the generator as plain numbers."""
        return {"generator": self._generator.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the generator to the state from `state_dict`."""
        self._generator.bit_generator.state = state["generator"]

    def __repr__(self) -> str:
        return f"UniformScales({self.low:g}, {self.high:g}, samples={self.samples})"


def as_scales(scales: "Scales | float") -> Scales:
    """Turn a number into a FixedScale and let anything that can draw scales through.

    Raises ValueError for a number that is not positive and finite, TypeError for anything else.
    """
    if isinstance(scales, Scales):
        return scales
    if isinstance(scales, bool) or not isinstance(scales, int | float | np.number):
        raise TypeError(f"scales must be a number or an object such as UniformScales, but is {scales!r}")
    return FixedScale(float(scales))


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be positive and finite, but is {value}")
    return float(value)
