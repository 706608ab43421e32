"""Claims that hold for every loss."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch

from difflayers import SolverError, losses
from difflayers.engine.autograd import COMPILED_WHOLE
from difflayers.functional import regret
from tests.losses.cases import CASES, ONE_OF_EACH, SOLVING
from tests.losses.polytopes import Enumeration, matchings

every_loss = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_solving_loss = pytest.mark.parametrize("case", SOLVING, ids=lambda case: case.name)


def test_no_loss_of_the_library_is_missing_here():
    library = {getattr(losses, name) for name in losses.__all__ if name.endswith("Loss")}
    assert {type(case.make()) for case in CASES} == library - {losses.SolverLoss}


def random_costs(seed, batch=5, dtype=torch.float64):
    return torch.randn(batch, 3, 3, generator=torch.Generator().manual_seed(seed)).to(dtype)


def value_and_gradient(loss, costs, target, /, **arguments):
    costs = costs.clone().requires_grad_()
    value = loss(costs, **target, **arguments)
    value.sum().backward()
    return value.detach(), costs.grad


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_dtypes_give_what_float64_gives(case, dtype):
    costs, true_costs = random_costs(1, dtype=dtype), random_costs(2, dtype=dtype)
    value, gradient = value_and_gradient(case.make(), costs, case.target(true_costs))
    exact, direction = value_and_gradient(case.make(), costs.double(), case.target(true_costs.double()))
    assert gradient.dtype == dtype
    assert value.dtype == torch.float32
    # Computed in float32; only the gradient is rounded to the costs' precision.
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-5)
    accuracy = torch.finfo(dtype).eps
    torch.testing.assert_close(gradient.double(), direction, rtol=4 * accuracy, atol=4 * accuracy)


@every_loss
def test_an_empty_batch_has_an_empty_gradient_and_no_loss(case):
    costs = random_costs(1, batch=0).requires_grad_()
    value = case.make(reduction="none")(costs, **case.target(random_costs(2, batch=0)))
    assert value.shape == (0,)
    total = case.make(reduction="sum")(costs, **case.target(random_costs(2, batch=0)))
    total.backward()
    assert total == 0
    assert costs.grad.shape == (0, 3, 3)


@every_loss
def test_reductions_agree(case):
    costs, target = random_costs(1), case.target(random_costs(2))
    each, gradient = value_and_gradient(case.make(reduction="none"), costs, target)
    total, same = value_and_gradient(case.make(reduction="sum"), costs, target)
    mean, fifth = value_and_gradient(case.make(), costs, target)
    assert each.shape == (5,)
    torch.testing.assert_close(total, each.sum())
    torch.testing.assert_close(mean, each.mean())
    torch.testing.assert_close(same, gradient)
    torch.testing.assert_close(5 * fifth, gradient)
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum', 'none', got 'max'"):
        case.make(reduction="max")


@every_loss
def test_the_function_is_the_module(case):
    costs, target = random_costs(1), case.target(random_costs(2))
    by_module = value_and_gradient(case.make(), costs, target)
    by_function = value_and_gradient(lambda c: case.call_function(c, target), costs, {})
    for ours, theirs in zip(by_module, by_function, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@every_loss
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_values_that_are_not_finite_are_refused_with_their_instance(case, bad):
    costs, target = random_costs(1), case.target(random_costs(2))
    costs[3, 1, 1] = bad
    with pytest.raises(ValueError, match=r"costs\[0\] has a NaN.* in instance 3"):
        case.make()(costs, **target)
    for name in set(case.needs) - {"normals"}:
        wrong = {**target, name: target[name].clone()}
        wrong[name][4, 0, 2] = bad
        with pytest.raises(ValueError, match=rf"{name}\[0\] has a NaN.* in instance 4"):
            case.make()(random_costs(1), **wrong)


@every_solving_loss
def test_targets_that_do_not_fit_are_refused_by_name(case):
    costs, target = random_costs(1), case.target(random_costs(2))
    for name in case.needs:
        with pytest.raises(ValueError, match=rf"{name}\[0\] must have shape .*, got \(5, 3, 2\)"):
            case.make()(costs, **{**target, name: target[name][..., :2]})
        with pytest.raises(TypeError, match=rf"{name}\[0\] must be a tensor, got a ndarray"):
            case.make()(costs, **{**target, name: [target[name].numpy()]})
        with pytest.raises(ValueError, match=rf"{name} must hold 1 tensors, one per cost tensor, got 2"):
            case.make()(costs, **{**target, name: [target[name]] * 2})
        with pytest.raises(TypeError, match=rf"{name} must be a tensor.*got a ndarray: torch.from_numpy"):
            case.make()(costs, **{**target, name: target[name].numpy()})
    with pytest.raises(TypeError, match="unexpected keyword argument 'labels'"):
        case.make()(costs, **target, labels=costs)
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument: 'true_"):
        case.make()(costs)


@every_solving_loss
@pytest.mark.parametrize("batched", [False, True])
def test_context_reaches_the_solver_with_its_instance(case, batched):
    points = matchings()
    masks = [np.arange(6) % 2 == instance % 2 for instance in range(5)]  # every other matching is feasible
    costs, true_costs = random_costs(1), random_costs(2)
    target = {
        "true_costs": true_costs,
        "true_parameters": true_costs,
        "true_solutions": torch.tensor(Enumeration(points, batched=True)(true_costs.numpy(), masks)),
    }
    target = {name: target[name] for name in case.needs}
    loss = case.make(Enumeration(points, batched), reduction="none", batched=batched)
    together = value_and_gradient(loss, costs, target, context=masks)
    for parity in (0, 1):
        apart = value_and_gradient(
            case.make(Enumeration(points), reduction="none"),
            costs,
            target,
            context=[masks[parity]] * 5,
        )
        alone = value_and_gradient(case.make(Enumeration(points[parity::2]), reduction="none"), costs, target)
        for whole, one, restricted in zip(together, apart, alone, strict=True):
            torch.testing.assert_close(one, restricted)
            if case.keeps != "pool":  # which saw other instances
                torch.testing.assert_close(whole[parity::2], one[parity::2])


@pytest.mark.parametrize(
    "case", [case for case in SOLVING if case.keeps != "noise"], ids=lambda case: case.name
)
def test_costs_in_two_tensors_give_what_one_tensor_gives(case):
    solver = Enumeration(matchings())

    def solver_of_parts(first, rest):
        solution = solver(np.concatenate([first, rest]))
        return solution[:1], solution[1:]

    def parts(tensor):
        return [tensor[:, :1], tensor[:, 1:]]

    def loss_of_parts(costs, **target):
        loss = case.make(solver_of_parts, reduction="none")
        return loss(parts(costs), **{name: parts(tensor) for name, tensor in target.items()})

    costs, target = random_costs(1), case.target(random_costs(2))
    whole = value_and_gradient(case.make(reduction="none"), costs, target)
    for ours, theirs in zip(value_and_gradient(loss_of_parts, costs, target), whole, strict=True):
        torch.testing.assert_close(ours, theirs)


@every_loss
def test_maximising_is_minimising_with_the_other_sign(case):
    solver = Enumeration(matchings())

    def dearest(costs):
        return solver(-costs)

    costs, true_costs = random_costs(1), random_costs(2)
    lowest = value_and_gradient(case.make(solver), costs, case.target(true_costs))
    highest = value_and_gradient(
        case.make(dearest, maximize=True), -costs, case.target(-true_costs, maximize=True)
    )
    torch.testing.assert_close(highest[0], lowest[0], rtol=0, atol=0)
    torch.testing.assert_close(highest[1], -lowest[1], rtol=0, atol=0)


@every_loss
def test_the_solution_is_returned_on_request_without_a_gradient(case):
    costs, target = random_costs(1).requires_grad_(), case.target(random_costs(2))
    value, solution = case.make(reduction="none")(costs, **target, return_solution=True)
    torch.testing.assert_close(value, case.make(reduction="none")(costs, **target))
    assert not solution.requires_grad
    if case.solves:  # a matching, or a mean of them
        torch.testing.assert_close(solution.sum(1), torch.ones(5, 3, dtype=torch.float64))
        torch.testing.assert_close(solution.sum(2), torch.ones(5, 3, dtype=torch.float64))


@every_solving_loss
def test_copies_and_restored_states_draw_what_the_original_draws(case):
    target = case.target(random_costs(2))

    def draws(loss):
        return torch.stack([loss(random_costs(seed), **target) for seed in range(5)])

    loss = case.make()
    draws(loss)  # away from the initial state
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    file.seek(0)
    restored = case.make()
    restored.load_state_dict(torch.load(file, weights_only=True))
    copied, pickled = copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))
    expected = draws(loss)
    for other in (restored, copied, pickled):
        assert torch.equal(draws(other), expected)
    if case.keeps == "noise":
        assert not torch.equal(draws(case.make()), expected)


@every_loss
def test_global_generators_are_not_touched(case):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    value_and_gradient(case.make(), random_costs(1), case.target(random_costs(2)))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


@every_loss
def test_a_second_derivative_is_refused(case):
    costs = random_costs(1).requires_grad_()
    (gradient,) = torch.autograd.grad(
        case.make()(costs, **case.target(random_costs(2))), costs, create_graph=True
    )
    with pytest.raises(NotImplementedError, match="no second derivative"):
        gradient.sum().backward()


@every_loss
def test_functional_transforms_see_the_same_gradient(case):
    costs, target = random_costs(1), case.target(random_costs(2))
    _, expected = value_and_gradient(case.make(), costs, target)
    torch.testing.assert_close(torch.func.grad(lambda c: case.make()(c, **target))(costs), expected)


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=lambda case: case.name)
def test_compiled_steps_are_the_eager_ones(case):
    costs, target = random_costs(1), case.target(random_costs(2))
    expected = value_and_gradient(case.make(), costs, target)
    loss = case.make()
    # The matrices of the cones are contexts, at which the compiler has to break its graph.
    whole = case.solves and COMPILED_WHOLE
    compiled = torch.compile(lambda c: loss(2 * c / 2, **target), backend="aot_eager", fullgraph=whole)
    for ours, theirs in zip(value_and_gradient(compiled, costs, {}), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@every_solving_loss
def test_a_failing_solver_is_named_with_its_instance_or_left_out(case):
    solver = Enumeration(matchings())
    costs, target = random_costs(1), case.target(random_costs(2))

    def failing(costs, context):
        return None if context == 3 else solver(costs)

    with pytest.raises(SolverError, match=r"instance 3.*None"):
        case.make(failing)(costs, **target, context=range(5))
    each, gradient = value_and_gradient(
        case.make(failing, reduction="none", on_failure="skip"), costs, target, context=[0, 0, 0, 3, 0]
    )
    mean, _ = value_and_gradient(
        case.make(failing, on_failure="skip"), costs, target, context=[0, 0, 0, 3, 0]
    )
    assert each.isnan().tolist() == [False, False, False, True, False]
    torch.testing.assert_close(mean, each.nanmean())
    assert not gradient[3].any()


@every_solving_loss
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_batch_without_any_solution_has_a_loss_of_0_without_gradient_and_warns(case, reduction):
    loss = case.make(lambda costs: None, reduction=reduction, on_failure="skip")
    model = torch.nn.Linear(9, 9, dtype=torch.float64)
    with pytest.warns(RuntimeWarning, match="no solution for any of the 5 instances"):
        value = loss(model(random_costs(1).flatten(1)).reshape(5, 3, 3), **case.target(random_costs(2)))
    value.backward()
    assert value == 0
    assert not model.weight.grad.any()


@every_loss
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_training_a_linear_model_lowers_the_regret(case, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(50, 4, generator=generator, dtype=torch.float64)
    weights = torch.randn(4, 9, generator=generator, dtype=torch.float64)
    true_costs = (features @ weights).reshape(-1, 3, 3)
    model = torch.nn.Linear(4, 9, bias=False, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.randn(9, 4, generator=generator))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    solver = Enumeration(matchings(), batched=True)
    target = case.target(true_costs)
    loss = case.make(solver, batched=True)

    def current():
        return float(regret(solver, model(features).reshape(-1, 3, 3), true_costs=true_costs, batched=True))

    before = current()
    for _ in range(40):
        optimizer.zero_grad()
        loss(model(features).reshape(-1, 3, 3), **target).backward()
        optimizer.step()
    assert current() < 0.4 * before
