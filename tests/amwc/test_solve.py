"""Claims about every method of solve, on random graphs of all kinds."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers import multicut, mwc
from difflayers.amwc import AMWC, evaluate, is_feasible, lower_bound, solve, solve_exact
from difflayers.amwc.level import make_level
from difflayers.amwc.merging import merge_partners
from difflayers.graph import grid_edges
from tests.amwc.problems import grid_problem, random_problem, random_problems

METHODS = ("fast", "default", "best")


@settings(deadline=None, max_examples=150)
@given(random_problems(max_nodes=30, max_labels=4, max_edges=90), st.sampled_from(METHODS))
def test_solutions_are_feasible_and_their_cost_is_the_objective(problem, method):
    solution = solve(problem, method)
    assert is_feasible(problem, solution.labels, solution.cuts)
    assert solution.cost == evaluate(problem, solution.labels, solution.cuts)


@settings(deadline=None, max_examples=100)
@given(random_problems(max_nodes=30, max_labels=4, max_edges=60))
def test_segments_are_the_connected_parts_of_things_and_the_whole_of_stuff(problem):
    solution = solve(problem)
    labels, segments = solution.labels, solution.segments
    first = [int(np.flatnonzero(segments == s)[0]) for s in range(segments.max() + 1)]
    assert first == sorted(first)
    for s in range(segments.max() + 1):
        members = np.flatnonzero(segments == s)
        label = labels[members[0]]
        assert (labels[members] == label).all()
        if not problem.partitionable[label]:
            assert (labels == label).sum() == len(members)
            continue
        reached = {int(members[0])}
        uncut = problem.edges[solution.cuts == 0]
        for _ in members:
            reached |= {int(b) for a, b in [*uncut, *uncut[:, ::-1]] if int(a) in reached}
        assert reached == set(members.tolist())
    ends = segments[problem.edges]
    assert (solution.cuts == (ends[:, 0] != ends[:, 1])).all()


@settings(deadline=None, max_examples=100)
@given(random_problems(max_nodes=30, max_labels=4, max_edges=90))
def test_best_is_never_worse_than_default_nor_default_than_fast(problem):
    fast, default, best = (solve(problem, method).cost for method in METHODS)
    assert default <= fast + 1e-9 * (1 + abs(fast))
    assert best <= default + 1e-9 * (1 + abs(default))


@settings(deadline=None, max_examples=100)
@given(
    random_problems(max_nodes=20, max_labels=4, max_edges=60), st.sampled_from(METHODS), st.integers(0, 2**31)
)
def test_a_start_is_never_made_worse(problem, method, seed):
    labels = np.random.default_rng(seed).integers(problem.num_labels, size=problem.num_nodes)
    cuts = labels[problem.edges[:, 0]] != labels[problem.edges[:, 1]]
    before = evaluate(problem, labels, cuts)
    assert solve(problem, method, start=labels).cost <= before + 1e-9 * (1 + abs(before))


@settings(deadline=None, max_examples=60)
@given(random_problems(max_nodes=14, max_labels=4, max_edges=45), st.sampled_from(METHODS))
def test_no_other_label_at_a_single_node_lowers_the_cost_of_a_multiway_cut(problem, method):
    stuff = problem.with_node_costs(problem.node_costs, np.zeros(problem.num_labels, bool))
    solution = solve(stuff, method)
    for v in range(problem.num_nodes):
        for label in range(problem.num_labels):
            labels = solution.labels.copy()
            labels[v] = label
            cuts = labels[problem.edges[:, 0]] != labels[problem.edges[:, 1]]
            assert evaluate(stuff, labels, cuts) >= solution.cost - 1e-6


def test_a_solution_as_start_brings_its_segments_along():
    problem = multicut.Multicut(3, np.array([[0, 1], [1, 2]]), np.array([-1.0, 2.0]))
    best = multicut.solve(problem)
    again = multicut.solve(problem, "fast", start=best)
    assert best.segments.tolist() == again.segments.tolist() == [0, 1, 1]


@pytest.mark.parametrize("method", METHODS)
def test_clear_scenes_are_solved_to_the_truth(method):
    problem = grid_problem(12, 16, num_labels=4, noise=0.1, seed=0)
    solution = solve(problem, method)
    rows, columns = np.divmod(np.arange(12 * 16), 16)
    inside = (rows >= 3) & (rows < 10) & (columns >= 1) & (columns < 15)
    assert (solution.labels == np.where(inside, 0, 3)).all()
    assert solution.segments.max() + 1 == 3


def test_parallel_edges_add_up():
    edges = np.array([[0, 1], [1, 0], [0, 1]])
    for costs, together in (([3.0, -1.0, -1.0], True), ([3.0, -2.0, -2.0], False)):
        solution = multicut.solve(multicut.Multicut(2, edges, np.array(costs)))
        assert (solution.segments[0] == solution.segments[1]) == together
        assert solution.cuts.tolist() == [int(not together)] * 3


@settings(deadline=None, max_examples=60)
@given(
    random_problems(max_nodes=25, max_labels=4, max_edges=80, ties=False),
    st.sampled_from([0.0, 0.3, 0.7]),
    st.integers(0, 2**31),
)
def test_merging_does_not_depend_on_how_nodes_are_numbered(problem, patience, seed):
    order = np.random.default_rng(seed).permutation(problem.num_nodes)
    component, count = merge_round(problem, patience)
    renumbered, renumbered_count = merge_round(permuted(problem, order), patience)
    assert renumbered_count == count
    pairs = np.unique(np.stack([component[order], renumbered]), axis=1)
    assert pairs.shape[1] == count


def merge_round(problem: AMWC, patience: float) -> tuple[np.ndarray, int]:
    level = make_level(problem.rows, problem.node_costs, problem.partitionable)
    return merge_partners(level, patience)


def permuted(problem: AMWC, order: np.ndarray) -> AMWC:
    return AMWC(
        problem.node_costs[order],
        np.argsort(order)[problem.edges],
        problem.edge_costs,
        problem.partitionable,
    )


@settings(deadline=None, max_examples=60)
@given(
    random_problems(max_nodes=40, max_labels=4, max_edges=150, ties=False),
    st.sampled_from(METHODS),
    st.integers(0, 2**31),
)
def test_solutions_do_not_depend_on_how_nodes_are_numbered(problem, method, seed):
    order = np.random.default_rng(seed).permutation(problem.num_nodes)
    solution, renumbered = solve(problem, method), solve(permuted(problem, order), method)
    assert renumbered.cost == pytest.approx(solution.cost, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_a_scene_has_the_same_solution_however_its_nodes_are_numbered(method, noise):
    problem = grid_problem(40, 50, num_labels=6, noise=noise, seed=0)  # large enough for every step of "best"
    order = np.random.default_rng(1).permutation(problem.num_nodes)
    solution, renumbered = solve(problem, method), solve(permuted(problem, order), method)
    assert (renumbered.labels == solution.labels[order]).all()
    assert (renumbered.cuts == solution.cuts).all()
    assert renumbered.cost == pytest.approx(solution.cost, rel=1e-12)


def test_isolated_nodes_take_their_cheapest_label():
    node_costs = np.array([[3.0, 1, 2], [0, 1, 2], [2, 2, 1]])
    problem = AMWC(node_costs, np.zeros((0, 2), int), np.zeros(0), np.array([True, False, False]))
    for method in METHODS:
        solution = solve(problem, method)
        assert solution.labels.tolist() == [1, 0, 2]
        assert solution.cost == 2.0


@pytest.mark.parametrize("method", METHODS)
def test_read_only_transposed_and_int32_inputs_give_the_same_answer(method):
    problem = random_problem(3, num_nodes=40, num_labels=4, num_edges=120)
    expected = solve(problem, method)
    node_costs = np.asfortranarray(problem.node_costs)
    edges = np.asfortranarray(problem.edges.astype(np.int64))
    edge_costs = np.repeat(problem.edge_costs, 2)[::2]
    for array in (node_costs, edges, edge_costs):
        array.flags.writeable = False
    solution = solve(AMWC(node_costs, edges, edge_costs, problem.partitionable), method)
    assert solution.cost == expected.cost
    assert (solution.segments == expected.segments).all()


def test_float32_costs_give_a_cost_close_to_that_of_float64():
    problem = grid_problem(16, 16, num_labels=4, noise=0.5, seed=1)
    single = AMWC(
        problem.node_costs.astype(np.float32),
        problem.edges,
        problem.edge_costs.astype(np.float32),
        problem.partitionable,
    )
    assert single.node_costs.dtype == np.float32
    assert solve(single).cost == pytest.approx(solve(problem).cost, rel=1e-5)


def test_inputs_are_left_as_they_were():
    problem = random_problem(5, num_nodes=30, num_labels=3, num_edges=90)
    before = [array.copy() for array in (problem.node_costs, problem.edges, problem.edge_costs)]
    solve(problem, "best")
    after = (problem.node_costs, problem.edges, problem.edge_costs)
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_answers_do_not_depend_on_the_number_of_threads():
    problems = [random_problem(seed, num_nodes=60, num_labels=4, num_edges=200) for seed in range(12)]
    alone = [solve(problem) for problem in problems]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(solve, problems))
    assert all(
        (a.segments == b.segments).all() and a.cost == b.cost for a, b in zip(alone, together, strict=True)
    )


def test_mwc_is_amwc_without_partitionable_labels():
    problem = random_problem(7, num_nodes=40, num_labels=5, num_edges=120, things="none")
    other = mwc.solve(mwc.MWC(problem.node_costs, problem.edges, problem.edge_costs))
    assert other.cost == solve(problem).cost
    differ = other.labels[problem.edges[:, 0]] != other.labels[problem.edges[:, 1]]
    assert (other.cuts == differ).all()


def test_segments_are_a_start_of_a_multicut():
    rng = np.random.default_rng(0)
    edges = grid_edges((12, 12), (1, 3))
    problem = multicut.Multicut(144, edges, rng.normal(size=len(edges)))
    best = multicut.solve(problem, "best")
    again = multicut.solve(problem, "fast", start=best.segments)
    assert again.cost <= best.cost + 1e-9
    with pytest.raises(ValueError, match="start must lie in 0 to 143, got 0 to 144"):
        multicut.solve(problem, start=np.arange(144) + np.eye(144, dtype=int)[143])


def test_a_problem_of_another_module_is_refused_by_name():
    problem = multicut.Multicut(2, np.array([[0, 1]]), np.ones(1))
    for solver in (solve, solve_exact, lower_bound):
        with pytest.raises(TypeError, match="problem must be an AMWC, got a Multicut"):
            solver(problem)
