"""Claims about the solver on tensors, on random graphs of all kinds; on a GPU too where there is one."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import difflayers
from difflayers import amwc
from difflayers.amwc import AMWC, Solution, evaluate, is_feasible, solution
from difflayers.amwc.device import TensorSolution, solve
from difflayers.graph import grid_edges
from tests.amwc.brute_force import minimum_cost
from tests.amwc.problems import grid_problem, random_problem, random_problems

CPU = torch.device("cpu")


def tensors(problem: AMWC, device: torch.device = CPU) -> tuple[torch.Tensor, ...]:
    arrays = (problem.node_costs, problem.edges, problem.edge_costs, problem.partitionable)
    return tuple(torch.as_tensor(array, device=device) for array in arrays)


def assert_valid(problem: AMWC, found: TensorSolution) -> None:
    labels, segments, cuts = (part.cpu().numpy() for part in found[:3])
    assert is_feasible(problem, labels, cuts)
    assert found.cost.item() == pytest.approx(evaluate(problem, labels, cuts), rel=1e-6, abs=1e-6)
    expected = solution.solution_from_clusters(problem, labels, segments)
    assert (segments == expected.segments).all()
    assert (cuts == expected.cuts).all()


def same(first: TensorSolution, second: TensorSolution) -> bool:
    return all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(first[:3], second[:3], strict=True))


@settings(deadline=None, max_examples=200)
@given(random_problems(max_nodes=30, max_labels=4, max_edges=90), st.sampled_from([np.float32, np.float64]))
def test_solutions_are_feasible_and_their_cost_is_the_objective(problem, dtype):
    problem = AMWC(
        problem.node_costs.astype(dtype),
        problem.edges,
        problem.edge_costs.astype(dtype),
        problem.partitionable,
    )
    found = solve(*tensors(problem))
    assert_valid(problem, found)
    assert found.cost.dtype == torch.float64


@settings(deadline=None, max_examples=50)
@given(random_problems(max_nodes=6, max_labels=3, max_edges=15))
def test_no_solution_costs_less_than_the_optimum_nor_more_than_the_cheapest_labels_alone(problem):
    cost = solve(*tensors(problem)).cost.item()
    assert cost >= minimum_cost(problem) - 1e-6
    stuff_only = AMWC(
        problem.node_costs, problem.edges, problem.edge_costs, np.zeros_like(problem.partitionable)
    )
    labels = problem.node_costs.argmin(1)
    ends = labels[problem.edges]
    start = solve(*tensors(stuff_only), start=torch.as_tensor(labels))
    assert start.cost <= evaluate(stuff_only, labels, ends[:, 0] != ends[:, 1]) + 1e-6


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**31),
    st.integers(1, 25),
    st.integers(1, 4),
    st.sampled_from(["mixed", "attractive", "repulsive", "ties"]),
    st.sampled_from(["some", "all", "none"]),
)
def test_a_batch_has_the_solutions_of_its_items(seed, num_nodes, num_labels, kind, things):
    items = [random_problem(seed, num_nodes, num_labels, 60, kind, things)]
    rng = np.random.default_rng(seed)
    for factor in (0.01, 1000.0):
        node_costs = factor * rng.normal(size=items[0].node_costs.shape)
        edge_costs = factor * rng.normal(size=items[0].edge_costs.shape)
        items.append(AMWC(node_costs, items[0].edges, edge_costs, items[0].partitionable))
    nodes, edges, costs, partitionable = tensors(items[0])
    nodes = torch.stack([torch.as_tensor(item.node_costs) for item in items])
    costs = torch.stack([torch.as_tensor(item.edge_costs) for item in items])
    batch = solve(nodes, edges, costs, partitionable)
    for index, item in enumerate(items):
        alone = solve(*tensors(item))
        assert same(TensorSolution(*(part[index] for part in batch)), alone)
        assert_valid(item, alone)
    again = solve(nodes, edges, costs, partitionable, start=batch)
    assert (again.cost <= batch.cost + 1e-9 * (1 + batch.cost.abs())).all()


@pytest.mark.parametrize("method", ["fast", "default"])
def test_a_batch_of_scenes_of_any_noise_has_the_solutions_of_its_items(method):
    items = [street(40, 50, noise, seed) for seed, noise in enumerate([0.5, 4.0, 2.5])]
    _, edges, _, partitionable = tensors(items[0])
    nodes = torch.stack([torch.as_tensor(item.node_costs) for item in items])
    costs = torch.stack([torch.as_tensor(item.edge_costs) for item in items])
    start = nodes.argmin(2)
    batch = solve(nodes, edges, costs, partitionable, method)
    begun = solve(nodes, edges, costs, partitionable, start=start)
    for index, item in enumerate(items):
        assert same(TensorSolution(*(part[index] for part in batch)), solve(*tensors(item), method))
        alone = solve(*tensors(item), start=start[index])
        assert same(TensorSolution(*(part[index] for part in begun)), alone)


@settings(deadline=None, max_examples=100)
@given(random_problems(max_nodes=20, max_labels=4, max_edges=60), st.integers(0, 2**31))
def test_a_start_is_never_made_worse(problem, seed):
    labels = np.random.default_rng(seed).integers(problem.num_labels, size=problem.num_nodes)
    segments = np.random.default_rng(seed + 1).integers(problem.num_nodes, size=problem.num_nodes)
    by_labels = solution.solution_from_clusters(problem, labels, labels)
    by_segments = solution.solution_from_clusters(problem, labels, segments)
    begun = solve(*tensors(problem), start=torch.as_tensor(labels))
    assert begun.cost.item() <= by_labels.cost + 1e-9 * (1 + abs(by_labels.cost))
    begun = solve(*tensors(problem), start=as_tensors(by_segments))
    assert begun.cost.item() <= by_segments.cost + 1e-9 * (1 + abs(by_segments.cost))
    assert_valid(problem, begun)


def as_tensors(found: Solution) -> TensorSolution:
    return TensorSolution(*map(torch.as_tensor, (found.labels, found.segments, found.cuts, found.cost)))


def test_a_solution_as_start_brings_its_segments_along():
    edges = torch.tensor([[0, 1], [1, 2]])
    problem = (torch.zeros(3, 1), edges, torch.tensor([-1.0, 2.0]), torch.ones(1, dtype=torch.bool))
    best = solve(*problem)
    assert best.segments.tolist() == solve(*problem, start=best).segments.tolist() == [0, 1, 1]


def test_clear_scenes_are_solved_to_the_truth():
    problem = grid_problem(12, 16, num_labels=4, noise=0.1, seed=0)
    found = solve(*tensors(problem))
    rows, columns = np.divmod(np.arange(12 * 16), 16)
    inside = (rows >= 3) & (rows < 10) & (columns >= 1) & (columns < 15)
    assert (found.labels.numpy() == np.where(inside, 0, 3)).all()
    assert found.segments.max() + 1 == 3


def street(height: int, width: int, noise: float, seed: int) -> AMWC:
    """Discs of four thing classes on bands of four stuff classes, all costs under smooth noise."""
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(seed)
    semantic = 4 + np.arange(height)[:, None] * 4 // height + np.zeros((1, width), int)
    instance = np.zeros((height, width), int)
    rows, columns = np.mgrid[:height, :width]
    for number in range(1, 13):
        centre = rng.uniform(0, height), rng.uniform(0, width)
        disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < rng.uniform(3, height / 6) ** 2
        semantic[disc], instance[disc] = rng.integers(4), number
    field = [6 * ndimage.gaussian_filter(rng.normal(size=(height, width)), 3) for _ in range(8)]
    logits = 3.0 * (semantic == np.arange(8)[:, None, None]) + noise * np.stack(field)
    edges = grid_edges((height, width), (1, 4, 16))
    region = (semantic * 100 + instance).ravel()
    same_region = region[edges[:, 0]] == region[edges[:, 1]]
    wobble = ndimage.gaussian_filter1d(rng.normal(size=len(edges)), 2.0)
    edge_costs = np.where(same_region, 2.0, -2.0) + 1.5 * noise * wobble
    node_costs = np.log(np.exp(logits).sum(0)) - logits
    return AMWC(node_costs.reshape(8, -1).T, edges, edge_costs, np.arange(8) < 4)


@pytest.mark.parametrize("things", [True, False])
@pytest.mark.parametrize("noise", [1.5, 2.5, 4.0])
@pytest.mark.parametrize("seed", range(3))
def test_street_scenes_cost_little_more_than_by_default(noise, seed, things):
    problem = street(48, 80, noise, seed)
    problem = AMWC(problem.node_costs, problem.edges, problem.edge_costs, problem.partitionable & things)
    best = amwc.solve(problem).cost
    assert solve(*tensors(problem)).cost.item() <= best + 0.01 * abs(best)


@pytest.mark.parametrize("magnitude", [1e-280, 1e-30, 1e30, 1e300])
def test_the_unit_of_the_costs_does_not_matter(magnitude):
    problem = random_problem(1, num_nodes=40, num_labels=3, num_edges=100)
    nodes, edges, costs, partitionable = tensors(problem)
    power = 2.0 ** round(np.log2(magnitude))
    assert same(
        solve(nodes * power, edges, costs * power, partitionable), solve(nodes, edges, costs, partitionable)
    )


def test_inputs_are_left_as_they_were():
    inputs = tensors(random_problem(5, num_nodes=30, num_labels=3, num_edges=90))
    before = [part.clone() for part in inputs]
    solve(*inputs)
    assert all(map(torch.equal, before, inputs))


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        (
            "node_costs",
            torch.zeros(2, 3, 1),
            ValueError,
            r"\(B, n, K\) and \(B, m\), got \(2, 3, 1\) and \(2,\)",
        ),
        ("node_costs", torch.zeros(0, 2), ValueError, "at least one node and one label"),
        ("node_costs", torch.full((3, 2), torch.nan), ValueError, "node_costs must be finite.*instance 0"),
        ("node_costs", torch.zeros(3, 2, dtype=torch.long), TypeError, "node_costs must be floating"),
        ("edge_costs", torch.zeros(3), ValueError, r"edge_costs must have shape \(2,\), got \(3,\)"),
        ("edge_costs", torch.tensor([1.0, torch.inf]), ValueError, "edge_costs must be finite"),
        ("edges", torch.zeros(2, 2), TypeError, "edges must be integers"),
        ("edges", torch.zeros(2, 3, dtype=torch.long), ValueError, r"edges must have shape \(m, 2\)"),
        ("edges", torch.tensor([[0, 1], [1, 3]]), ValueError, "nodes 0 to 2, but hold 0 to 3"),
        ("edges", torch.tensor([[0, 1], [2, 2]]), ValueError, "self-loop"),
        (
            "partitionable",
            torch.ones(3, dtype=torch.bool),
            ValueError,
            r"partitionable must have shape \(2,\)",
        ),
        ("partitionable", torch.ones(2), TypeError, "partitionable must be bool"),
        ("method", "best", ValueError, 'method must be "fast" or "default"'),
        (
            "start",
            torch.zeros(2, dtype=torch.long),
            ValueError,
            "start must hold a number for each of 1 × 3 nodes",
        ),
        ("start", torch.full((3,), 2), ValueError, "start must lie in 0 to 1, got 2 to 2"),
        ("start", torch.zeros(3), TypeError, "start must be integers"),
        ("start", np.zeros(3, int), TypeError, "start must be a tensor or a TensorSolution, got a ndarray"),
        (
            "edges",
            torch.zeros(2, 2, dtype=torch.long, device="meta"),
            ValueError,
            "edges is on meta, but node_costs on cpu",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(name, value, error, message):
    good = {
        "method": "fast",
        "node_costs": torch.zeros(3, 2),
        "edges": torch.tensor([[0, 1], [1, 2]]),
        "edge_costs": torch.tensor([1.0, -1.0]),
        "partitionable": torch.tensor([True, False]),
    }
    with pytest.raises(error, match=message):
        solve(**{**good, name: value})


def test_a_nan_is_named_by_its_instance():
    costs = torch.zeros(3, 2)
    costs[2, 1] = torch.nan
    edges = torch.tensor([[0, 1], [1, 2]])
    with pytest.raises(ValueError, match="edge_costs must be finite, got NaN or infinity in instance 2"):
        solve(torch.zeros(3, 3, 2), edges, costs, torch.tensor([True, False]))


def test_solvers_on_arrays_do_not_import_torch():
    # The package does; its solvers, given a package that does not, get by without.
    path = list(difflayers.__path__)
    code = (
        f"import sys, types; package = types.ModuleType('difflayers'); package.__path__ = {path}; "
        "sys.modules['difflayers'] = package; import difflayers.amwc; print('torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "False"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("noise", [1.5, 4.0])
def test_a_gpu_finds_the_same_solution_as_a_cpu_every_time(noise):
    problem = street(48, 80, noise, seed=0)
    expected = solve(*tensors(problem))
    for _ in range(3):
        found = solve(*tensors(problem, torch.device("cuda")))
        assert found.labels.is_cuda
        assert same(found, expected)
