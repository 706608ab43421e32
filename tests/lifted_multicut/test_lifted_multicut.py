"""Claims about lifted multicut, against brute force, the integer program and plain multicut."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers import multicut
from difflayers.graph import grid_edges
from difflayers.lifted_multicut import LiftedMulticut, evaluate, is_feasible, solve, solve_exact
from tests.amwc.brute_force import partitions
from tests.amwc.greedy import greedy_segments

METHODS = ("fast", "default", "best")


def random_problem(seed: int, num_nodes: int, num_edges: int, num_lifted: int, ties: bool) -> LiftedMulticut:
    rng = np.random.default_rng(seed)

    def pairs(count: int) -> np.ndarray:
        count = count if num_nodes > 1 else 0
        tails = rng.integers(num_nodes, size=count)
        heads = (tails + rng.integers(1, max(num_nodes, 2), size=count)) % num_nodes
        return np.stack([tails, heads], axis=1)

    edges, lifted = pairs(num_edges), pairs(num_lifted)
    costs = [rng.integers(-2, 3, len(p)) * 1.0 if ties else rng.normal(size=len(p)) for p in (edges, lifted)]
    return LiftedMulticut(num_nodes, edges, costs[0], lifted, costs[1])


def random_problems(max_nodes: int, max_edges: int) -> st.SearchStrategy[LiftedMulticut]:
    return st.builds(
        random_problem,
        st.integers(0, 2**31),
        st.integers(1, max_nodes),
        st.integers(0, max_edges),
        st.integers(0, max_edges),
        st.booleans(),
    )


def grid_problem(side: int, noise: float, seed: int) -> LiftedMulticut:
    """A square on a background; neighbours say little, pairs at distance 3 say more."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((side, side), int)
    truth[side // 4 : -side // 4, side // 4 : -side // 4] = 1
    edges, lifted = grid_edges((side, side), (1,)), grid_edges((side, side), (3,))
    costs = [
        np.where(truth.ravel()[p[:, 0]] == truth.ravel()[p[:, 1]], 1, -1) + noise * rng.normal(size=len(p))
        for p in (edges, lifted)
    ]
    return LiftedMulticut(side * side, edges, costs[0], lifted, costs[1])


@settings(deadline=None, max_examples=150)
@given(random_problems(max_nodes=40, max_edges=120), st.sampled_from(METHODS))
def test_segments_are_connected_and_cost_what_is_said(problem, method):
    solution = solve(problem, method)
    assert is_feasible(problem, solution.segments)
    assert solution.cost == evaluate(problem, solution.segments)
    for cuts, pairs in ((solution.cuts, problem.edges), (solution.lifted_cuts, problem.lifted_edges)):
        assert (cuts == (solution.segments[pairs[:, 0]] != solution.segments[pairs[:, 1]])).all()
    first = np.unique(solution.segments, return_index=True)[1]
    assert (np.diff(first) > 0).all()


@settings(deadline=None, max_examples=100)
@given(random_problems(max_nodes=40, max_edges=120))
def test_no_method_costs_more_than_the_one_before_it(problem):
    fast, default, best = (solve(problem, method).cost for method in METHODS)
    assert default <= fast + 1e-9 * (1 + abs(fast))
    assert best <= default + 1e-9 * (1 + abs(default))


@settings(deadline=None, max_examples=100)
@given(random_problems(max_nodes=40, max_edges=120).filter(lambda problem: not whole(problem)))
def test_default_is_never_worse_than_greedy(problem):
    pairs = problem.edges, problem.edge_costs, problem.lifted_edges, problem.lifted_costs
    greedy = greedy_segments(problem.num_nodes, *pairs)
    cost = evaluate(problem, np.unique(greedy, return_inverse=True)[1])
    assert solve(problem).cost <= cost + 1e-9


def whole(problem: LiftedMulticut) -> bool:
    """Whether costs are whole numbers: greedy solutions then depend on the order of ties."""
    return bool((problem.edge_costs == np.round(problem.edge_costs)).all())


@pytest.mark.parametrize(
    ("num_nodes", "edges", "costs", "lifted", "lifted_costs", "optimum"),
    [
        (3, [[0, 1], [1, 2]], [-1, -1], [[0, 2]], [10], 0),
        (5, [[0, 1], [1, 2], [2, 3], [3, 4]], [-1, -1, -1, -1], [[0, 4]], [10], 0),
        (
            5,
            [[0, 1], [0, 3], [0, 4], [1, 4], [2, 3], [2, 4]],
            [-3, -1, 1, 1, 2, 2],
            [[0, 2], [1, 3]],
            [2, -1],
            -3,
        ),
    ],
)
def test_a_strong_lifted_edge_joins_what_lies_between_its_ends(
    num_nodes, edges, costs, lifted, lifted_costs, optimum
):
    arrays = np.array(edges), np.array(costs, float), np.array(lifted), np.array(lifted_costs, float)
    problem = LiftedMulticut(num_nodes, *arrays)
    feasible = (np.array(block) for block in partitions(num_nodes))
    assert min(evaluate(problem, block) for block in feasible if is_feasible(problem, block)) == optimum
    for method in ("default", "best"):
        assert solve(problem, method).cost == optimum


@settings(deadline=None, max_examples=60)
@given(random_problems(max_nodes=7, max_edges=15))
def test_exact_is_the_least_over_all_connected_partitions(problem):
    solution = solve_exact(problem)
    feasible = (np.array(block) for block in partitions(problem.num_nodes))
    least = min(evaluate(problem, block) for block in feasible if is_feasible(problem, block))
    assert solution.proven_optimal
    assert solution.cost == pytest.approx(least, abs=1e-5)
    assert is_feasible(problem, solution.segments)


@settings(deadline=None, max_examples=40)
@given(random_problems(max_nodes=10, max_edges=25))
def test_bound_exact_and_methods_are_in_order(problem):
    exact = solve_exact(problem)
    assert exact.proven_optimal
    assert exact.lower_bound <= exact.cost
    for method in METHODS:
        assert exact.cost <= solve(problem, method).cost + 1e-5


@settings(deadline=None, max_examples=30)
@given(random_problems(max_nodes=12, max_edges=40))
def test_without_lifted_edges_it_is_multicut(problem):
    plain = multicut.Multicut(problem.num_nodes, problem.edges, problem.edge_costs)
    same = LiftedMulticut(plain.num_nodes, plain.edges, plain.edge_costs, np.empty((0, 2), int), np.empty(0))
    assert solve_exact(same).cost == pytest.approx(multicut.solve_exact(plain).cost, abs=1e-5)


def test_lifted_edges_on_edges_add_up_to_multicut():
    problem = random_problem(3, num_nodes=12, num_edges=30, num_lifted=0, ties=False)
    half = problem.edge_costs / 2
    doubled = LiftedMulticut(12, problem.edges, half, problem.edges, half)
    plain = multicut.Multicut(12, problem.edges, problem.edge_costs)
    assert solve_exact(doubled).cost == pytest.approx(multicut.solve_exact(plain).cost, abs=1e-5)


def test_a_lifted_edge_attracts_only_where_edges_lead():
    # A path 0-1-2 whose ends attract strongly: worth joining through the repulsive middle.
    lifted, costs = np.array([[0, 2], [0, 3]]), np.array([5.0, 5.0])
    problem = LiftedMulticut(4, np.array([[0, 1], [1, 2]]), np.array([-1.0, -1.0]), lifted, costs)
    exact = solve_exact(problem)
    # Node 3 has no edge, so its lifted edge is cut whatever it costs.
    assert exact.segments.tolist() == [0, 0, 0, 1]
    assert exact.lifted_cuts.tolist() == [0, 1]
    assert exact.cost == 5.0


@pytest.mark.parametrize("seed", range(3))
def test_noisy_grids_are_solved_to_within_one_percent_of_the_proven_optimum(seed):
    problem = grid_problem(6, noise=0.6, seed=seed)
    exact = solve_exact(problem)
    assert exact.proven_optimal
    assert exact.cost <= solve(problem, "best").cost <= exact.cost + 0.01 * abs(exact.cost)


def test_without_time_the_best_known_solution_comes_back_unproven():
    problem = grid_problem(12, noise=1.5, seed=0)
    solution = solve_exact(problem, time_limit=0.0)
    assert not solution.proven_optimal
    assert solution.cost == solve(problem, "best").cost


def test_a_star_of_equal_weights_merges_whole():
    leaves = np.arange(1, 3000)
    edges = np.stack([np.zeros_like(leaves), leaves], axis=1)
    solution = solve(LiftedMulticut(3000, edges, np.ones(2999), edges[:0], np.empty(0)), "fast")
    assert solution.cost == 0.0


def test_answers_do_not_depend_on_threads_or_repetition():
    problems = [grid_problem(30, noise=1.5, seed=seed) for seed in range(4)]
    once = [solve(problem, "best") for problem in problems]
    with ThreadPoolExecutor(2) as pool:
        again = list(pool.map(lambda problem: solve(problem, "best"), problems))
    for a, b in zip(once, again, strict=True):
        assert a.cost == b.cost
        assert (a.segments == b.segments).all()


def test_float32_costs_are_solved_as_such_and_summed_in_float64():
    problem = grid_problem(30, noise=1.0, seed=0)
    edges, lifted = problem.edge_costs.astype(np.float32), problem.lifted_costs.astype(np.float32)
    single = LiftedMulticut(900, problem.edges, edges, problem.lifted_edges, lifted)
    assert single.edge_costs.dtype == np.float32
    assert solve(single).cost == pytest.approx(solve(problem).cost, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "lifted_costs",
            np.zeros(3),
            r"lifted_costs must have shape \(2,\), got \(3,\): one per row of lifted_edges",
        ),
        ("lifted_costs", np.array([0.0, np.nan]), "lifted_costs must be .*"),
        ("lifted_edges", np.array([[0, 1], [1, 4]]), r"lifted_edges must index nodes 0 to 3, but row 1"),
        ("lifted_edges", np.array([[0, 1], [2, 2]]), r"lifted_edges must join different nodes, but row 1"),
        ("edge_costs", np.zeros(3), r"edge_costs must have shape \(2,\), got \(3,\): one per row of edges"),
        ("num_nodes", 0, "num_nodes must be an integer of at least 1"),
    ],
)
def test_bad_arguments_are_refused_by_name(name, value, message):
    pairs = np.array([[0, 1], [1, 2]])
    good = {"num_nodes": 4, "edges": pairs, "edge_costs": np.ones(2)}
    good |= {"lifted_edges": pairs, "lifted_costs": np.ones(2)}
    with pytest.raises(ValueError, match=message):
        LiftedMulticut(**{**good, name: value})
    with pytest.raises(ValueError, match='"fast", "default" or "best"'):
        solve(LiftedMulticut(**good), "quick")
