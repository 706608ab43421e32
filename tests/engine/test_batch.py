"""How a solver is run over a batch: failures that are passed over, warm starts, statistics."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import difflayers
from difflayers.engine.autograd import measuring
from difflayers.engine.batch import BatchSolver
from difflayers.engine.solving import Problems
from difflayers.engine.workers import _solve_chunk, _Task
from difflayers.solver import InfeasibleError

SILENT = [None, np.nan, difflayers.SolverError("infeasible"), TimeoutError("too long")]


def cheapest(costs):
    return np.eye(len(costs))[costs.argmin()]


def failing_above(limit, how):
    """A solver that says in some way that it finds nothing where a cost is above the limit."""

    def solver(costs):
        if costs.max() <= limit:
            return cheapest(costs)
        if isinstance(how, Exception):
            raise how
        return how if how is None else np.full_like(costs, how)

    return solver


def costs_and_incoming():
    """Instance 1 fails in forward; instance 2 in backward, at λ = 1, where 5 is added to its largest cost."""
    costs = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 99.0], [2.0, 1.0, 8.0], [3.0, 1.0, 2.0]])
    incoming = torch.tensor([[5.0, 0, 0], [1.0, 1, 1], [0, 1.0, 5.0], [0, 5.0, 0]])
    return costs.requires_grad_(), incoming


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("how", SILENT)
@pytest.mark.parametrize(("on_failure", "value"), [("skip", np.nan), ("zero_grad", 0.0)])
def test_failures_cost_their_instance_its_gradient_and_no_other(how, on_failure, value, n_jobs):
    costs, incoming = costs_and_incoming()
    layer = difflayers.BlackboxLayer(failing_above(10, how), 1.0, on_failure=on_failure, n_jobs=n_jobs)
    y = layer(costs)
    expected = torch.tensor([[1.0, 0, 0], [value] * 3, [0, 1.0, 0], [0, 1.0, 0]])
    assert_close(y.detach(), expected, equal_nan=True)
    y.backward(incoming)
    assert_close(costs.grad, torch.tensor([[-1.0, 1, 0], [0, 0, 0], [0, 0, 0], [0, -1.0, 1]]))
    statistics = layer.solver.statistics
    assert (statistics.solves, statistics.failures) == (4 + 3, 2)  # what failed is not asked again


def test_several_scales_lose_their_instance_too():
    costs, incoming = costs_and_incoming()
    scales = difflayers.UniformScales(0.99, 1.01, samples=3)
    y = difflayers.BlackboxLayer(failing_above(10, None), scales, on_failure="zero_grad")(costs)
    y.backward(incoming)
    assert costs.grad[[1, 2]].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert costs.grad[[0, 3]].all(dim=0).any()


@pytest.mark.parametrize("batched", [{"batched": True}, {"tensors": True}])
def test_a_batched_solver_says_by_nan_which_instances_failed(batched):
    def solver(costs):
        array = np.asarray(costs)
        solution = np.eye(3)[array.argmin(1)]
        solution[array.max(1) > 10] = np.nan
        return torch.tensor(solution) if "tensors" in batched else solution

    costs, incoming = costs_and_incoming()
    layer = difflayers.BlackboxLayer(solver, 1.0, on_failure="skip", **batched)
    y = layer(costs)
    y.backward(incoming)
    assert y.isnan().all(1).tolist() == [False, True, False, False]
    assert_close(costs.grad, torch.tensor([[-1.0, 1, 0], [0, 0, 0], [0, 0, 0], [0, -1.0, 1]]))


@pytest.mark.parametrize("how", SILENT)
def test_by_default_a_failure_is_an_error_that_names_the_instance(how):
    costs, incoming = costs_and_incoming()
    with pytest.raises(difflayers.SolverError, match="instance 1: "):
        difflayers.BlackboxLayer(failing_above(10, how), 1.0)(costs)
    y = difflayers.BlackboxLayer(failing_above(10, how), 1.0)(costs[[0, 2]])
    with pytest.raises(difflayers.SolverError, match="instance 1, perturbed with scale 1: "):
        y.backward(incoming[[0, 2]])


@pytest.mark.parametrize(
    ("solver", "text"),
    [
        (lambda c: c[:2], r"instance 0: solution 0 has shape \(2,\)"),
        (lambda c: {}["no"], "instance 0: KeyError"),
        (lambda c: "text", "instance 0: solution 0 is a str"),
    ],
)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_bugs_are_never_passed_over(solver, text, n_jobs):
    layer = difflayers.BlackboxLayer(solver, on_failure="skip", n_jobs=n_jobs)
    with pytest.raises(difflayers.SolverError, match=text):
        layer(torch.zeros(3, 3))


def test_skipped_instances_may_have_any_incoming_gradient():
    costs, _ = costs_and_incoming()
    y = difflayers.BlackboxLayer(failing_above(10, None), 0.1, on_failure="skip")(costs)
    loss = ((y - 1) ** 2).sum(1)
    assert loss.isnan().tolist() == [False, True, False, False]
    loss.sum().backward()  # NaN flows back into the skipped instance, and stays there
    assert costs.grad[1].tolist() == [0, 0, 0]
    assert costs.grad.isfinite().all()


def test_a_warm_start_is_the_solution_of_the_forward_pass():
    starts = []

    def solver(costs, start):
        starts.append(None if start is None else start.tolist())
        return cheapest(costs)

    costs = torch.tensor([[1.0, 2.0], [2.0, 1.0]], requires_grad=True)
    layer = difflayers.BlackboxLayer(solver, 1.0, warm_start=True)
    for _ in range(2):
        y = layer(costs)
        y.backward(torch.ones(2, 2))
    assert starts == [None, None, [1, 0], [0, 1]] * 2


def test_batched_warm_starts_and_those_of_several_outputs():
    seen = []

    def solver(a, b, start):
        seen.append(start)
        return np.ones_like(a), 2 * np.ones_like(b)

    first, second = torch.rand(3, 2, requires_grad=True), torch.rand(3, 4)
    y, z = difflayers.BlackboxLayer(solver, 1.0, batched=True, warm_start=True)(first, second)
    incoming = torch.tensor([[1.0, 0], [0, 0], [0, 1.0]])
    torch.autograd.grad((y, z), first, (incoming, torch.zeros(3, 4)))
    assert seen[0] is None
    assert [part.tolist() for part in seen[1]] == [[[1, 1]] * 2, [[2] * 4] * 2]


def test_a_solver_that_changes_its_warm_start_changes_nothing_else():
    def solver(costs, start):
        if start is not None:
            start[:] = 7
        return cheapest(costs)

    costs, incoming = torch.rand(4, 3, requires_grad=True), torch.randn(4, 3)
    (warm,) = torch.autograd.grad(
        difflayers.BlackboxLayer(solver, 3.0, warm_start=True)(costs), costs, incoming
    )
    (cold,) = torch.autograd.grad(difflayers.BlackboxLayer(cheapest, 3.0)(costs), costs, incoming)
    assert_close(warm, cold)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("batched", [False, True])
def test_solutions_of_another_shape_where_an_estimator_allows_them(batched, n_jobs):
    def solver(costs):
        return np.stack([costs.argmin(-1), costs.argmax(-1)], axis=-1)

    costs = torch.rand(5, 4)
    with measuring(BatchSolver(solver, batched=batched, n_jobs=n_jobs), [costs]) as call:
        (solutions,) = call.solve(any_shape=True)
        np.testing.assert_array_equal(solutions, np.stack([costs.argmin(1), costs.argmax(1)], 1))
        with pytest.raises(difflayers.SolverError, match="has shape"):
            call.solve()


def test_problems_beyond_the_batch_belong_to_its_instances_in_turn():
    asked = []

    def solver(costs, context):
        asked.append(context)
        return costs

    with measuring(BatchSolver(solver), [torch.zeros(2, 3)], ["a", "b"]) as call:
        call.solve([torch.rand(3, 2, 3)])
        call.part(torch.tensor([1])).solve([torch.rand(2, 1, 3)])
    assert asked == ["a", "b"] * 3 + ["b", "b"]


def test_a_nonlinear_objective_is_a_solver_that_returns_its_features():
    """Pairs of items with a bonus for taking both of a kind: <c, g(y)> with g(y) = (y, products)."""
    pairs = [(0, 1), (1, 2), (0, 2)]
    subsets = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    features = np.array([[*y, *(y[i] * y[j] for i, j in pairs)] for y in subsets], dtype=float)

    def solver(costs):  # a linear solver for y alone could not be: the objective is quadratic
        y = subsets[np.argmin(features @ costs)]
        return np.array([*y, *(y[i] * y[j] for i, j in pairs)], dtype=float)

    generator = torch.Generator().manual_seed(0)
    costs = torch.randn(9, 6, generator=generator, dtype=torch.float64).requires_grad_()
    incoming = torch.randn(9, 6, generator=generator, dtype=torch.float64)
    y = difflayers.BlackboxLayer(solver, 2.0)(costs)
    (gradient,) = torch.autograd.grad(y, costs, incoming)

    def interpolated(c):
        return (((c + 2 * incoming.numpy()) @ features.T).min(1) - (c @ features.T).min(1)) / 2

    c, step = costs.detach().numpy(), 1e-5
    slopes = [(interpolated(c + step * e) - interpolated(c - step * e)) / (2 * step) for e in np.eye(6)]
    assert gradient.any()
    assert_close(gradient, torch.tensor(np.stack(slopes, 1)), atol=1e-6, rtol=0)


def test_every_backward_starts_from_the_forward_solution():
    starts = []

    def solver(costs, start):
        starts.append(None if start is None else start.tolist())
        return cheapest(costs)

    costs = torch.tensor([[1.0, 2.0]], requires_grad=True)
    y = difflayers.BlackboxLayer(solver, 10.0, warm_start=True)(costs)
    for _ in range(2):
        torch.autograd.grad(
            y, costs, torch.tensor([[1.0, 0.0]]), retain_graph=True
        )  # the solution is [0, 1] there
    assert starts == [None, [1, 0], [1, 0]]


def test_a_failure_in_one_backward_takes_nothing_from_the_next():
    fails = [False, True, False]

    def solver(costs):
        return None if fails.pop(0) else cheapest(costs)

    costs, incoming = torch.tensor([[1.0, 2.0]], requires_grad=True), torch.tensor([[5.0, 0.0]])
    y = difflayers.BlackboxLayer(solver, 1.0, on_failure="zero_grad")(costs)
    (lost,) = torch.autograd.grad(y, costs, incoming, retain_graph=True)
    (kept,) = torch.autograd.grad(y, costs, incoming)
    assert lost.tolist() == [[0, 0]]
    assert kept.tolist() == [[-1, 1]]


def test_another_solver_function_is_used_from_then_on_in_workers_too():
    layer = difflayers.BlackboxLayer(cheapest, n_jobs=2)
    costs = torch.rand(4, 3)
    layer(costs)
    layer.solver.function = lambda c: np.full_like(c, 7)
    assert (layer(costs) == 7).all()


def test_a_solver_of_tensors_may_report_instances_without_a_solution():
    def solver(costs):
        solutions = torch.nn.functional.one_hot(costs.argmin(1), 3).float()
        raise InfeasibleError("no capacity", [1], solutions)

    y = difflayers.BlackboxLayer(solver, tensors=True, on_failure="skip")(torch.rand(3, 3))
    assert y.isnan().all(1).tolist() == [False, True, False]


def test_many_failures_in_a_worker_process_are_told_once_each():
    errors = _solve_chunk(
        _Task("key", _nan, None, False, Problems([np.ones((40, 3))]), False, False, caller=-1)
    )[0].failures
    assert len(errors) == 40
    assert max(len("".join(failure.error.__notes__)) for failure in errors) < 1000


def _nan(costs):
    return np.full_like(costs, np.nan)
