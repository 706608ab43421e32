"""Claims about infinite costs of lifted multicuts, against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers import lpmp
from difflayers.lifted_multicut import (
    LiftedMulticut,
    certify,
    evaluate,
    is_feasible,
    lower_bound,
    solve,
    solve_exact,
)
from tests.amwc.brute_force import partitions
from tests.lifted_multicut.test_lifted_multicut import METHODS, random_problem

INF = np.inf
REFUSED = r"must be cut|must not be cut|contradict"


def constrained_problem(seed: int, nodes: int, edges: int, links: int) -> LiftedMulticut:
    problem = random_problem(seed, nodes, edges, edges, ties=seed % 2 == 0)
    rng = np.random.default_rng(seed)
    costs = [problem.edge_costs.copy(), problem.lifted_costs.copy()]
    for part in costs:
        part[rng.permutation(len(part))[:links]] = rng.choice([-INF, INF], min(links, len(part)))
    return LiftedMulticut(nodes, problem.edges, costs[0], problem.lifted_edges, costs[1])


def least(problem: LiftedMulticut) -> float:
    """The least cost of all connected partitions, written down from the definition."""
    pairs = [*zip(problem.edges.tolist(), problem.edge_costs.tolist(), strict=True)]
    pairs += zip(problem.lifted_edges.tolist(), problem.lifted_costs.tolist(), strict=True)
    found = INF
    free = LiftedMulticut(
        problem.num_nodes, problem.edges, np.zeros(len(problem.edges)), np.empty((0, 2), int), np.empty(0)
    )
    for block in partitions(problem.num_nodes):
        broken = any(
            cost == INF if block[u] != block[v] else cost == -INF for (u, v), cost in pairs if np.isinf(cost)
        )
        if not broken and is_feasible(free, np.array(block)):
            found = min(found, sum(c for (u, v), c in pairs if block[u] != block[v] and np.isfinite(c)))
    return found


@settings(deadline=None, max_examples=150)
@given(
    st.builds(
        constrained_problem, st.integers(0, 2**31), st.integers(2, 6), st.integers(2, 9), st.integers(0, 2)
    )
)
def test_exact_is_the_least_that_keeps_all_constraints_and_says_where_none_does(problem):
    optimum = least(problem)
    if optimum == INF:
        for solver in (solve, solve_exact):
            with pytest.raises(ValueError, match=REFUSED):
                solver(problem)
        return
    exact = solve_exact(problem)
    assert exact.proven_optimal
    assert exact.cost == pytest.approx(optimum, abs=1e-9)
    assert exact.lower_bound <= optimum + 1e-12
    assert lower_bound(problem) <= optimum + 1e-12


@settings(deadline=None, max_examples=100)
@given(
    st.builds(
        constrained_problem, st.integers(0, 2**31), st.integers(2, 30), st.integers(2, 60), st.integers(0, 3)
    )
)
def test_no_method_breaks_a_constraint_or_goes_below_the_bound(problem):
    for method in METHODS:
        try:
            solution = solve(problem, method)
        except ValueError:
            with pytest.raises(ValueError, match=REFUSED):
                solve(problem, method)
            continue
        assert is_feasible(problem, solution.segments)
        assert np.isfinite(solution.cost)
        assert solution.cost == evaluate(problem, solution.segments)
        again = solve(problem, "fast", start=solution)
        assert again.cost <= solution.cost + 1e-9
        assert certify(problem, solution).lower_bound <= solution.cost


def test_a_far_link_is_kept_over_a_long_repulsive_path():
    n = 600
    path = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1)
    problem = LiftedMulticut(n, path, -np.ones(n - 1), [[0, n - 1]], [INF])
    assert solve(problem).segments.tolist() == [0] * n


@pytest.mark.parametrize(
    ("edge_costs", "lifted", "lifted_costs", "message"),
    [
        (
            [INF, INF, 0.0],
            [[0, 2]],
            [-INF],
            r"nodes 0 and 2 must be cut \(cost -inf\), but costs of inf join",
        ),
        ([0.0, -INF, 0.0], [[0, 3]], [INF], r"nodes 0 and 3 must not be cut \(cost inf\), but no path"),
        ([0.0, 0.0, 0.0], [[0, 2], [2, 0]], [INF, -INF], "nodes 2 and 0 must be cut"),
    ],
)
def test_contradictions_name_nodes(edge_costs, lifted, lifted_costs, message):
    problem = LiftedMulticut(4, [[0, 1], [1, 2], [2, 3]], edge_costs, lifted, lifted_costs)
    for solver in (solve, solve_exact, lower_bound):
        with pytest.raises(ValueError, match=message):
            solver(problem)


def test_what_only_a_search_finds_impossible_is_undecided_by_solve_and_decided_by_exact():
    # A path 0-1-2, whose ends must be together and whose first edge's ends must not.
    problem = LiftedMulticut(3, [[0, 1], [1, 2]], [0.0, 0.0], [[0, 2], [1, 0]], [INF, -INF])
    with pytest.raises(ValueError, match=r"undecided whether the constraints contradict"):
        solve(problem)
    with pytest.raises(ValueError, match=r"^the constraints contradict each other"):
        solve_exact(problem)


def test_constraints_survive_files(tmp_path):
    problem = constrained_problem(3, 12, 20, 3)
    lpmp.write(tmp_path / "problem.txt", problem)
    again = lpmp.read(tmp_path / "problem.txt")
    for name in ("num_nodes", "edges", "edge_costs", "lifted_edges", "lifted_costs"):
        assert np.array_equal(getattr(problem, name), getattr(again, name))
