"""BlackboxLayer against Eq. 3 and 4 worked out by enumeration."""

import copy
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch.testing import assert_close

import difflayers
from difflayers.functional import blackbox

# Every solution there is: the subsets of three items that hold one or two of them.
FEASIBLE = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=np.float64)


def cheapest(costs):
    """W(c): the cheapest feasible subset, by enumeration."""
    return FEASIBLE[np.argmin(FEASIBLE @ costs)]


def cheapest_of_batch(costs):
    return FEASIBLE[np.argmin(costs @ FEASIBLE.T, axis=1)]


def cheapest_pair(first, second):
    """W(a, b): two items of one problem, at different places."""
    table = first[:, None] + second[None, :]
    np.fill_diagonal(table, np.inf)
    row, column = np.unravel_index(np.argmin(table), table.shape)
    return np.eye(len(first))[row], np.eye(len(second))[column]


def batch(seed=0, size=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    costs = torch.randn(size, 3, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    incoming = torch.randn(size, 3, generator=generator, dtype=torch.float64).to(dtype)
    return costs, incoming


def equation_3(costs, incoming, scale):
    costs, incoming = costs.detach().numpy(), incoming.numpy()
    return torch.tensor(
        np.stack(
            [(cheapest(c + scale * g) - cheapest(c)) / scale for c, g in zip(costs, incoming, strict=True)]
        )
    )


def gradient(layer, costs, incoming, **options):
    return torch.autograd.grad(layer(costs, **options), costs, incoming)[0]


def test_forward_is_the_solution():
    costs = torch.tensor([[-1.0, 2.0, -3.0], [3.0, 2.0, 1.0]])
    assert_close(difflayers.BlackboxLayer(cheapest)(costs), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))


def test_gradient_of_one_instance_worked_by_hand():
    # Item 0 is chosen. λ g adds 2·3 to its cost and takes 2·1 from that of item 2, which then is cheapest.
    costs = torch.tensor([[0.5, 2.0, 1.0]], requires_grad=True)
    y = difflayers.BlackboxLayer(cheapest, scales=2.0)(costs)
    assert_close(y.detach(), torch.tensor([[1.0, 0.0, 0.0]]))
    y.backward(torch.tensor([[3.0, 0.0, -1.0]]))
    assert_close(costs.grad, torch.tensor([[-0.5, 0.0, 0.5]]))


@pytest.mark.parametrize("scale", [0.5, 2.0, 50.0])
def test_gradient_is_equation_3(scale):
    costs, incoming = batch(size=16)
    layer = difflayers.BlackboxLayer(cheapest, scales=scale)
    expected = equation_3(costs, incoming, scale)
    assert expected.abs().sum() > 0
    assert_close(gradient(layer, costs, incoming), expected)


@given(
    costs=arrays(np.float64, (5, 3), elements=st.floats(-4, 4)),
    incoming=arrays(np.float64, (5, 3), elements=st.floats(-4, 4)),
    scale=st.floats(0.1, 10),
)
def test_the_solution_moves_against_the_incoming_gradient(costs, incoming, scale):
    # ⟨c, y⟩ ≤ ⟨c, y′⟩ and ⟨c + λg, y′⟩ ≤ ⟨c + λg, y⟩ add up to ⟨g, y′ − y⟩ ≤ 0 for every exact solver.
    moved = gradient(
        difflayers.BlackboxLayer(cheapest, scale),
        torch.tensor(costs, requires_grad=True),
        torch.tensor(incoming),
    )
    assert np.all((incoming * moved.numpy()).sum(axis=1) <= 1e-9)


def test_gradient_is_the_slope_of_the_interpolated_loss():
    # For L(y) = ⟨g, y⟩ the interpolation is (min ⟨c + λg, y⟩ − min ⟨c, y⟩) / λ, piecewise linear in c.
    costs, incoming = batch(seed=4, size=8)
    scale, step = 2.0, 1e-4

    def interpolated(c):
        g = incoming.numpy()
        return (((c + scale * g) @ FEASIBLE.T).min(axis=1) - (c @ FEASIBLE.T).min(axis=1)) / scale

    c = costs.detach().numpy()
    slopes = [
        (interpolated(c + step * unit) - interpolated(c - step * unit)) / (2 * step) for unit in np.eye(3)
    ]
    layer = difflayers.BlackboxLayer(cheapest, scale)
    assert_close(gradient(layer, costs, incoming), torch.tensor(np.stack(slopes, axis=1)), atol=1e-6, rtol=0)


def test_gradient_averages_equation_3_over_the_drawn_scales():
    costs, incoming = batch(size=16)
    scales = difflayers.UniformScales(0.5, 5.0, samples=4, seed=3)
    layer = difflayers.BlackboxLayer(cheapest, copy.deepcopy(scales))
    for _ in range(2):  # the second call draws anew
        drawn = scales.draw()
        expected = torch.stack([equation_3(costs, incoming, scale) for scale in drawn]).mean(0)
        assert_close(gradient(layer, costs, incoming), expected)


def test_scales_are_drawn_once_a_backward_call():
    class Counted(difflayers.FixedScale):
        draws = 0

        def draw(self):
            self.draws += 1
            return super().draw()

    scales = Counted(1.0)
    costs, incoming = batch(size=8)
    gradient(difflayers.BlackboxLayer(cheapest, scales), costs, incoming)
    assert scales.draws == 1


def test_functional_and_layer_give_the_same():
    costs, incoming = batch()
    expected = gradient(difflayers.BlackboxLayer(cheapest, 2.0), costs, incoming)
    assert_close(gradient(lambda c: blackbox(cheapest, c, scales=2.0), costs, incoming), expected)


@pytest.mark.parametrize("n_jobs", [1, 2, -1])
@pytest.mark.parametrize("batched", [False, True])
def test_batched_and_parallel_solvers_give_the_same_gradient(batched, n_jobs):
    costs, incoming = batch(size=9)
    incoming[2] = 0
    solver = cheapest_of_batch if batched else cheapest
    layer = difflayers.BlackboxLayer(
        solver, difflayers.UniformScales(1.0, 3.0), batched=batched, n_jobs=n_jobs
    )
    expected = gradient(
        difflayers.BlackboxLayer(cheapest, difflayers.UniformScales(1.0, 3.0)), costs, incoming
    )
    assert_close(gradient(layer, costs, incoming), expected)


def test_several_costs_are_perturbed_together():
    # Forward picks item 0 and item 1 at a cost of 0 + 1. With λ g item 0 costs 9 on the first side: pairs
    # (1, 0) at 3 + 2 and (2, 1) at 5 + 1 remain, so both sides change although only one has a gradient.
    first = torch.tensor([[0.0, 3.0, 5.0]], requires_grad=True)
    second = torch.tensor([[2.0, 1.0, 8.0]], requires_grad=True)
    y, z = difflayers.BlackboxLayer(cheapest_pair, scales=3.0)(first, second)
    assert_close((y.detach(), z.detach()), (torch.tensor([[1.0, 0, 0]]), torch.tensor([[0, 1.0, 0]])))
    y.backward(torch.tensor([[3.0, 0.0, 0.0]]))
    assert_close(first.grad, torch.tensor([[-1.0, 1.0, 0.0]]) / 3)
    assert_close(second.grad, torch.tensor([[1.0, -1.0, 0.0]]) / 3)


def test_a_cost_without_gradient_still_feels_its_solutions_loss():
    first = torch.tensor([[0.0, 3.0, 5.0]])
    second = torch.tensor([[2.0, 1.0, 8.0]], requires_grad=True)
    y, _ = difflayers.BlackboxLayer(cheapest_pair, scales=3.0)(first, second)
    y.backward(torch.tensor([[3.0, 0.0, 0.0]]))
    assert_close(second.grad, torch.tensor([[1.0, -1.0, 0.0]]) / 3)


def test_each_solve_gets_its_own_instances_context():
    def with_forbidden(costs, forbidden):
        allowed = FEASIBLE[FEASIBLE[:, forbidden] == 0]
        return allowed[np.argmin(allowed @ costs)]

    costs = torch.tensor([[-2.0, 1.0, 0.5]] * 3, requires_grad=True)
    layer = difflayers.BlackboxLayer(with_forbidden, scales=1.0)
    y = layer(costs, context=[0, 1, 2])
    expected = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert_close(y.detach(), expected)
    # The middle instance has no gradient and is skipped; the others keep their own item forbidden.
    y.backward(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [5.0, 0.0, 0.0]]))
    assert_close(costs.grad, torch.tensor([[0.0, 1.0, -1.0], [0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]]))


def test_a_batched_solver_gets_the_contexts_of_the_instances_it_solves():
    calls = []

    def solver(costs, context):
        calls.append(context)
        return cheapest_of_batch(costs)

    costs, incoming = batch(size=3)
    incoming[1] = 0
    gradient(difflayers.BlackboxLayer(solver, batched=True), costs, incoming, context=["a", "b", "c"])
    assert calls == [["a", "b", "c"], ["a", "c"]]


def test_instances_without_incoming_gradient_are_not_solved_again():
    calls = []

    def counted(costs):
        calls.append(costs)
        return cheapest(costs)

    costs, incoming = batch(size=5)
    incoming[[0, 3]] = 0
    result = gradient(difflayers.BlackboxLayer(counted, 5.0), costs, incoming)
    assert len(calls) == 5 + 3
    assert_close(result, equation_3(costs, incoming, 5.0))


def test_only_unused_solutions_give_no_gradient_and_no_solve():
    first, second = torch.rand(2, 3, requires_grad=True), torch.rand(2, 3, requires_grad=True)
    y, z = difflayers.BlackboxLayer(cheapest_pair)(first, second)
    (0 * y.sum() + 0 * z.sum()).backward()
    assert_close(first.grad, torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("dtype", "seen"),
    [
        (torch.float64, np.float64),
        (torch.float32, np.float32),
        (torch.float16, np.float32),
        (torch.bfloat16, np.float32),
    ],
)
def test_solutions_and_gradients_have_the_dtype_of_the_costs(dtype, seen):
    def solver(costs):
        assert costs.dtype == seen
        return cheapest(costs).astype(bool)

    costs, incoming = batch(dtype=dtype)
    y = difflayers.BlackboxLayer(solver, scales=4.0)(costs)
    (result,) = torch.autograd.grad(y, costs, incoming)
    assert y.dtype == result.dtype == dtype
    expected = equation_3(costs.double(), incoming.double(), 4.0)
    assert_close(result.double(), expected)


def test_the_forward_solution_is_not_rounded_before_the_difference():
    # 257 is no bfloat16 number; an unchanged solution must give exactly no gradient.
    costs = torch.ones(1, 2, dtype=torch.bfloat16, requires_grad=True)
    y = difflayers.BlackboxLayer(lambda c: np.full(2, 257.0))(costs)
    y.backward(torch.ones_like(y))
    assert costs.grad.tolist() == [[0.0, 0.0]]


def test_a_solver_that_writes_into_its_input_leaves_the_costs_alone():
    def destructive(costs):
        solution = cheapest(costs).copy()
        costs[...] = np.nan
        return solution

    costs, incoming = batch()
    before = costs.detach().clone()
    for batched in (False, True):
        solver = (lambda c: np.stack([destructive(row) for row in c])) if batched else destructive
        result = gradient(difflayers.BlackboxLayer(solver, 2.0, batched=batched), costs, incoming)
        assert_close(result, equation_3(costs, incoming, 2.0))
        assert_close(costs.detach(), before)


def test_solvers_get_contiguous_arrays_whatever_the_layout_of_the_costs():
    def solver(costs):
        assert costs.flags.c_contiguous
        assert costs.flags.writeable
        return np.eye(2, 3)

    costs = torch.randn(3, 2, 4).permute(2, 1, 0).requires_grad_()
    layer = difflayers.BlackboxLayer(solver)
    (layer(costs) * torch.randn(4, 2, 3)).sum().backward()
    batched = difflayers.BlackboxLayer(lambda c: np.stack([solver(c)] * 4), batched=True)
    (batched(costs) * torch.randn(4, 2, 3)).sum().backward()
    assert_close(batched(costs), layer(costs))


def test_a_solver_may_return_the_same_buffer_every_time():
    buffer = np.zeros(3)

    def reusing(costs):
        buffer[...] = cheapest(costs)
        return buffer

    costs, incoming = batch()
    result = gradient(difflayers.BlackboxLayer(reusing, 2.0), costs, incoming)
    assert_close(result, equation_3(costs, incoming, 2.0))


def test_changing_the_solution_in_place_does_not_change_the_gradient():
    costs, incoming = batch()
    y = difflayers.BlackboxLayer(cheapest, 2.0)(costs)
    y.mul_(0).add_(7)
    assert_close(torch.autograd.grad(y, costs, incoming)[0], torch.zeros_like(costs))
    z = difflayers.BlackboxLayer(cheapest, 2.0)(costs)
    z.sub_(1)
    assert_close(torch.autograd.grad(z, costs, incoming)[0], equation_3(costs, incoming, 2.0))


@pytest.mark.parametrize("batched", [False, True])
def test_an_empty_batch_never_reaches_the_solver(batched):
    def solver(costs):
        raise AssertionError("called")

    costs = torch.zeros(0, 4, requires_grad=True)
    y = difflayers.BlackboxLayer(solver, batched=batched)(costs)
    y.sum().backward()
    assert y.shape == costs.grad.shape == (0, 4)


def test_instances_of_a_single_number_work():
    # Buy wherever the price is negative; a loss that dislikes buying raises it past zero.
    costs = torch.tensor([-1.0, 2.0, -5.0], requires_grad=True)
    y = difflayers.BlackboxLayer(lambda c: c < 0, scales=2.0)(costs)
    assert_close(y.detach(), torch.tensor([1.0, 0.0, 1.0]))
    y.sum().backward()
    assert_close(costs.grad, torch.tensor([-0.5, 0.0, 0.0]))


def test_infinite_costs_forbid():
    costs = torch.tensor([[-5.0, 1.0, 2.0]])
    costs[0, 0] = torch.inf
    y = difflayers.BlackboxLayer(lambda c: np.eye(3)[np.argmin(c)])(costs)
    assert_close(y, torch.tensor([[0.0, 1.0, 0.0]]))


def test_no_grad_solves_once_and_records_nothing():
    costs, _ = batch()
    with torch.no_grad():
        y = difflayers.BlackboxLayer(cheapest)(costs)
    assert not y.requires_grad
    assert_close(y, torch.tensor(cheapest_of_batch(costs.detach().numpy())))


def test_autocast_changes_neither_solution_nor_gradient():
    costs, incoming = batch(dtype=torch.float32)
    layer = difflayers.BlackboxLayer(cheapest, 3.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(costs)
        (result,) = torch.autograd.grad(y, costs, incoming)
    assert y.dtype == torch.float32
    assert_close(result.double(), equation_3(costs.double(), incoming.double(), 3.0))


def test_compiled_training_steps_call_the_solver_outside_the_graph():
    script = """
import copy, numpy as np, torch, difflayers

def solver(costs):
    return np.eye(3)[np.argmin(costs)]

graphs = []
def backend(graph, inputs):
    graphs.append(graph.code)
    return graph

torch.manual_seed(0)
layer = difflayers.BlackboxLayer(solver, 1.0)
model = torch.nn.Sequential(torch.nn.Linear(3, 3), layer, torch.nn.Linear(3, 1))
twin, start, x = copy.deepcopy(model), copy.deepcopy(model), torch.randn(4, 3)

def train(network, x):
    (network(x) ** 2).sum().backward()  # the backward pass is within the compiler's reach as well
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 0.1 * parameter.grad

step = torch.compile(train, backend=backend)
for _ in range(3):
    step(model, x)
    train(twin, x)
for compiled, eager in zip(model.parameters(), twin.parameters()):
    assert torch.equal(compiled, eager)
assert not torch.equal(model[0].weight, start[0].weight)
own = ("linear", ".sum()", "-=", ".float()")  # what the step and the layer's edge consist of
assert graphs and all(any(word in code for word in own) for code in graphs), graphs
"""
    # In a process of its own: the layer is compiled before it ever ran without the compiler.
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_threads_sharing_a_layer_each_get_their_own_gradient():
    layer = difflayers.BlackboxLayer(cheapest, 2.0)
    wrong = []

    def work(seed):
        costs, incoming = batch(seed)
        for _ in range(20):
            if not torch.equal(gradient(layer, costs, incoming), equation_3(costs, incoming, 2.0)):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_second_derivatives_raise():
    costs, incoming = batch()
    y = difflayers.BlackboxLayer(cheapest, 2.0)(costs)
    (first,) = torch.autograd.grad(y, costs, incoming, create_graph=True)
    assert_close(first.detach(), equation_3(costs, incoming, 2.0))
    with pytest.raises(NotImplementedError, match="no second derivative"):
        first.sum().backward()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_draw_the_same_scales_from_where_the_original_was(copied):
    costs, incoming = batch(size=12)
    layer = difflayers.BlackboxLayer(cheapest, difflayers.UniformScales(0.1, 10.0, seed=1))
    gradient(layer, costs, incoming)
    twin = copied(layer)
    assert torch.equal(gradient(twin, costs, incoming), gradient(layer, costs, incoming))


def test_state_dict_resumes_the_scales(tmp_path):
    costs, incoming = batch(size=12)
    layer = difflayers.BlackboxLayer(cheapest, difflayers.UniformScales(0.1, 10.0, seed=1))
    gradient(layer, costs, incoming)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    resumed = difflayers.BlackboxLayer(cheapest, difflayers.UniformScales(0.1, 10.0, seed=99))
    resumed.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    assert torch.equal(gradient(resumed, costs, incoming), gradient(layer, costs, incoming))


def test_print_names_solver_and_options():
    text = repr(difflayers.BlackboxLayer(cheapest, 3.0, n_jobs=2))
    assert text == "BlackboxLayer(\n  scales=FixedScale(3)\n  (solver): BatchSolver(cheapest, n_jobs=2)\n)"


def test_training_finds_the_costs_of_a_wanted_solution():
    target = torch.tensor(FEASIBLE[4]).expand(6, 3)
    costs, _ = batch(size=6)
    layer = difflayers.BlackboxLayer(cheapest, scales=2.0)
    optimizer = torch.optim.SGD([costs], lr=0.5)
    for _ in range(30):
        optimizer.zero_grad()
        (layer(costs) - target).abs().sum().backward()
        optimizer.step()
    assert torch.equal(layer(costs), target)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_costs_on_a_gpu_give_the_same_there(n_jobs):
    costs, incoming = batch(size=8)
    expected = equation_3(costs, incoming, 2.0)
    costs = costs.detach().cuda().requires_grad_()
    y = difflayers.BlackboxLayer(cheapest, 2.0, n_jobs=n_jobs)(costs)
    assert y.device == costs.device
    assert_close(torch.autograd.grad(y, costs, incoming.cuda())[0].cpu(), expected)
