"""The noise distributions against their distribution functions and densities."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from difflayers.layers.noise import Noise, gaussian_noise, gumbel_noise, sum_of_gamma_noise

KINDS = [gaussian_noise, gumbel_noise, partial(sum_of_gamma_noise, 3)]


@pytest.mark.parametrize(
    ("noise", "law"), [(gaussian_noise(4), stats.norm), (gumbel_noise(4), stats.gumbel_r)]
)
def test_draws_follow_their_distribution(noise, law):
    assert stats.kstest(noise.draw((50, 400)).ravel(), law.cdf).pvalue > 0.01


@pytest.mark.parametrize(("noise", "law"), [(gaussian_noise(), stats.norm), (gumbel_noise(), stats.gumbel_r)])
def test_the_score_is_the_negative_slope_of_the_log_density(noise, law):
    z, step = np.linspace(-2, 4, 25), 1e-5
    slopes = (law.logpdf(z + step) - law.logpdf(z - step)) / (2 * step)
    np.testing.assert_allclose(noise.score(z), -slopes, atol=1e-8)


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("terms", [1, 10])
def test_k_sum_of_gamma_draws_add_up_to_the_largest_of_exponentials(k, terms):
    # Σ_{i ≤ s} Exp(1)/i has the law of the largest of s exponential variables (Rényi), so that the sum
    # of k draws is at most x with probability (1 − exp(−x)/s)^s: Gumbel in the limit s → ∞.
    sums = sum_of_gamma_noise(k, terms, seed=1).draw((20_000, k)).sum(axis=1)
    assert stats.kstest(sums, lambda x: np.maximum(1 - np.exp(-x) / terms, 0) ** terms).pvalue > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_is_that_of_the_draws(kind):
    draws = kind(seed=2).draw((100_000,))
    assert abs(draws.mean() - kind().mean) < 5 * draws.std() / len(draws) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_draw_equal_noise_and_draws_go_on(kind):
    noise, twin, other = kind(seed=5), kind(seed=5), kind(seed=6)
    first = noise.draw((2, 3))
    np.testing.assert_array_equal(first, twin.draw((2, 3)))
    assert not np.isclose(first, other.draw((2, 3))).any()
    assert not np.isclose(first, noise.draw((2, 3))).any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_repeats_what_comes_next(kind):
    noise = kind(seed=5)
    noise.draw((7,))
    copies = [copy.deepcopy(noise), pickle.loads(pickle.dumps(noise)), kind(seed=9)]
    copies[2].load_state_dict(noise.state_dict())
    following = noise.draw((3,))
    for twin in copies:
        np.testing.assert_array_equal(twin.draw((3,)), following)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"k": 2.5}, {"k": True}, {"k": 2, "terms": 0}])
def test_sum_of_gamma_names_what_is_wrong(wrong):
    name = "terms" if "terms" in wrong else "k"
    with pytest.raises(ValueError, match=f"^{name} must be an integer of at least 1"):
        sum_of_gamma_noise(**wrong)


def test_a_distribution_of_ones_own_takes_a_line():
    laplace = Noise("laplace", lambda generator, shape: generator.laplace(size=shape), score=np.sign, seed=3)
    assert stats.kstest(laplace.draw((5000,)), stats.laplace.cdf).pvalue > 0.01
    assert repr(laplace) == "laplace"


def test_the_state_of_a_generator_is_one_tensor_of_fixed_size():
    noise = gaussian_noise(seed=5)
    for _ in range(3):
        (state,) = noise.state_dict().values()
        assert (state.shape, state.dtype) == ((6,), torch.int64)
        resumed = gaussian_noise()
        resumed.load_state_dict({"generator": state})
        np.testing.assert_array_equal(resumed.draw((5,)), noise.draw((5,)))
    with pytest.raises(ValueError, match="the state of a Noise must hold 'generator', got 'value'"):
        noise.load_state_dict({"value": torch.zeros(())})
