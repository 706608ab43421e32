import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers.graph import boundary_probabilities, edge_costs

PROBABILITIES = st.floats(1e-5, 1 - 1e-5)


@settings(deadline=None)
@given(PROBABILITIES, st.floats(0.01, 0.99), st.integers(1, 50), st.integers(1, 50))
def test_a_cost_is_the_log_odds_of_no_boundary_plus_those_of_the_bias_times_the_relative_size(
    p, b, size, other
):
    costs = edge_costs(np.array([p, 0.5]), bias=b, sizes=np.array([size, other]))
    expected = (np.log((1 - p) / p) + np.log((1 - b) / b)) * size / max(size, other)
    assert costs[0] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(st.lists(PROBABILITIES, max_size=5), st.floats(0.01, 0.99))
def test_costs_go_back_to_the_probabilities_they_came_from(probabilities, bias):
    probabilities = np.array(probabilities)
    assert np.allclose(boundary_probabilities(edge_costs(probabilities, bias), bias), probabilities)


def test_certain_edges_have_finite_costs_of_opposite_sign():
    costs = edge_costs(np.array([0, 1]))
    assert costs[0] == pytest.approx(-costs[1])
    assert costs[0] == pytest.approx(np.log((1 - 1e-6) / 1e-6))
    assert boundary_probabilities(np.array([1e4, -1e4, np.inf])).tolist() == [0, 1, 0]


def test_precision_is_kept_and_sizes_of_zero_make_costs_of_zero():
    assert edge_costs(np.array([0.2, 0.7], np.float32)).dtype == np.float32
    assert edge_costs(np.array([0.2], np.float32), sizes=np.array([3])).dtype == np.float32
    assert edge_costs(np.array([0.2, 0.3]), sizes=np.zeros(2)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"probabilities": [1.01]}, ValueError, r"probabilities must lie in \[0, 1\], got 1.01"),
        ({"probabilities": [-0.2, 0.5]}, ValueError, "Negated mutex weights"),
        ({"probabilities": [np.nan]}, ValueError, "probabilities"),
        ({"probabilities": ["a"]}, TypeError, "probabilities"),
        ({"probabilities": [0.5], "bias": 0.0}, ValueError, "bias must be a number between 0 and 1"),
        ({"probabilities": [0.5], "bias": [0.5]}, ValueError, "bias"),
        ({"probabilities": [0.5], "sizes": [1, 2]}, ValueError, r"sizes must have shape \(1,\), got \(2,\)"),
        ({"probabilities": [0.5], "sizes": [-1]}, ValueError, "sizes must be non-negative"),
        ({"probabilities": [0.5], "sizes": [np.nan]}, ValueError, "sizes must be non-negative"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        edge_costs(
            **{name: np.array(value) if name != "bias" else value for name, value in arguments.items()}
        )
