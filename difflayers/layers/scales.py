"""How the interpolation range λ of Eq. 3 and 4 is chosen, with one `draw` per backward call."""

import math
import threading
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from difflayers._arguments import count, positive
from difflayers.engine.state import State, check_names, generator_to_tensor, tensor_to_generator
from difflayers.solver import Array

# All objects share one lock, since drawing takes microseconds and a lock cannot be pickled or copied.
_DRAWING = threading.Lock()


@runtime_checkable
class Scales(Protocol):
    """Where a layer gets its interpolation ranges from."""

    def draw(self) -> Array:
        """Return the λ of one backward call, a float64 array (N,); Eq. 4 averages over them."""
        ...

    def state_dict(self) -> State:
        """Return tensors by name, from which the next draws can be repeated; empty if there is no state."""
        ...

    def load_state_dict(self, state: State) -> None:
        """Continue from what `state_dict` returned."""
        ...


@runtime_checkable
class Observer(Protocol):
    """A rule that learns from the effect of its scales has this method too."""

    def observe(self, changed: Array) -> None:
        """Take in the effect of the last draw.

        Args:
            changed: (N,) for each λ, the share from 0 to 1 of the instances whose solution it changed. Only
                instances with an incoming gradient count. Without any of them, the method is not called.
        """
        ...


class FixedScale:
    """The same λ at every call: plain blackbox differentiation (Eq. 3; Vlastelica et al. 2020).

    Args:
        value: the interpolation range λ, positive and finite, in units of cost per unit of gradient.

    Raises:
        ValueError: the value is not positive and finite.

    Examples:
        >>> FixedScale(10.0).draw()
        array([10.])
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
        samples: N, how many λ a call draws; a backward call solves N perturbed problems per instance.
        seed: of the generator; two objects with the same seed draw the same λ.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> scales = UniformScales(1.0, 5.0, samples=3)
        >>> drawn = scales.draw()
        >>> drawn.shape, bool((drawn >= 1).all() and (drawn <= 5).all())
        ((3,), True)
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

    After each backward call, log λ moves by rate · (target − share). The share is the number of instances
    whose solution changed over the number of instances with an incoming gradient. This is the stochastic
    approximation of Robbins and Monro (1951): λ comes to rest where the share equals the target, and follows
    gradients that shrink during the training. Adaptive I-MLE (Minervini et al., AAAI 2023) has the same aim,
    but steers the number of non-zero entries of the gradient by additive steps.

    Args:
        start: first λ, positive and finite, in units of cost per unit of gradient.
        target: wanted share of changed solutions, above 0 and below 1.
        rate: how far log λ moves at most in one call, positive.
        low: lower limit of λ.
        high: upper limit of λ, which it reaches if no λ changes enough solutions.

    λ is part of the layer's `state_dict`.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> scales = AdaptiveScale(start=2.0, target=0.5, rate=0.2)
        >>> scales.observe(np.array([0.25]))  # too few solutions changed, so that λ grows
        >>> round(scales.value, 2)
        2.1
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
            raise ValueError(f"start must be from low={low:g} to high={high:g}, got {start:g}")
        if not 0 < target < 1:
            raise ValueError(f"target must be above 0 and below 1, got {target}")
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
    """Return a rule as it is, and a number as a FixedScale.

    Raises:
        ValueError: a number is not positive and finite.
        TypeError: the argument is neither a number nor a rule.
    """
    if isinstance(scales, Scales):
        return scales
    if isinstance(scales, bool) or not isinstance(scales, int | float | np.number):
        raise TypeError(f"scales must be a number or an object such as UniformScales, got {scales!r}")
    return FixedScale(positive("scales", scales))
