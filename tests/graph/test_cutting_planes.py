"""What the exact solvers do when time, memory or HiGHS fail them, and on Ctrl-C."""

import signal
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.sparse import csr_array

from difflayers import amwc, lifted_multicut, multicut
from difflayers.graph import cutting_planes, grid_edges
from difflayers.graph.dual_bounds import dual_bound
from difflayers.lifted_multicut import LiftedMulticut
from tests.amwc.brute_force import minimum_cost
from tests.amwc.exact_arithmetic import lifted_optimum, wide_lifted_problem
from tests.amwc.problems import grid_problem, random_problem

HARD = grid_problem(12, 15, num_labels=4, noise=1.5, seed=2)


def hard_lifted() -> LiftedMulticut:
    rng = np.random.default_rng(0)
    edges, lifted = grid_edges((12, 12), [1]), grid_edges((12, 12), [3])
    return LiftedMulticut(144, edges, rng.normal(size=len(edges)), lifted, rng.normal(size=len(lifted)))


class Clock:
    """A clock that is a second later whenever it is asked; it counts what happens after the deadline."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        self.seconds += 1.0
        return self.seconds


@pytest.mark.parametrize("limit", [0, 5, 20])
@pytest.mark.parametrize("kind", ["amwc", "lifted"])
def test_highs_has_the_time_that_is_left_and_nothing_starts_after_the_deadline(monkeypatch, kind, limit):
    clock, calls = Clock(), []
    monkeypatch.setattr("difflayers._arguments.time", clock)
    monkeypatch.setattr(cutting_planes, "time", clock)

    def watched(solver):
        def call(*arguments, options, **others):
            calls.append((clock.seconds, options["time_limit"]))
            return solver(*arguments, options=options, **others)

        return call

    out_of_time = SimpleNamespace(status=1, x=None, mip_dual_bound=None)
    monkeypatch.setattr(cutting_planes, "linprog", watched(linprog))
    monkeypatch.setattr(cutting_planes, "milp", watched(lambda *_, **__: out_of_time))
    if kind == "amwc":
        solution = amwc.solve_exact(HARD, time_limit=limit)
        assert solution.lower_bound >= amwc.lower_bound(HARD)
        assert solution.cost <= amwc.solve(HARD, "best").cost
    else:
        solution = lifted_multicut.solve_exact(hard_lifted(), time_limit=limit)
        assert solution.cost <= lifted_multicut.solve(hard_lifted(), "best").cost
    assert not solution.proven_optimal
    assert solution.lower_bound <= solution.cost
    deadline = limit + 1.0
    assert limit == 0 or calls
    # The clock is read once to see whether it is late, and once for what is left.
    assert all(now <= deadline and seconds <= max(deadline - now, 1e-3) for now, seconds in calls)
    # Only what is under way at the deadline is ended, which looks at the clock a few times.
    assert clock.seconds <= deadline + 10


def test_the_best_solution_known_comes_back_without_memory(monkeypatch):
    def fails(*_, **__):
        raise MemoryError

    monkeypatch.setattr(cutting_planes, "linprog", fails)
    solution = amwc.solve_exact(HARD)
    assert solution.cost == amwc.solve(HARD, "best").cost
    assert amwc.lower_bound(HARD) <= solution.lower_bound <= solution.cost
    assert not solution.proven_optimal


@pytest.mark.parametrize("seed", range(3))
def test_small_problems_are_solved_even_if_highs_solves_nothing(monkeypatch, seed):
    def unsolved(*_, **__):
        return SimpleNamespace(status=4, x=None, mip_dual_bound=None)

    monkeypatch.setattr(cutting_planes, "linprog", unsolved)
    monkeypatch.setattr(cutting_planes, "milp", unsolved)
    problem = random_problem(seed, num_nodes=4, num_labels=2, num_edges=5)
    solution = amwc.solve_exact(problem)
    assert solution.proven_optimal
    assert solution.cost == pytest.approx(minimum_cost(problem), rel=1e-12)
    lifted = wide_lifted_problem(seed, "forbidden")
    assert lifted_multicut.solve_exact(lifted).cost == lifted_optimum(lifted)


def test_a_wrong_linear_program_proves_nothing_false(monkeypatch):
    # Duals of other costs, and points of them: bounds hold for any duals.
    def wrong(costs, **arguments):
        rng = np.random.default_rng(len(costs))
        return linprog(costs + rng.normal(scale=np.abs(costs).max(), size=len(costs)), **arguments)

    monkeypatch.setattr(cutting_planes, "linprog", wrong)
    for seed in range(5):
        problem = random_problem(seed, num_nodes=4, num_labels=2, num_edges=6)
        solution = amwc.solve_exact(problem)
        least = minimum_cost(problem)
        assert solution.lower_bound <= least + 1e-12
        assert not solution.proven_optimal or solution.cost == pytest.approx(least, rel=1e-12)


def test_dual_bounds_are_those_of_the_formula_without_rounding():
    rows = np.array([[-1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
    rng = np.random.default_rng(0)
    for _ in range(200):
        costs = rng.normal(size=3) * 10.0 ** rng.integers(-3, 12, 3)
        duals, prices = np.abs(rng.normal(size=2)) * 10.0 ** rng.integers(-3, 12), rng.normal(size=1)
        least, lower, upper = np.array([0.0, -1.0]), np.array([0, 0, 1.0]), np.array([1.0, 0, 1])
        equalities = csr_array(np.array([[1.0, 1.0, 0.0]]))
        found = dual_bound(costs, csr_array(rows), least, duals, equalities, prices, lower, upper).bound
        reduced = [
            Fraction(costs[j])
            - sum(Fraction(rows[i, j]) * Fraction(duals[i]) for i in range(2))
            - Fraction(equalities.toarray()[0, j]) * Fraction(prices[0])
            for j in range(3)
        ]
        exact = -Fraction(duals[1]) + Fraction(prices[0])
        exact += sum(
            min(r * int(low), r * int(high)) for r, low, high in zip(reduced, lower, upper, strict=True)
        )
        size = max(abs(costs).max(), duals.max(), abs(prices).max())
        assert Fraction(found) <= exact + Fraction(size) / 2**48
        assert exact - Fraction(found) <= Fraction(size) / 2**44


def test_ctrl_c_ends_the_exact_solver():
    class Interrupted(Exception):
        pass

    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        # It would take minutes.
        with pytest.raises(Interrupted):
            amwc.solve_exact(HARD)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_a_large_graph_needs_no_table_of_distances_and_ends_no_lower_than_the_bound():
    edges = grid_edges((60, 60), [1, 2])
    costs = np.random.default_rng(0).normal(size=len(edges))
    problem = multicut.Multicut(3600, edges, costs)
    solution = multicut.solve_exact(problem, time_limit=1.0)
    assert multicut.lower_bound(problem) <= solution.lower_bound <= solution.cost
