"""How λ is chosen."""

import numpy as np
import pytest
import torch

import difflayers
from difflayers.layers.scales import AdaptiveScale, FixedScale, UniformScales, as_scales


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


def train(layer, steps, unit=1.0, seed=0):
    """Choose the cheaper of two items; returns the share of solutions that each step changed."""
    generator = torch.Generator().manual_seed(seed)
    shares = []
    for _ in range(steps):
        gap = torch.rand(200, generator=generator, dtype=torch.float64)
        costs = torch.stack([torch.zeros_like(gap), gap], 1).requires_grad_()
        incoming = torch.zeros_like(costs)
        incoming[:100, 0] = unit  # the other half has no gradient and must not count
        (gradient,) = torch.autograd.grad(layer(costs), costs, incoming)
        shares.append(float(gradient[:100].any(1).double().mean()))
    return shares


def cheaper(costs):
    return np.eye(2)[costs.argmin()]


@pytest.mark.parametrize("start", [0.01, 50.0])
@pytest.mark.parametrize("target", [0.3, 0.7])
@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_an_adaptive_scale_comes_to_rest_where_the_wanted_share_changes(start, target, unit):
    # Gaps are uniform in [0, 1] and λ bridges those below λ · unit, so the share is λ · unit.
    scales = AdaptiveScale(start / unit, target, rate=0.5)
    layer = difflayers.BlackboxLayer(cheaper, scales)
    shares = train(layer, 80, unit)
    assert np.mean(shares[-40:]) == pytest.approx(target, abs=0.03)
    assert scales.value * unit == pytest.approx(target, rel=0.15)


def test_one_observation_moves_the_logarithm_by_rate_times_what_is_missing():
    scales = AdaptiveScale(2.0, target=0.5, rate=0.2)
    scales.observe(np.array([0.25]))
    assert scales.value == pytest.approx(2 * np.exp(0.2 * 0.25))
    scales.observe(np.array([1.0]))
    assert scales.value == pytest.approx(2 * np.exp(0.2 * (0.25 - 0.5)))


def test_an_adaptive_scale_stays_within_its_limits():
    scales = AdaptiveScale(1.0, rate=1.0, low=0.5, high=1.2)
    for share, end in ((0.0, 1.2), (1.0, 0.5)):
        for _ in range(10):
            scales.observe(np.array([share]))
        assert scales.draw().tolist() == [end]


def test_without_any_incoming_gradient_it_does_not_move():
    layer = difflayers.BlackboxLayer(cheaper, AdaptiveScale(3.0))
    train(layer, 3, unit=0.0)
    assert layer.scales.value == 3.0


def test_failed_solves_do_not_move_an_adaptive_scale():
    calls = []

    def failing_when_perturbed(costs):
        calls.append(costs)
        if len(calls) > 4:
            raise difflayers.SolverError("no time left")
        return cheaper(costs)

    layer = difflayers.BlackboxLayer(failing_when_perturbed, AdaptiveScale(3.0), on_failure="skip")
    costs = torch.ones(4, 2, requires_grad=True)
    layer(costs).backward(torch.ones(4, 2))
    assert (len(calls), layer.scales.value) == (8, 3.0)


def test_an_adaptive_scale_is_resumed_from_the_state_dict(tmp_path):
    layer = difflayers.BlackboxLayer(cheaper, AdaptiveScale(3.0))
    train(layer, 5)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    resumed = difflayers.BlackboxLayer(cheaper, AdaptiveScale(1.0))
    resumed.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    assert resumed.scales.value == layer.scales.value != 3.0
    assert train(resumed, 5, seed=1) == train(layer, 5, seed=1)


def test_wrong_adaptive_scales_are_refused():
    for arguments, text in (
        ({"start": 0}, "start must be positive and finite"),
        ({"target": 1.0}, "target must be above 0 and below 1"),
        ({"start": 5.0, "high": 2.0}, "start must be from low=1e-06 to high=2, got 5"),
        ({"rate": np.inf}, "rate must be positive and finite"),
    ):
        with pytest.raises(ValueError, match=text):
            AdaptiveScale(**arguments)


def test_an_empty_batch_leaves_an_adaptive_scale_where_it_is():
    scale = difflayers.AdaptiveScale(start=2.0)
    layer = difflayers.BlackboxLayer(lambda costs: np.eye(2)[costs.argmin()], scale)
    costs = torch.zeros(0, 2, requires_grad=True)
    layer(costs).sum().backward()
    assert scale.value == 2.0
    assert costs.grad.shape == (0, 2)


def test_a_number_that_is_no_scale_is_named_as_the_argument_it_was():
    with pytest.raises(ValueError, match="scales must be positive and finite, got -1"):
        difflayers.BlackboxLayer(np.sign, scales=-1)


def test_states_are_tensors_and_empty_where_nothing_changes():
    assert FixedScale(3.0).state_dict() == {}
    for scales in (UniformScales(1, 9), AdaptiveScale()):
        assert scales.state_dict()
        assert all(isinstance(value, torch.Tensor) for value in scales.state_dict().values())


def test_a_state_of_another_rule_is_refused_by_name():
    with pytest.raises(ValueError, match="the state of a FixedScale must hold nothing, got 'value'"):
        FixedScale(1.0).load_state_dict(AdaptiveScale().state_dict())
    with pytest.raises(ValueError, match="the state of an AdaptiveScale must hold 'value', got nothing"):
        AdaptiveScale().load_state_dict(FixedScale(1.0).state_dict())
    with pytest.raises(ValueError, match="the state of UniformScales must hold 'generator', got 'value'"):
        UniformScales(1, 9).load_state_dict(AdaptiveScale().state_dict())
    with pytest.raises(TypeError, match="the state of an AdaptiveScale must hold tensors, but value is a fl"):
        AdaptiveScale().load_state_dict({"value": 1.0})
    with pytest.raises(ValueError, match=r"the generator of UniformScales must be an int64 tensor of shape"):
        UniformScales(1, 9).load_state_dict({"generator": torch.zeros(2)})


@pytest.mark.parametrize("value", [1e7, 1e-7, 0.0, np.nan])
def test_a_scale_beyond_the_limits_of_the_rule_is_refused(value):
    scales = AdaptiveScale(2.0)
    with pytest.raises(ValueError, match=r"must be from low=1e-06 to high=1e\+06, got"):
        scales.load_state_dict({"value": torch.tensor(value, dtype=torch.float64)})
    assert scales.value == 2.0
