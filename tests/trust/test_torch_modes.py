"""Modes of torch change nothing that a layer or loss answers; expected values are those without the mode."""

import itertools
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import difflayers
from difflayers import SolutionPool, functional, losses
from tests.layers.test_estimators import DETERMINISTIC, ESTIMATORS, build, cheaper_half, cheaper_half_of_both
from tests.losses.cases import CASES, SOLVING
from tests.losses.polytopes import Enumeration, matchings

every_estimator = pytest.mark.parametrize("name", ESTIMATORS)
every_loss = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_solving_loss = pytest.mark.parametrize("case", SOLVING, ids=lambda case: case.name)

HALVES = torch.tensor([y for y in itertools.product([0.0, 1.0], repeat=5) if sum(y) == 3])
MATCHINGS = torch.tensor(matchings(), dtype=torch.float32)


def half_of_tensors(costs):
    """The cheaper half of five items, by matrix products, as a solver of tensors does it."""
    half = HALVES.to(costs)
    return half[(costs @ half.T).argmin(1)]


def matching_of_tensors(costs):
    points = MATCHINGS.to(costs)
    return points[(costs.flatten(1) @ points.flatten(1).T).argmin(1)]


def pooled():
    return {"pool": SolutionPool(solve_ratio=0)}


# name: (the solver of a layer, the solver of a loss, their options)
SOLVERS = {
    "arrays": (cheaper_half, Enumeration(matchings()), dict),
    "tensors": (half_of_tensors, matching_of_tensors, lambda: {"tensors": True}),
    "pool": (cheaper_half, Enumeration(matchings()), pooled),
}
every_solver = pytest.mark.parametrize("solver", SOLVERS)


def random(seed, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def near(seed, *shape, dtype=torch.float32):
    """Costs that differ by less than bfloat16 tells apart."""
    return 100 + 0.1 * random(seed, *shape, dtype=dtype)


def layer_steps(name, solver, forward=nullcontext, backward=nullcontext):
    """Solutions and gradients of two steps, of which the second finds what the first put into a pool."""
    function, _, options = SOLVERS[solver]
    layer = build(name, function, **options())
    results = []
    for seed in range(2):
        costs, incoming = near(seed, 6, 5).requires_grad_(), random(seed + 10, 6, 5)
        with forward():
            y = layer(costs)
        with backward():
            (gradient,) = torch.autograd.grad(y, costs, incoming)
        results += [y.detach(), gradient]
    return results


def loss_steps(case, solver, forward=nullcontext, backward=nullcontext):
    _, function, options = SOLVERS[solver]
    loss = case.make(function, **(options() if case.solves else {}))
    results = []
    for seed in range(2):
        costs, target = near(seed, 5, 3, 3).requires_grad_(), case.target(near(seed + 10, 5, 3, 3))
        with forward():
            value = loss(costs, **target)
        with backward():
            (gradient,) = torch.autograd.grad(value, costs)
        results += [value.detach(), gradient]
    return results


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


def meta():
    return torch.device("meta")


WHERE = {
    "forward": {"forward": autocast},
    "backward": {"backward": autocast},
    "both": {"forward": autocast, "backward": autocast},
    "meta by default": {"forward": meta, "backward": meta},
}
everywhere = pytest.mark.parametrize("where", WHERE)


@every_estimator
@every_solver
@everywhere
def test_neither_autocast_nor_the_default_device_changes_a_layer(name, solver, where):
    expected = layer_steps(name, solver)
    assert any(gradient.any() for gradient in expected[1::2])
    assert_close(layer_steps(name, solver, **WHERE[where]), expected, atol=0, rtol=0)


@every_loss
@every_solver
@everywhere
def test_neither_autocast_nor_the_default_device_changes_a_loss(case, solver, where):
    expected = loss_steps(case, solver)
    assert any(gradient.any() for gradient in expected[1::2])
    assert_close(loss_steps(case, solver, **WHERE[where]), expected, atol=0, rtol=0)


def test_what_bfloat16_does_to_these_costs():
    # Otherwise the tests above would show nothing.
    costs = near(0, 6, 5)
    with autocast():
        rounded = half_of_tensors(costs)
    assert not torch.equal(rounded, half_of_tensors(costs))


@every_solver
@pytest.mark.parametrize("mode", [autocast, meta])
def test_regret_is_the_same_in_every_mode(solver, mode):
    _, function, options = SOLVERS[solver]
    costs, true_costs = near(0, 5, 3, 3), near(1, 5, 3, 3)
    arguments = {"true_costs": true_costs, "reduction": "none", "return_solution": True}
    expected = functional.regret(function, costs, **arguments, **options())
    assert expected[0].any()
    metric = losses.Regret(function, **options())
    with mode():
        found = functional.regret(function, costs, **arguments, **options())
        metric.update(costs, true_costs=true_costs)
    assert_close(found, expected, atol=0, rtol=0)
    assert metric.compute().mean == pytest.approx(float(expected[0].mean()), rel=1e-12)


@pytest.mark.parametrize("mode", [autocast, meta])
def test_a_diagnosis_is_the_same_in_every_mode(mode):
    layer = difflayers.BlackboxLayer(half_of_tensors, tensors=True)
    costs, incoming = near(0, 6, 5), random(1, 6, 5)
    expected = difflayers.diagnose(layer, costs, gradient=incoming)
    with mode():
        found = difflayers.diagnose(layer, costs, gradient=incoming)
    for name in ("scales", "changed", "norms", "cosines", "own_changed"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.suggested, found.beaten) == (expected.suggested, 0.0)


@pytest.mark.parametrize("mode", [autocast, meta])
def test_losses_on_solutions_are_the_same_in_every_mode(mode):
    ranks = difflayers.BlackboxLayer(lambda c: (-c).argsort().argsort() + 1.0, scales=1.0)

    costs, target = near(0, 6, 5).requires_grad_(), (random(1, 6, 5) > 0).float()

    def values():
        value = losses.hamming_loss(build("blackbox")(costs), target)
        value = value + losses.recall_loss(ranks, costs[:, :2], costs[:, 2:], margin=0.1)
        return value.detach(), torch.autograd.grad(value, costs)[0]

    expected = values()
    with mode():
        assert_close(values(), expected, atol=0, rtol=0)


def train(step, features, scaler):
    """Take a step with a scaler; return the weights before and after it, and whether it was taken."""
    model = torch.nn.Linear(4, features)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = model.weight.detach().clone()
    scaler.scale(step(model(random(5, 6, 4)))).backward()
    scaler.step(optimizer)
    size = scaler.get_scale()
    scaler.update()
    return before, model.weight.detach().clone(), scaler.get_scale() < size


@every_estimator
def test_an_overflowed_step_of_a_layer_is_skipped_by_the_scaler(name):
    layer, incoming = build(name), random(1, 6, 5)

    def step(costs):
        return (layer(costs) * incoming).sum() * 1e36  # 65 536 times that is beyond float32

    scaler = torch.amp.GradScaler("cpu")
    before, after, skipped = train(step, 5, scaler)
    assert skipped
    assert torch.equal(before, after)
    before, after, skipped = train(lambda costs: (layer(costs) * incoming).sum(), 5, scaler)
    assert not skipped
    assert after.isfinite().all()


@every_loss
def test_an_overflowed_step_of_a_loss_is_skipped_by_the_scaler(case):
    loss, target = case.make(), case.target(random(2, 6, 3, 3))

    def step(costs):
        return loss(costs.reshape(6, 3, 3), **target)

    scaler = torch.amp.GradScaler("cpu")
    before, after, skipped = train(lambda costs: step(costs) * 1e36, 9, scaler)
    assert skipped
    assert torch.equal(before, after)
    before, after, skipped = train(step, 9, scaler)
    assert not skipped
    assert after.isfinite().all()
    assert not torch.equal(before, after)


@every_estimator
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_goes_on_as_one_that_is_not_finite(name, bad):
    incoming = random(1, 6, 5)
    _, expected = step_of(build(name), random(0, 6, 5), incoming)
    incoming[1, 0] = bad
    _, gradient = step_of(build(name), random(0, 6, 5), incoming)
    assert not gradient[1].isfinite().all()
    others = [0, 2, 3, 4, 5]
    assert gradient[others].isfinite().all()
    if name != "imle, adaptive":  # whose λ follows all instances
        assert_close(gradient[others], expected[others])


def step_of(layer, costs, incoming):
    leaf = costs.clone().requires_grad_()
    y = layer(leaf)
    return y.detach(), torch.autograd.grad(y, leaf, incoming)[0]


@every_estimator
def test_a_loss_scale_changes_no_step(name):
    # Under a GradScaler the loss is multiplied by some number, and so is λ, unless the layer is told.
    costs, incoming = random(0, 6, 5), random(1, 6, 5)
    y, expected = step_of(build(name), costs, incoming)
    scaled = build(name, loss_scale=lambda: 1024.0)
    same, gradient = step_of(scaled, costs, 1024 * incoming)
    assert_close((same, gradient / 1024), (y, expected))


MIXED = [
    (torch.float32, torch.float64),
    (torch.float64, torch.float32),
    (torch.bfloat16, torch.float64),
    (torch.float16, torch.float32),
]


@every_estimator
@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_several_costs_may_have_several_dtypes(name, dtypes):
    costs = [random(i, 4, 3, dtype=dtype) for i, dtype in enumerate(dtypes)]
    incoming = [random(i + 2, 4, 3, dtype=dtype) for i, dtype in enumerate(dtypes)]
    exact = gradients_of(build(name, cheaper_half_of_both), [t.double() for t in costs], incoming)
    found = gradients_of(build(name, cheaper_half_of_both), costs, incoming)
    for (y, gradient), (right, direction), dtype in zip(found, exact, dtypes, strict=True):
        assert y.dtype == gradient.dtype == dtype
        tolerance = 20 * torch.finfo(dtype).eps
        assert_close(y.double(), right, atol=max(tolerance, 1e-5), rtol=tolerance)
        assert_close(gradient.double(), direction, atol=max(tolerance, 1e-5), rtol=tolerance)


def gradients_of(layer, costs, incoming):
    leaves = [cost.clone().requires_grad_() for cost in costs]
    solutions = layer(*leaves)
    gradients = torch.autograd.grad(
        solutions, leaves, [g.to(y) for g, y in zip(incoming, solutions, strict=True)]
    )
    return [(y.detach(), gradient) for y, gradient in zip(solutions, gradients, strict=True)]


def matching_in_two_parts(first, second):
    solution = Enumeration(matchings())(np.concatenate([first, second]).astype(np.float64))
    return solution[:1], solution[1:]


@every_solving_loss
@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_several_costs_of_a_loss_may_have_several_dtypes(case, dtypes):
    def parts(tensor):
        return [part.to(dtype) for part, dtype in zip(tensor.split([1, 2], 1), dtypes, strict=True)]

    costs, true_costs = parts(random(0, 5, 3, 3)), parts(random(1, 5, 3, 3))
    target = {
        key: parts(value)
        for key, value in case.target(torch.cat([t.double() for t in true_costs], 1)).items()
    }

    def value_and_gradients(loss, costs, target):
        leaves = [cost.clone().requires_grad_() for cost in costs]
        value = loss(leaves, **target)
        return value.detach(), torch.autograd.grad(value, leaves)

    value, gradients = value_and_gradients(case.make(matching_in_two_parts), costs, target)
    exact, directions = value_and_gradients(
        case.make(matching_in_two_parts),
        [t.double() for t in costs],
        {key: [t.double() for t in tensors] for key, tensors in target.items()},
    )
    assert_close(value.double(), exact.double(), atol=1e-5, rtol=1e-5)
    for gradient, direction, dtype in zip(gradients, directions, dtypes, strict=True):
        assert gradient.dtype == dtype
        tolerance = max(20 * torch.finfo(dtype).eps, 1e-5)
        assert_close(gradient.double(), direction, atol=tolerance, rtol=tolerance)


@every_estimator
def test_many_gradients_at_once_are_those_one_after_another(name):
    costs, incoming = random(0, 6, 5), random(1, 4, 6, 5)
    _, pull_back = torch.func.vjp(build(name), costs)
    (together,) = torch.func.vmap(pull_back)(incoming)
    leaf = costs.clone().requires_grad_()
    y = build(name)(leaf)
    apart = [torch.autograd.grad(y, leaf, one, retain_graph=True)[0] for one in incoming]
    if name in ("blackbox, scales drawn", "imle, adaptive"):  # one λ for all of them, or one each
        assert together[0].shape == apart[0].shape
        assert together.isfinite().all()
    else:
        assert_close(together, torch.stack(apart))


@every_loss
def test_many_gradients_of_a_loss_at_once_are_those_one_after_another(case):
    costs, target = random(0, 5, 3, 3).requires_grad_(), case.target(random(1, 5, 3, 3))
    incoming = random(2, 4, 5)
    value = case.make(reduction="none")(costs, **target)
    apart = [torch.autograd.grad(value, costs, one, retain_graph=True)[0] for one in incoming]
    loss = case.make(reduction="none")
    _, pull_back = torch.func.vjp(lambda c: loss(c, **target), costs.detach())
    (together,) = torch.func.vmap(pull_back)(incoming)
    assert_close(together, torch.stack(apart))


def test_the_older_way_to_many_gradients_is_refused_and_names_the_other():
    costs = random(0, 6, 5).requires_grad_()
    with pytest.raises(NotImplementedError, match=r"is_grads_batched=True .* use torch.func.jacrev"):
        torch.autograd.grad(build("blackbox")(costs), costs, random(1, 4, 6, 5), is_grads_batched=True)


@every_loss
def test_a_mapped_loss_is_that_of_each_slice(case):
    costs, true_costs = random(0, 3, 5, 3, 3), random(1, 3, 5, 3, 3)
    targets = [case.target(one) for one in true_costs]
    if "normals" in case.needs or case.keeps:
        pytest.skip("matrices have no dimension to map over; pools and noise go through all slices in turn")
    stacked = {key: torch.stack([target[key] for target in targets]) for key in targets[0]}
    loss = case.make()
    gradients = torch.func.vmap(torch.func.grad(lambda c, t: loss(c, **t)))(costs, stacked)
    for one, target, gradient in zip(costs, targets, gradients, strict=True):
        leaf = one.clone().requires_grad_()
        assert_close(gradient, torch.autograd.grad(case.make()(leaf, **target), leaf)[0])


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_nothing_to_map_over_gives_nothing(name):
    layer = build(name)
    y = torch.func.vmap(layer)(torch.zeros(0, 6, 5))
    assert y.shape == (0, 6, 5)
    gradient = torch.func.vmap(torch.func.grad(lambda c: layer(c).sum()))(torch.zeros(0, 6, 5))
    assert gradient.shape == (0, 6, 5)
