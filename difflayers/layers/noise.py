"""The noise of perturbed solvers, drawn from a generator of its own."""

import math
import threading
from collections.abc import Callable
from functools import partial

import numpy as np

from difflayers._arguments import count
from difflayers.engine.state import State, check_names, generator_to_tensor, tensor_to_generator
from difflayers.solver import Array

# All objects share one lock, since drawing takes microseconds and a lock cannot be pickled or copied.
_DRAWING = threading.Lock()


class Noise:
    """A distribution of independent numbers, with a random generator of its own.

    Ready-made: `gaussian_noise`, `gumbel_noise` and `sum_of_gamma_noise`.

    Two objects with the same seed draw the same numbers. Give each layer and, in distributed training, each
    process a seed of its own, for example `gaussian_noise(seed=rank)`; otherwise their draws are the same.

    Args:
        name: what `print` shows.
        sample: called with a NumPy generator and a shape, returns draws of that shape. To be pickled with its
            layer, it must be a module-level function, or a partial of one.
        score: ∇ν for the density exp(−ν(z)), the negative derivative of the log-density at each draw; None if
            there is no such formula. `PerturbedLayer` needs a score, `IMLELayer` does not.
        symmetric: whether z and −z are equally likely, so that antithetic pairs are allowed.
        mean: the mean of a draw.
        seed: of the generator.

    Examples:
        >>> def draw(generator, shape):
        ...     return generator.laplace(size=shape)
        >>> laplace = Noise("laplace", draw, score=np.sign, symmetric=True)
        >>> bool((laplace.draw((5,)) == laplace.draw((5,))).any())  # every draw is new
        False
    """

    def __init__(
        self,
        name: str,
        sample: Callable[[np.random.Generator, tuple[int, ...]], Array],
        score: Callable[[Array], Array] | None = None,
        symmetric: bool = False,
        mean: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.name: str = name
        self.sample: Callable[[np.random.Generator, tuple[int, ...]], Array] = sample
        self.score: Callable[[Array], Array] | None = score
        self.symmetric: bool = symmetric
        self.mean: float = mean
        self._generator = np.random.default_rng(seed)

    def draw(self, shape: tuple[int, ...]) -> Array:
        """Return new draws of the given shape; safe to call from several threads."""
        with _DRAWING:
            return self.sample(self._generator, shape)

    def state_dict(self) -> State:
        """Return the state of the generator."""
        return {"generator": generator_to_tensor(self._generator)}

    def load_state_dict(self, state: State) -> None:
        """Continue with the draws that follow `state_dict`.

        Raises:
            ValueError: another kind of object saved the state.
        """
        check_names(state, ("generator",), "a Noise")
        tensor_to_generator(state["generator"], self._generator, "a Noise")

    def __repr__(self) -> str:
        return self.name


def gaussian_noise(seed: int = 0) -> Noise:
    """Make standard normal noise, with mean 0, variance 1 and ∇ν(z) = z.

    Examples:
        >>> bool((gaussian_noise(seed=1).draw((5,)) == gaussian_noise(seed=1).draw((5,))).all())
        True
    """
    return Noise("gaussian", _gaussian, _gaussian_score, symmetric=True, seed=seed)


def gumbel_noise(seed: int = 0) -> Noise:
    """Make standard Gumbel noise, with P(Z ≤ z) = exp(−exp(−z)) and ∇ν(z) = 1 − exp(−z).

    Perturbed by it, the choice of the cheapest of n items becomes their softmin. Its mean is 0.577.

    Examples:
        >>> draws = gumbel_noise().draw((10_000, 2))
        >>> chosen = (np.array([0.0, 1.0]) - draws).argmin(axis=1)
        >>> softmin = 1 / (1 + np.exp(-1.0))
        >>> bool(abs((chosen == 0).mean() - softmin) < 0.02)
        True
    """
    return Noise("gumbel", _gumbel, _gumbel_score, mean=float(np.euler_gamma), seed=seed)


def sum_of_gamma_noise(k: int, terms: int = 10, seed: int = 0) -> Noise:
    """Make noise of which k draws add up to (nearly) one Gumbel draw, for solutions with k ones.

    A draw is (1/k) (Σ_{i=1..s} Gamma(1/k, scale k/i) − log s); the sum of k of them tends to a standard
    Gumbel variable as s grows (Niepert et al., Implicit MLE, NeurIPS 2021, sum-of-Gamma noise; their
    temperature τ is the `sigma` of a layer). It has no score.

    Args:
        k: how many ones a solution has, exactly or about; at least 1.
        terms: s, how many Gamma variables are added up per draw.
        seed: of the generator.

    Raises:
        ValueError: k or terms is no positive integer.

    Examples:
        >>> noise = sum_of_gamma_noise(3)
        >>> sums = noise.draw((10_000, 3)).sum(axis=1)
        >>> bool(abs(sums.mean() - 3 * noise.mean) < 0.1)
        True
    """
    sample = partial(_sum_of_gamma, count("k", k), count("terms", terms))
    mean = (sum(1 / term for term in range(1, terms + 1)) - math.log(terms)) / k
    return Noise(f"sum_of_gamma(k={k}, terms={terms})", sample, mean=mean, seed=seed)


def _gaussian(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return generator.standard_normal(shape)


def _gaussian_score(draws: Array) -> Array:
    return draws


def _gumbel(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return generator.gumbel(size=shape)


def _gumbel_score(draws: Array) -> Array:
    return -np.expm1(-draws)


def _sum_of_gamma(k: int, terms: int, generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    total = np.full(shape, -math.log(terms) / k)
    for term in range(1, terms + 1):
        total += generator.standard_gamma(1 / k, shape) / term
    return total
