"""What happens when costs, contexts or a solver are wrong: the error says which and what was expected."""

import re
import traceback

import numpy as np
import pytest
import torch

import difflayers


def raises(text, error=difflayers.SolverError):
    return pytest.raises(error, match=re.escape(text))


def failing_at(bad, answer):
    """A solver that returns `answer(costs)` where all costs are `bad`, and zeros otherwise."""

    def solver(costs):
        return answer(costs) if np.all(costs == bad) else np.zeros_like(costs)

    return solver


def numbered(size=4):
    """Costs whose instance i is filled with i."""
    return torch.arange(float(size))[:, None].expand(size, 3).clone().requires_grad_()


def test_an_exception_names_the_instance_and_keeps_its_traceback():
    def broken_solver(costs):
        raise KeyError("no such node")

    with raises("instance 2: KeyError: 'no such node'") as caught:
        difflayers.BlackboxLayer(failing_at(2, broken_solver))(numbered())
    assert isinstance(caught.value.__cause__, KeyError)
    assert "in broken_solver" in "".join(traceback.format_exception(caught.value))


def test_an_exception_in_the_backward_pass_names_instance_and_scale():
    def solver(costs):
        if np.all(costs > 100):
            raise ValueError("too expensive")
        return np.zeros_like(costs)

    costs = numbered()
    y = difflayers.BlackboxLayer(solver, scales=50.0)(costs)
    incoming = torch.zeros(4, 3)
    incoming[3] = 10
    with raises("instance 3, perturbed with scale 50: ValueError: too expensive"):
        y.backward(incoming)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda c: np.zeros(2), "instance 1: solution 0 has shape (2,), but its costs have shape (3,)"),
        (lambda c: None, "instance 1: solution 0 is None, but should be an array of numbers"),
        (
            lambda c: ["a", "b", "c"],
            "instance 1: solution 0 is a list of 3, but should be an array of numbers",
        ),
        (lambda c: np.full(3, np.nan), "instance 1: solution 0 has a NaN or infinite value"),
        (lambda c: c / 0, "instance 1: solution 0 has a NaN or infinite value"),
        (lambda c: c + 1j, "solution 0 is one array of shape (3,) and dtype complex64"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_a_malformed_solution_is_an_error_that_says_which(answer, text):
    with raises(text):
        difflayers.BlackboxLayer(failing_at(1, answer))(numbered())


def test_a_batched_solution_with_nan_names_the_instance():
    def solver(costs):
        solution = np.zeros_like(costs)
        solution[2, 1] = np.nan
        return solution

    with raises("instance 2: solution 0 has a NaN"):
        difflayers.BlackboxLayer(solver, batched=True)(numbered())


def test_a_batched_nan_in_the_backward_pass_names_the_instance_of_the_whole_batch():
    def solver(costs):
        return np.where(costs > 100, np.nan, 0)

    costs = numbered()
    y = difflayers.BlackboxLayer(solver, scales=1.0, batched=True)(costs)
    incoming = torch.zeros(4, 3)
    incoming[[1, 3]] = torch.tensor([[1.0], [1000.0]])
    with raises("instance 3, perturbed with scale 1: solution 0 has a NaN"):
        y.backward(incoming)


def test_a_batched_solver_that_raises_or_misshapes_is_named_the_batch():
    with raises("the batch: ZeroDivisionError"):
        difflayers.BlackboxLayer(lambda c: 1 / 0, batched=True)(numbered())
    with raises("the batch: solution 0 has shape (3,), but its costs have shape (4, 3)"):
        difflayers.BlackboxLayer(lambda c: c[0], batched=True)(numbered())


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda a, b: a, "instance 0: the solver returned one array of shape (3,) and dtype float32"),
        (lambda a, b: None, "instance 0: the solver returned None, but 2 cost tensors need a tuple of 2"),
        (lambda a, b: (a,), "instance 0: the solver returned 1 solutions, but there are 2 cost tensors"),
        (lambda a, b: (a, a), "instance 0: solution 1 has shape (3,), but its costs have shape (2,)"),
    ],
)
def test_several_solutions_are_told_apart(answer, text):
    with raises(text):
        difflayers.BlackboxLayer(answer)(torch.zeros(1, 3), torch.zeros(1, 2))


def test_nan_costs_name_tensor_and_instance():
    costs = numbered().detach()
    costs[2, 1] = torch.nan
    with raises("costs[1] has a NaN in instance 2", ValueError):
        difflayers.BlackboxLayer(lambda a, b: (a, b))(torch.zeros(4, 1), costs)


@pytest.mark.parametrize(
    ("arguments", "context", "error", "text"),
    [
        ((), None, TypeError, "at least one cost tensor"),
        ((np.zeros(3),), None, TypeError, "costs[0] must be a tensor, got a ndarray"),
        ((torch.zeros(2, 3, dtype=torch.int64),), None, TypeError, "floating dtype, got torch.int64"),
        ((torch.tensor(1.0),), None, ValueError, "costs[0] has no dimension"),
        ((torch.zeros(2, 3), torch.zeros(4)), None, ValueError, "costs[1] has a batch of 4, but costs[0]"),
        ((torch.zeros(2, 3),), [1], ValueError, "context has 1 objects, but the costs have a batch of 2"),
    ],
)
def test_wrong_calls_say_what_was_expected(arguments, context, error, text):
    with raises(text, error):
        difflayers.BlackboxLayer(np.zeros_like)(*arguments, context=context)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"solver": 3}, TypeError, "solver must be callable, got a int"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be a positive integer, or -1 for all cores, got 0"),
        ({"n_jobs": 1.5}, ValueError, "got 1.5"),
        ({"scales": "10"}, TypeError, "scales must be a number"),
        ({"scales": -1.0}, ValueError, "scales must be positive and finite, got -1.0"),
    ],
)
def test_wrong_options_say_what_was_expected(options, error, text):
    with raises(text, error):
        difflayers.BlackboxLayer(**{"solver": np.zeros_like, **options})
