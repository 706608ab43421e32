"""`diagnose` against what can be worked out by hand."""

import numpy as np
import pytest
import torch

import difflayers


def cheaper(costs):
    """One of two items, the cheaper."""
    return np.eye(2)[costs.argmin()]


def gaps(*values):
    """Instances whose second item is dearer by so much."""
    return torch.tensor([[0.0, value] for value in values], dtype=torch.float64)


def push(count):
    """An incoming gradient of 1 against item 0, which λ > gap makes too dear."""
    return torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(count, 2)


def test_shares_norms_and_cosines_are_those_of_equation_3():
    found = difflayers.diagnose(
        difflayers.BlackboxLayer(cheaper), gaps(1, 3, 5, 7), gradient=push(4), scales=[0.5, 4.0, 2.0, 8.0]
    )
    assert found.scales.tolist() == [0.5, 2, 4, 8]
    assert found.changed.tolist() == [0, 0.25, 0.5, 1]
    np.testing.assert_allclose(found.norms, np.sqrt(2) * found.changed / found.scales)
    assert np.isnan(found.cosines[0]).all()
    np.testing.assert_allclose(found.cosines[1:, 1:], 1)
    assert found.suggested == (2.0, 4.0)


def test_cosines_see_gradients_that_disagree():
    # At λ = 1 item 0 gives way to item 1; at λ = 10 item 2, on which the loss leans more, is cheaper still.
    costs = torch.tensor([[0.0, 0.5, 5.0]], dtype=torch.float64)
    found = difflayers.diagnose(
        difflayers.BlackboxLayer(lambda c: np.eye(3)[c.argmin()]),
        costs,
        gradient=torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64),
        scales=[1.0, 10.0],
    )
    assert found.cosines[0, 1] == pytest.approx(0.5)  # (-1, 1, 0) and (-1, 0, 1)


def test_the_loss_gives_the_gradient_and_instances_without_one_do_not_count():
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    found = difflayers.diagnose(
        difflayers.BlackboxLayer(cheaper),
        gaps(1, 1, 4),
        loss=lambda y: ((y - target) ** 2).sum() / 2,
        scales=[1.0],
    )
    # The gradient is y − target: none for the first, (1, −1) for the others; 2 λ bridges only a gap of 1.
    assert found.with_gradient == pytest.approx(2 / 3)
    assert found.changed.tolist() == [0.5]


def test_the_default_scales_find_the_range_whatever_the_units():
    generator = torch.Generator().manual_seed(0)
    costs, incoming = (torch.randn(64, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    for cost_unit, gradient_unit in ((1.0, 1.0), (1e4, 1e-3), (1e-3, 1e2)):
        found = difflayers.diagnose(
            difflayers.BlackboxLayer(lambda c: np.eye(5)[c.argmin()]),
            cost_unit * costs,
            gradient=gradient_unit * incoming,
        )
        low, high = found.suggested
        assert found.changed[0] < 0.1
        assert found.changed[-1] > 0.7
        assert 0.03 < low * gradient_unit / cost_unit < high * gradient_unit / cost_unit < 3e3


@pytest.mark.parametrize(
    ("scale", "share", "said"),
    [(0.1, 0.0, "changes 0% of the solutions"), (6.0, 0.75, None), (50.0, 1.0, "Have they shrunk?")],
)
def test_a_scale_of_the_layer_that_changes_too_little_or_all_is_noticed(scale, share, said):
    layer = difflayers.BlackboxLayer(cheaper, scale)
    # Judged by what it changes itself: 6 lies above all that are tried, and is good.
    found = difflayers.diagnose(layer, gaps(1, 3, 5, 7), gradient=push(4), scales=[0.5, 2.0, 4.0])
    assert (found.own.tolist(), found.own_changed.tolist()) == ([scale], [share])
    assert ("the layer's λ" in str(found)) == (said is not None)
    assert said is None or said in str(found)


@pytest.mark.parametrize("maximize", [False, True])
def test_a_solver_in_the_wrong_sense_is_noticed(maximize):
    generator = torch.Generator().manual_seed(0)
    costs = torch.randn(32, 5, generator=generator)

    def dearest(c):
        return np.eye(5)[c.argmax()]

    layer = difflayers.BlackboxLayer(dearest, maximize=maximize)
    found = difflayers.diagnose(layer, costs, loss=lambda y: y.square().sum(), scales=[1.0])
    assert found.wrong_sense is not maximize
    assert ("does the solver minimize" in str(found)) is not maximize
    assert found.beaten == (0 if maximize else 1)


def test_infinite_costs_and_contexts_do_not_look_like_the_wrong_sense():
    def allowed(costs, forbidden):
        return np.eye(3)[np.where(np.arange(3) == forbidden, np.inf, costs).argmin()]

    costs = torch.tensor([[0.0, 1.0, torch.inf], [3.0, 1.0, 2.0], [1.0, torch.inf, 0.0]])
    layer = difflayers.BlackboxLayer(allowed)
    found = difflayers.diagnose(layer, costs, gradient=torch.ones(3, 3), context=[0, 1, 2], scales=[1.0])
    assert not found.wrong_sense


def test_it_leaves_the_layer_as_it_is():
    layer = difflayers.BlackboxLayer(
        cheaper, difflayers.UniformScales(1, 2), pool=difflayers.SolutionPool(solve_ratio=0.5)
    )
    before = str(layer.state_dict())
    difflayers.diagnose(layer, gaps(1, 2), gradient=push(2))
    assert str(layer.state_dict()) == before


def test_failures_and_times_are_reported():
    def solver(costs):
        if costs[1] > 5:
            raise TimeoutError("too long")
        return cheaper(costs)

    layer = difflayers.BlackboxLayer(solver, on_failure="zero_grad")
    found = difflayers.diagnose(layer, gaps(1, 2, 3, 9), gradient=push(4), scales=[1.0])
    assert len(found.seconds) == 4
    # Two failed, of 4 + 3 problems, 3 for the own λ, 3 with the costs of others and 2 with negative costs.
    assert found.failures == pytest.approx(2 / 15)
    assert "13.3% of the problems had no solution" in str(found)
    with pytest.raises(difflayers.SolverError, match="instance 3: TimeoutError: too long"):
        difflayers.diagnose(difflayers.BlackboxLayer(solver), gaps(1, 2, 3, 9), gradient=push(4))


def test_exactly_one_of_loss_and_gradient_is_wanted():
    for arguments in ({}, {"loss": torch.sum, "gradient": push(1)}):
        with pytest.raises(ValueError, match="either loss or gradient must be given"):
            difflayers.diagnose(difflayers.BlackboxLayer(cheaper), gaps(1), **arguments)


def test_it_prints_and_plots_what_it_found(tmp_path):
    pytest.importorskip("matplotlib")
    found = difflayers.diagnose(
        difflayers.BlackboxLayer(cheaper), gaps(1, 3, 5, 7), gradient=push(4), scales=[2.0, 4.0]
    )
    assert "suggested: UniformScales(2, 4)" in str(found)
    assert "50.0%" in str(found)
    figure = found.plot(tmp_path / "scales.png")
    (line,) = figure.axes[0].lines
    assert line.get_ydata().tolist() == found.changed.tolist()
    assert (tmp_path / "scales.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_diagnosed_is_refused_by_name():
    layer = difflayers.BlackboxLayer(np.sign)
    with pytest.raises(TypeError, match=r"layer must be a BlackboxLayer, .* got a PerturbedLayer"):
        difflayers.diagnose(difflayers.PerturbedLayer(np.sign), torch.ones(2, 3), gradient=torch.ones(2, 3))
    with pytest.raises(TypeError, match=r"costs\[0\] must be a tensor, got a ndarray"):
        difflayers.diagnose(layer, np.ones((2, 3)), gradient=torch.ones(2, 3))
    with pytest.raises(ValueError, match="costs must hold at least one number"):
        difflayers.diagnose(layer, torch.ones(0, 3), gradient=torch.ones(0, 3))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_an_error_and_no_report(bad):
    layer, gradient = difflayers.BlackboxLayer(cheaper), push(3).clone()
    gradient[1, 0] = bad
    with pytest.raises(ValueError, match=r"gradient\[0\] has a NaN or infinite value in instance 1"):
        difflayers.diagnose(layer, gaps(1, 2, 3), gradient=gradient)
    with pytest.raises(ValueError, match=r"gradient\[0\] has a NaN or infinite value in instance 0"):
        difflayers.diagnose(layer, gaps(1, 2, 3), loss=lambda y: (bad * y).sum())


def test_a_gradient_that_does_not_fit_is_refused_by_name():
    layer = difflayers.BlackboxLayer(cheaper)
    for gradient, kind, text in (
        (push(3), ValueError, r"gradient\[0\] must have shape \(2, 2\), got \(3, 2\)"),
        ([push(2), push(2)], ValueError, "gradient must hold 1 tensors, one per cost tensor, got 2"),
        (np.ones((2, 2)), TypeError, r"gradient\[0\] must be a tensor, got a ndarray"),
    ):
        with pytest.raises(kind, match=text):
            difflayers.diagnose(layer, gaps(1, 2), gradient=gradient)
    for value in (torch.tensor(1.0), 1.0):
        with pytest.raises(ValueError, match="loss must return one number that depends on the solutions"):
            difflayers.diagnose(layer, gaps(1, 2), loss=lambda y, value=value: value)
    with pytest.raises(ValueError, match="loss must return one number"):
        difflayers.diagnose(layer, gaps(1, 2), loss=lambda y: y.sum(1))


@pytest.mark.parametrize(
    ("scales", "text"),
    [
        ([0.0, 1.0], "each of scales must be positive and finite, got 0.0"),
        ([-1.0], "each of scales must be positive and finite, got -1.0"),
        ([np.nan], "each of scales must be positive and finite, got nan"),
        ([], r"scales must hold at least one λ, got \[\]"),
        (3.0, r"scales must hold at least one λ, got 3.0"),
    ],
)
def test_scales_that_cannot_be_are_refused(scales, text):
    with pytest.raises(ValueError, match=text):
        difflayers.diagnose(difflayers.BlackboxLayer(cheaper), gaps(1, 2), gradient=push(2), scales=scales)


def test_a_wrong_sense_is_seen_when_every_answer_is_the_same():
    # Up to two of three items by value: as costs to be minimized, none of them is worth taking.
    def best_two(costs):
        chosen = np.zeros(3)
        order = np.argsort(costs)[:2]
        chosen[order] = costs[order] < 0
        return chosen

    values = torch.tensor([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0]], dtype=torch.float64)
    incoming = torch.ones(2, 3, dtype=torch.float64)
    wrong = difflayers.diagnose(
        difflayers.BlackboxLayer(best_two, maximize=True), values, gradient=incoming, scales=[1.0]
    )
    right = difflayers.diagnose(difflayers.BlackboxLayer(best_two), -values, gradient=incoming, scales=[1.0])
    assert (wrong.beaten, right.beaten) == (1.0, 0.0)
    assert "does the solver minimize" in str(wrong)
