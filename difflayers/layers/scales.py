"""How the interpolation range λ of Eq. 3 and 4 is chosen: one `draw` for each backward call."""

import math
import threading
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from difflayers._arguments import count, positive
from difflayers.engine.state import State, check_names, generator_to_tensor, tensor_to_generator
from difflayers.solver import Array

# One lock for all: drawing takes microseconds, and a lock inside the object could not be pickled or copied.
_DRAWING = threading.Lock()


@runtime_checkable
class Scales(Protocol):
    """Where a layer gets its interpolation ranges from."""

    def draw(self) -> Array:
        """Return the λ of one backward call, float64 of shape (N,); Eq. 4 averages over them."""
        ...

    def state_dict(self) -> State:
        """Return what must be stored for the next draws to be repeated after a restart."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Continue from what `state_dict` returned."""
        ...


@runtime_checkable
class Observer(Protocol):
    """Scales that learn from what came of them may also have this."""

    def observe(self, changed: Array) -> None:
        """Take in, for each λ of the last draw, the share from 0 to 1 of instances whose solution it changed.

        Only instances with an incoming gradient count, and nothing comes where there was none.
        """
        ...


class FixedScale:
    """The same λ at every call: plain blackbox differentiation (Eq. 3; Vlastelica et al. 2020).

    Args:
        value: the interpolation range λ, positive and finite, in units of cost per unit of gradient.
    """

    def __init__(self, value: float) -> None:
        self.value: float = positive("value", value)

    def draw(self) -> Array:
        """Return λ as a float64 array of shape (1,)."""
        return np.array([self.value])

    def state_dict(self) -> State:
        """Return an empty dict: nothing changes from call to call."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Check that there is no state, as that of another rule would be.

        Raises:
            ValueError: the state is not empty.
        """
        check_names(state, (), "a FixedScale")

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
        self.low: float = positive("low", low)
        self.high: float = positive("high", high)
        if self.low > self.high:
            raise ValueError(f"low must not be above high, but low is {low} and high is {high}")
        self.samples: int = count("samples", samples)
        self._generator = np.random.default_rng(seed)

    def draw(self) -> Array:
        """Return N new λ as a float64 array of shape (N,); safe to call from several threads."""
        with _DRAWING:
            return self._generator.uniform(self.low, self.high, self.samples)

    def state_dict(self) -> State:
        """Return the state of the generator."""
        return {"generator": generator_to_tensor(self._generator)}

    def load_state_dict(self, state: State) -> None:
        """Continue with the draws that follow `state_dict`.

        Raises:
            ValueError: another kind of object saved the state.
        """
        check_names(state, ("generator",), "UniformScales")
        tensor_to_generator(state["generator"], self._generator, "UniformScales")

    def __repr__(self) -> str:
        return f"UniformScales({self.low:g}, {self.high:g}, samples={self.samples})"


class AdaptiveScale:
    """One λ that is steered until it changes a wanted share of the solutions.

    After each backward call log λ moves by rate · (target − share), where share is how many of the instances
    with an incoming gradient got another solution: the stochastic approximation of Robbins and Monro (1951),
    whose rest is where the share equals the target. It follows gradients that shrink as training goes on.
    The aim is that of adaptive I-MLE (Minervini et al., AAAI 2023), which steers the number of non-zero
    entries of the gradient by additive steps instead.

    Args:
        start: first λ, positive and finite, in units of cost per unit of gradient.
        target: wanted share of changed solutions, above 0 and below 1.
        rate: how far log λ moves at most in one call, positive.
        low: λ never goes below; where no λ changes enough solutions it ends at `high`.
        high: λ never goes above.

    λ is part of the layer's `state_dict`.
    """

    def __init__(
        self,
        start: float = 10.0,
        target: float = 0.5,
        rate: float = 0.1,
        low: float = 1e-6,
        high: float = 1e6,
    ) -> None:
        self.value: float = positive("start", start)
        self.rate: float = positive("rate", rate)
        self.low: float = positive("low", low)
        self.high: float = positive("high", high)
        if not self.low <= self.value <= self.high:
            raise ValueError(f"start must be from low to high, but is {start}, with {low} and {high}")
        if not 0 < target < 1:
            raise ValueError(f"target must be above 0 and below 1, but is {target}")
        self.target: float = float(target)

    def draw(self) -> Array:
        """Return the present λ as a float64 array of shape (1,)."""
        return np.array([self.value])

    def observe(self, changed: Array) -> None:
        """Move λ towards where the share of changed solutions is the target."""
        with _DRAWING:
            moved = self.value * math.exp(self.rate * (self.target - float(np.mean(changed))))
            self.value = min(max(moved, self.low), self.high)

    def state_dict(self) -> State:
        """Return the present λ."""
        return {"value": torch.tensor(self.value, dtype=torch.float64, device="cpu")}

    def load_state_dict(self, state: State) -> None:
        """Set λ to that of `state_dict`.

        Raises:
            ValueError: another kind of object saved the state, or λ is not from `low` to `high`.
        """
        check_names(state, ("value",), "an AdaptiveScale")
        value = float(state["value"])
        if not self.low <= value <= self.high:
            raise ValueError(
                f"the value of an AdaptiveScale must be from low={self.low:g} to high={self.high:g}, "
                f"got {value:g}"
            )
        self.value = value

    def __repr__(self) -> str:
        return f"AdaptiveScale({self.value:g}, target={self.target:g}, rate={self.rate:g})"


def as_scales(scales: "Scales | float") -> Scales:
    """Turn a number into a FixedScale and let anything that can draw scales through.

    Raises ValueError for a number that is not positive and finite, TypeError for anything else.
    """
    if isinstance(scales, Scales):
        return scales
    if isinstance(scales, bool) or not isinstance(scales, int | float | np.number):
        raise TypeError(f"scales must be a number or an object such as UniformScales, but is {scales!r}")
    return FixedScale(positive("scales", scales))
