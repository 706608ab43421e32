"""How λ is chosen."""

import numpy as np
import pytest

from difflayers.scales import FixedScale, UniformScales, as_scales


def test_fixed_scale_is_always_the_same_one():
    assert FixedScale(3).draw().tolist() == FixedScale(3).draw().tolist() == [3.0]


def test_uniform_scales_fill_their_interval_evenly():
    drawn = UniformScales(2.0, 6.0, samples=20_000).draw()
    assert drawn.dtype == np.float64
    assert 2.0 <= drawn.min() < 2.01
    assert 5.99 < drawn.max() <= 6.0
    counts, _ = np.histogram(drawn, bins=4, range=(2, 6))
    assert np.all(np.abs(counts - 5000) < 300)  # five standard deviations


def test_the_seed_decides_and_every_draw_is_new():
    one, same, other = UniformScales(1, 9, seed=7), UniformScales(1, 9, seed=7), UniformScales(1, 9, seed=8)
    first, second = one.draw(), one.draw()
    assert np.array_equal(first, same.draw())
    assert np.array_equal(second, same.draw())
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other.draw())


def test_the_state_can_be_stored_and_restored():
    scales = UniformScales(1, 9)
    scales.draw()
    state = scales.state_dict()
    expected = scales.draw()
    resumed = UniformScales(1, 9, seed=123)
    resumed.load_state_dict(state)
    assert np.array_equal(resumed.draw(), expected)


def test_numbers_become_fixed_scales_and_scales_stay_themselves():
    scales = UniformScales(1, 2)
    assert as_scales(scales) is scales
    for number in (5, 5.0, np.float32(5)):
        assert as_scales(number).draw().tolist() == [5.0]


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
def test_scales_that_are_not_positive_and_finite_are_refused(value):
    with pytest.raises(ValueError, match="value must be positive and finite"):
        FixedScale(value)
    with pytest.raises(ValueError, match="low must be positive and finite"):
        UniformScales(value, 5)
    with pytest.raises(ValueError, match="high must be positive and finite"):
        UniformScales(1, value)


def test_wrong_intervals_and_sample_numbers_are_refused():
    with pytest.raises(ValueError, match="low is 3 and high is 2"):
        UniformScales(3, 2)
    for samples in (0, 2.0, True):
        with pytest.raises(ValueError, match="samples must be an integer of at least 1"):
            UniformScales(1, 2, samples=samples)
    for scales in (True, None, [1.0]):
        with pytest.raises(TypeError, match="scales must be a number"):
            as_scales(scales)
