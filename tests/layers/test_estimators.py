"""What every estimator must do, whatever its mathematics. A new one adds a line to ESTIMATORS."""

import copy
import itertools
import pickle
import random
import threading

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from difflayers import (
    AdaptiveTarget,
    BlackboxLayer,
    IdentityLayer,
    IMLELayer,
    LPGDLayer,
    PerturbedLayer,
    RegularizedLayer,
    SolutionPool,
    UniformScales,
    functional,
    gumbel_noise,
    sum_of_gamma_noise,
)
from difflayers.engine.autograd import COMPILED_WHOLE

# name: build(solver, **options of the solver), the functional form with the same options, and whether calls
# are independent of earlier ones (a layer that draws or adapts is not).
ESTIMATORS = {
    "blackbox": (
        lambda solver, **o: BlackboxLayer(solver, 2.0, **o),
        lambda solver, *c, **o: functional.blackbox(solver, *c, scales=2.0, **o),
        True,
    ),
    "blackbox, scales drawn": (
        lambda solver, **o: BlackboxLayer(solver, UniformScales(0.5, 4.0, seed=1), **o),
        lambda solver, *c, **o: functional.blackbox(solver, *c, scales=UniformScales(0.5, 4.0, seed=1), **o),
        False,
    ),
    "identity": (
        lambda solver, **o: IdentityLayer(solver, "std", **o),
        lambda solver, *c, **o: functional.identity(solver, *c, projection="std", **o),
        True,
    ),
    "identity, no projection": (
        lambda solver, **o: IdentityLayer(solver, **o),
        lambda solver, *c, **o: functional.identity(solver, *c, **o),
        True,
    ),
    "lpgd": (
        lambda solver, **o: LPGDLayer(solver, 2.0, **o),
        lambda solver, *c, **o: functional.lpgd(solver, *c, scales=2.0, **o),
        True,
    ),
    "lpgd, augmented": (
        lambda solver, **o: LPGDLayer(solver, 2.0, "lower", 0.7, **o),
        lambda solver, *c, **o: functional.lpgd(solver, *c, scales=2.0, envelope="lower", rho=0.7, **o),
        True,
    ),
    "perturbed": (
        lambda solver, **o: PerturbedLayer(solver, 0.5, 4, **o),
        lambda solver, *c, **o: functional.perturbed(solver, *c, sigma=0.5, samples=4, **o),
        False,
    ),
    "perturbed, multiplicative": (
        lambda solver, **o: PerturbedLayer(
            solver, 0.5, 4, perturbation="multiplicative", control_variate="solution", **o
        ),
        lambda solver, *c, **o: functional.perturbed(
            solver, *c, sigma=0.5, samples=4, perturbation="multiplicative", control_variate="solution", **o
        ),
        False,
    ),
    "perturbed, antithetic": (
        lambda solver, **o: PerturbedLayer(solver, 0.5, 4, control_variate="antithetic", **o),
        lambda solver, *c, **o: functional.perturbed(
            solver, *c, sigma=0.5, samples=4, control_variate="antithetic", **o
        ),
        False,
    ),
    "imle": (
        lambda solver, **o: IMLELayer(solver, 2.0, 0.5, 3, sum_of_gamma_noise(2), **o),
        lambda solver, *c, **o: functional.imle(
            solver, *c, scales=2.0, sigma=0.5, samples=3, noise=sum_of_gamma_noise(2), **o
        ),
        False,
    ),
    "imle, adaptive": (
        lambda solver, **o: IMLELayer(solver, AdaptiveTarget(step=0.1), noise=gumbel_noise(4), **o),
        lambda solver, *c, **o: functional.imle(
            solver, *c, scales=AdaptiveTarget(step=0.1), noise=gumbel_noise(4), **o
        ),
        False,
    ),
    "regularized": (
        lambda solver, **o: RegularizedLayer(solver, 0.8, **o),
        lambda solver, *c, **o: functional.regularized(solver, *c, strength=0.8, **o),
        True,
    ),
}

every_estimator = pytest.mark.parametrize("name", ESTIMATORS)
DETERMINISTIC = [name for name, (_, _, repeats) in ESTIMATORS.items() if repeats]
DRAWING = [name for name in ESTIMATORS if name not in DETERMINISTIC]


def cheaper_half(costs):
    """W(c): the cheaper half of the items, of costs of any shape."""
    flat = costs.ravel()
    chosen = np.zeros_like(flat)
    chosen[np.argsort(flat, kind="stable")[: (flat.size + 1) // 2]] = 1
    return chosen.reshape(costs.shape)


def dearer_half(profits):
    """The same problem told by profits that are maximized."""
    return cheaper_half(-profits)


def cheaper_half_of_both(first, second):
    chosen = cheaper_half(np.concatenate([first.ravel(), second.ravel()]))
    return chosen[: first.size].reshape(first.shape), chosen[first.size :].reshape(second.shape)


def build(name, solver=cheaper_half, **options):
    return ESTIMATORS[name][0](solver, **options)


def joined(parts):
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def both(layer, costs, incoming, **options):
    """Solution and gradient of a call, on a leaf of its own."""
    leaf = costs.detach().clone().requires_grad_()
    y = layer(leaf, **options)
    return y.detach(), torch.autograd.grad(y, leaf, incoming)[0]


@every_estimator
def test_functional_and_layer_give_the_same(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    expected = both(build(name), costs, incoming)
    assert expected[1].abs().sum() > 0
    assert_close(both(lambda c: ESTIMATORS[name][1](cheaper_half, c), costs, incoming), expected)


@every_estimator
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_lower_precision_gives_the_rounded_result_of_its_costs_in_double(name, dtype):
    costs, incoming = randn(6, 5, dtype=dtype), randn(6, 5, seed=1, dtype=dtype)
    y, gradient = both(build(name), costs, incoming)
    exact = both(build(name), costs.double(), incoming.double())
    assert y.dtype == gradient.dtype == dtype
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    assert_close((y.double(), gradient.double()), exact, atol=tolerance, rtol=tolerance)


@every_estimator
@pytest.mark.parametrize("batched", [False, True])
def test_an_empty_batch_gives_empty_results(name, batched):
    solver = (lambda c: np.stack([cheaper_half(row) for row in c])) if batched else cheaper_half
    y, gradient = both(build(name, solver, batched=batched), torch.zeros(0, 2, 3), torch.zeros(0, 2, 3))
    assert y.shape == gradient.shape == (0, 2, 3)


@every_estimator
@pytest.mark.parametrize("shape", [(), (1,), (6,), (2, 3), (1, 3, 2)])
def test_the_shape_of_the_costs_does_not_matter(name, shape):
    size = int(np.prod(shape))
    costs, incoming = randn(4, size), randn(4, size, seed=1)
    flat = both(build(name), costs, incoming)
    shaped = both(build(name), costs.reshape(4, *shape), incoming.reshape(4, *shape))
    assert_close([t.reshape(4, size) for t in shaped], list(flat))


@every_estimator
def test_the_layout_of_the_costs_does_not_matter(name):
    costs, incoming = randn(4, 6), randn(4, 6, seed=1)
    expected = both(build(name), costs, incoming)
    leaf = costs.T.contiguous().requires_grad_()
    y = build(name)(leaf.T)
    (gradient,) = torch.autograd.grad(y, leaf, incoming.T.contiguous().T)
    assert_close((y.detach(), gradient.T), expected)


@every_estimator
def test_batched_and_threaded_solvers_give_the_same(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    expected = both(build(name), costs, incoming)
    batched = build(name, lambda c: np.stack([cheaper_half(row) for row in c]), batched=True)
    assert_close(both(batched, costs, incoming), expected)
    assert_close(both(build(name, n_jobs=2), costs, incoming), expected)


@every_estimator
def test_a_solver_of_tensors_gives_the_same(name):
    def solver(costs):
        order = costs.argsort(dim=1, stable=True)
        return torch.zeros_like(costs).scatter_(1, order[:, :3], 1)

    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    incoming[2] = 0
    expected = both(build(name), costs, incoming)
    assert_close(both(build(name, solver, tensors=True), costs, incoming), expected)


@every_estimator
def test_a_pool_of_all_solutions_stands_in_for_the_solver(name):
    def never(costs):
        raise AssertionError("called")

    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    pool = SolutionPool(solve_ratio=0)
    feasible = [y for y in itertools.product([0.0, 1.0], repeat=5) if sum(y) == 3]
    pool.add(pool.keys([costs[:1]], None) * len(feasible), torch.tensor(feasible, dtype=torch.float64))
    expected = both(build(name), costs, incoming)
    assert_close(both(build(name, never, pool=pool), costs, incoming), expected)


@every_estimator
def test_a_warm_start_is_the_solution_of_the_same_instance(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    first = {row: cheaper_half(c) for row, c in enumerate(costs.numpy())}

    def solver(costs, row, start):
        if start is not None:
            np.testing.assert_array_equal(start, first[row])
        return cheaper_half(costs)

    layer = build(name, solver, warm_start=True)
    assert_close(both(layer, costs, incoming, context=list(range(6))), both(build(name), costs, incoming))


@every_estimator
def test_every_solve_gets_the_context_of_its_instance(name):
    def solver(costs, allowed):
        return allowed * cheaper_half(np.where(allowed, costs, np.inf))

    costs, incoming = randn(3, 6), randn(3, 6, seed=1)
    allowed = np.array([[1, 1, 1, 1, 0, 1], [0, 1, 1, 1, 1, 1], [1, 1, 0, 1, 1, 1]], dtype=bool)
    y, gradient = both(build(name, solver), costs, incoming, context=list(allowed))
    assert y[torch.tensor(~allowed)].abs().max() == 0
    # Each instance as if it were alone with its draws: contexts in another order change nothing else.
    order = [2, 0, 1]
    if name in DETERMINISTIC:
        again = both(build(name, solver), costs[order], incoming[order], context=list(allowed[order]))
        assert_close(again, (y[order], gradient[order]))


@every_estimator
def test_several_costs_give_several_solutions(name):
    first, second = randn(4, 3), randn(4, 2, 2, seed=1)
    incoming = randn(4, 3, seed=2), randn(4, 2, 2, seed=3)
    leaves = first.clone().requires_grad_(), second.clone().requires_grad_()
    y = build(name, cheaper_half_of_both)(*leaves)
    assert [part.shape for part in y] == [first.shape, second.shape]
    assert_close(y[0].sum(1) + y[1].sum((1, 2)), torch.full((4,), 4.0).double())
    gradients = torch.autograd.grad(y, leaves, incoming)
    assert [part.shape for part in gradients] == [first.shape, second.shape]
    if name in DETERMINISTIC and name != "identity":  # whose projection knows which item is in which tensor
        expected = both(build(name), joined((first, second)), joined(incoming))
        assert_close((joined(y).detach(), joined(gradients)), expected)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_maximising_solver_gives_the_negative_gradient_at_negative_costs(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    y, gradient = both(build(name), costs, incoming)
    assert_close(both(build(name, dearer_half, maximize=True), -costs, incoming), (y, -gradient))


@pytest.mark.parametrize("name", DRAWING)
def test_a_maximising_solver_gives_the_negative_gradient_under_the_same_noise(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    y, gradient = both(build(name), costs, incoming)
    assert_close(both(build(name, dearer_half, maximize=True), -costs, incoming), (y, -gradient))


@every_estimator
def test_double_backward_is_refused(name):
    costs = randn(4, 5).requires_grad_()
    y = build(name)(costs)
    (gradient,) = torch.autograd.grad(y, costs, randn(4, 5, seed=1), create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        gradient.sum().backward()


@every_estimator
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_go_on_from_where_the_original_was(name, copied):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    layer = build(name)  # `cheaper_half` is a module-level function, as a pickled solver must be
    both(layer, costs, incoming)
    twin = copied(layer)
    for _ in range(2):
        assert_close(both(twin, costs, incoming), both(layer, costs, incoming), atol=0, rtol=0)


@every_estimator
def test_a_saved_state_repeats_what_comes_next(name, tmp_path):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    layer = build(name)
    both(layer, costs, incoming)
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    following = [both(layer, costs, incoming) for _ in range(2)]
    resumed = build(name)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for expected in following:
        assert_close(both(resumed, costs, incoming), expected, atol=0, rtol=0)


@pytest.mark.parametrize("name", DRAWING)
def test_draws_change_from_call_to_call(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    layer = build(name)
    results = [torch.cat(both(layer, costs, incoming)) for _ in range(4)]
    assert any(not torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_second_call_gives_the_same(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    layer = build(name)
    assert_close(both(layer, costs, incoming), both(layer, costs, incoming), atol=0, rtol=0)


@every_estimator
def test_the_global_generators_are_left_alone(name):
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    before = states()
    both(build(name), randn(6, 5), randn(6, 5, seed=1))
    assert states() == before


@every_estimator
def test_instances_without_incoming_gradient_get_none_and_leave_the_others_alone(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    _, expected = both(build(name), costs, incoming)
    incoming[[1, 4]] = 0
    _, gradient = both(build(name), costs, incoming)
    others = [0, 2, 3, 5]
    assert gradient.isfinite().all()
    assert gradient[[1, 4]].abs().max() == 0
    assert_close(gradient[others], expected[others])


@every_estimator
@pytest.mark.parametrize("costs", [torch.zeros(3, 4), torch.full((3, 4), 1e30), torch.full((3, 4), 1e-30)])
def test_the_gradient_of_extreme_costs_is_finite(name, costs):
    y, gradient = both(build(name), costs, randn(3, 4, dtype=torch.float32))
    assert y.isfinite().all()
    assert gradient.isfinite().all()


@every_estimator
def test_an_infinite_cost_keeps_its_item_out_and_the_gradient_finite(name):
    costs, incoming = randn(4, 6), randn(4, 6, seed=1)
    costs[:, 2] = torch.inf
    y, gradient = both(build(name), costs, incoming)
    assert y[:, 2].abs().max() == 0
    assert gradient.isfinite().all()


@every_estimator
def test_a_nan_is_an_error_that_names_the_instance(name):
    costs = randn(4, 5)
    costs[2, 3] = torch.nan
    with pytest.raises(ValueError, match=r"costs\[0\] has a NaN in instance 2"):
        build(name)(costs)


@every_estimator
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_gradient_that_is_not_finite_makes_its_instance_nan_and_leaves_the_others_alone(name, bad):
    costs, incoming = randn(4, 5), randn(4, 5, seed=1)
    others = [0, 2, 3]
    expected = both(build(name), costs, incoming)[1][others]
    incoming[1, 0] = bad
    layer = build(name)
    _, gradient = both(layer, costs, incoming)
    assert gradient[1].isnan().all()
    assert gradient[others].isfinite().all()
    if name != "imle, adaptive":  # whose α may differ by then, as the other instance's norms were in it
        assert_close(gradient[others], expected)
    assert layer.solver.statistics.nonfinite_gradients == 1


@every_estimator
@pytest.mark.filterwarnings("ignore:Anomaly Detection", "ignore:Error detected in")
def test_under_anomaly_detection_such_a_gradient_is_an_error_that_names_the_instance(name):
    incoming = randn(4, 5)
    incoming[1, 0] = torch.nan
    with torch.autograd.detect_anomaly(), pytest.raises(ValueError, match="infinite value in instance 1"):
        both(build(name), randn(4, 5), incoming)


@every_estimator
def test_a_loss_scale_leaves_the_gradient_as_it_is_without(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    expected = both(build(name), costs, incoming)[1]
    _, scaled = both(build(name, loss_scale=lambda: 2.0**16), costs, incoming * 2**16)
    assert_close(scaled / 2**16, expected)


@every_estimator
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing_between_costs_and_solution(name, kind):
    def solver(costs):  # a product, which autocast would round
        order = (costs @ torch.eye(costs.shape[1], dtype=costs.dtype)).argsort(dim=1, stable=True)
        return torch.zeros_like(costs).scatter_(1, order[:, :3], 1)

    costs = (100 + randn(8, 5)).float()
    incoming = randn(8, 5, seed=1).float()
    expected = both(build(name, solver, tensors=True), costs, incoming)
    with torch.autocast("cpu", dtype=kind):
        found = both(build(name, solver, tensors=True), costs, incoming)
        arrays = both(build(name), costs, incoming)
    assert_close(found, expected, atol=0, rtol=0)
    assert_close(arrays, both(build(name), costs, incoming), atol=0, rtol=0)


@every_estimator
def test_the_default_device_plays_no_part(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    expected = both(build(name), costs, incoming)
    with torch.device("meta"):
        assert_close(both(build(name), costs, incoming), expected)


@every_estimator
def test_costs_of_different_dtypes_give_the_gradients_of_equal_ones(name):
    first, second = randn(4, 3), randn(4, 2, 2, seed=1).float()
    incoming = randn(4, 3, seed=2), randn(4, 2, 2, seed=3)

    def gradients(*costs):
        leaves = [cost.clone().requires_grad_() for cost in costs]
        y = build(name, cheaper_half_of_both)(*leaves)
        return torch.autograd.grad(y, leaves, [g.to(part) for g, part in zip(incoming, y, strict=True)])

    mixed = gradients(first, second)
    assert [g.dtype for g in mixed] == [torch.float64, torch.float32]
    equal = gradients(first, second.double())
    assert_close([g.double() for g in mixed], list(equal), atol=1e-5, rtol=1e-5)


@every_estimator
def test_saved_tensor_hooks_that_copy_change_nothing(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    expected = both(build(name), costs, incoming)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.tolist(), lambda t: torch.tensor(t)):
        leaf = costs.clone().requires_grad_()
        y = build(name)(leaf)
        assert y.requires_grad
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (t.dtype, t.clone()), lambda pair: pair[1].clone().to(pair[0])
    ):
        assert_close(both(build(name), costs, incoming), expected)


@every_estimator
def test_a_module_without_state_adds_no_key_and_state_is_tensors(name):
    state = build(name).state_dict()
    assert (len(state) == 0) == (name in DETERMINISTIC)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    if state:
        with pytest.raises(RuntimeError, match="Missing key"):
            build(name).load_state_dict({})


@every_estimator
def test_evaluation_gives_what_training_gives(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    assert_close(both(build(name).eval(), costs, incoming), both(build(name).train(), costs, incoming))


@every_estimator
def test_a_copy_shares_its_solver(name):
    class Locked:
        def __init__(self):
            self.lock = threading.Lock()

        def __call__(self, costs):
            return cheaper_half(costs)

    model = torch.nn.Sequential(torch.nn.Linear(5, 5).double(), build(name, Locked()))
    twin = copy.deepcopy(model)
    assert twin[1].solver.function is model[1].solver.function
    assert twin[1].solver is not model[1].solver
    assert_close(twin(randn(3, 5)), model(randn(3, 5)))


@every_estimator
def test_a_failing_solver_is_an_error_that_names_the_instance(name):
    def solver(costs, instance):
        if instance == "bad":
            raise RuntimeError("no capacity left")
        return cheaper_half(costs)

    with pytest.raises(RuntimeError, match=r"instance 2.*no capacity left"):
        build(name, solver)(randn(4, 5), context=["a", "b", "bad", "c"])


@every_estimator
@pytest.mark.parametrize("on_failure", ["skip", "zero_grad"])
def test_an_instance_that_is_taken_out_has_no_gradient_and_the_others_keep_theirs(name, on_failure):
    def solver(costs, fails):
        if fails:
            raise TimeoutError("out of time")
        return cheaper_half(costs)

    costs, incoming = randn(4, 5), randn(4, 5, seed=1)
    layer = build(name, solver, on_failure=on_failure)
    y, gradient = both(layer, costs, incoming, context=[False, True, False, False])
    expected = both(build(name, solver), costs, incoming, context=[False] * 4)
    assert gradient[1].abs().max() == 0
    assert y[1].isnan().all() if on_failure == "skip" else y[1].abs().max() == 0
    others = [0, 2, 3]
    assert_close((y[others], gradient[others]), (expected[0][others], expected[1][others]))


@every_estimator
def test_changing_the_result_in_place_does_not_change_the_gradient(name):
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    _, expected = both(build(name), costs, incoming)
    leaf = costs.requires_grad_()
    y = build(name)(leaf)
    y.sub_(3).mul_(2)
    assert_close(torch.autograd.grad(y, leaf, incoming / 2)[0], expected)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_threads_sharing_a_layer_get_what_they_would_get_alone(name):
    layer = build(name)
    data = [(randn(5, 6, seed=seed), randn(5, 6, seed=100 + seed)) for seed in range(8)]
    expected = [both(build(name), *pair) for pair in data]
    wrong = []

    def work(seed):
        for _ in range(5):
            y, gradient = both(layer, *data[seed])
            if not (torch.equal(y, expected[seed][0]) and torch.equal(gradient, expected[seed][1])):
                wrong.append(seed)

    run_threads(work)
    assert wrong == []


@pytest.mark.parametrize("name", DRAWING)
def test_threads_sharing_a_layer_share_its_draws_and_lose_none(name):
    # Eight threads together draw what eight calls in a row draw, in some order.
    layer, alone = build(name), build(name)
    costs, incoming = randn(1, 5), torch.zeros(1, 5)
    results = [None] * 8

    def work(seed):
        results[seed] = both(layer, costs, incoming)[0]

    run_threads(work)
    expected = [both(alone, costs, incoming)[0] for _ in range(8)]
    assert sorted(y[0].tolist() for y in results) == sorted(y[0].tolist() for y in expected)


def run_threads(work):
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@every_estimator
def test_solutions_are_feasible_or_mixtures_of_feasible_ones(name):
    # All solutions have three ones among five items, and so has every mixture of them.
    y, _ = both(build(name), randn(20, 5), randn(20, 5, seed=1))
    assert y.min() >= 0
    assert y.max() <= 1 + 1e-12
    assert_close(y.sum(1), torch.full((20,), 3.0).double())


@every_estimator
def test_gradient_descent_finds_costs_of_a_wanted_solution(name):
    # Two of four items, from eight starts with costs near enough to each other that noise and regularization
    # reach from one to the next, and positive, as multiplicative noise changes no sign.
    wanted = torch.tensor([1.0, 0.0, 0.0, 1.0]).double()
    costs = (1 + 0.1 * randn(8, 4)).requires_grad_()
    layer = build(name)
    optimizer = torch.optim.Adam([costs], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        ((layer(costs) - wanted) ** 2).sum().backward()
        optimizer.step()
    found = np.stack([cheaper_half(row) for row in costs.detach().numpy()])
    np.testing.assert_array_equal(found, np.tile(wanted.numpy(), (8, 1)))


def test_no_estimator_of_the_library_is_missing_here():
    import difflayers

    built = {type(build(name)) for name in ESTIMATORS}
    layers = {
        value
        for value in (getattr(difflayers, key) for key in difflayers.__all__)
        if isinstance(value, type) and issubclass(value, difflayers.SolverLayer)
    }
    assert layers - {difflayers.SolverLayer} == built


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_functional_transforms_give_what_autograd_gives(name):
    costs, incoming = randn(3, 4, 5), randn(3, 4, 5, seed=1)
    expected = torch.stack([both(build(name), *pair)[1] for pair in zip(costs, incoming, strict=True)])

    def loss(c, g):
        return (build(name)(c) * g).sum()

    assert_close(torch.func.vmap(torch.func.grad(loss))(costs, incoming), expected)
    assert_close(torch.func.grad(lambda c: loss(c, incoming[0]))(costs[0]), expected[0])


@every_estimator
def test_a_compiled_step_gives_the_same_in_one_graph_where_the_compiler_can(name):
    torch._dynamo.reset()
    eager, compiled = build(name), build(name)
    costs, incoming = randn(6, 5), randn(6, 5, seed=1)
    step = torch.compile(
        lambda c: (compiled(2 * c) * incoming).sum(), fullgraph=COMPILED_WHOLE, backend="aot_eager"
    )
    for _ in range(2):
        leaf, same = costs.clone().requires_grad_(), costs.clone().requires_grad_()
        step(leaf).backward()
        (eager(2 * same) * incoming).sum().backward()
        assert_close(leaf.grad, same.grad)
