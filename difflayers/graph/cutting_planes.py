"""The exact solver of all cuts: linear programs with cutting planes, branch and bound, an integer program.

The constraints of a cut are too many to write down, so those that a point violates are added until none is.
Linear programs come first, and their duals prove bounds without regard to tolerances
(`difflayers.graph.dual_bounds`). Branch and bound closes small gaps in the same way. What it leaves open
goes to HiGHS as an integer program, which is faster and proves up to its tolerance of 1e-6.
"""

import contextlib
import heapq
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array, vstack

from difflayers.graph.dual_bounds import DualBound, dual_bound
from difflayers.graph.units import exponent, resolution

# By how much a row has to be violated, and from where on a number counts as whole.
TOLERANCE = 1e-6
# HiGHS finds what differs by 1e-6 at best, so the largest cost it is given is this power of two.
_LARGEST = 20
# At the root, rows of so much slack are dropped whenever the bound rises by such a share of the gap.
_SLACK, _RISE = 0.02, 0.01
# Branch and bound ends after so many variables in all its linear programs, and HiGHS goes on. If HiGHS proves
# nothing, branch and bound takes up again where it ended, so many times as long.
_MOST_BRANCHED, _PATIENCE = 20_000, 100
# What the tolerances of HiGHS may hide: of a pruned branch, and of each reduced cost.
_HIDDEN, _HIDDEN_PER_VARIABLE = 1e-6, 1e-7
# An integer program whose largest cost is more than so many times the median is no proof.
_WIDEST = 2.0**16
# How much of the sum of all costs the optimum that HiGHS claims may differ from the best cost.
_ROUNDING = 2.0**-40
# The status of a program without a solution.
_INFEASIBLE = 2


class Row(NamedTuple):
    """The inequality Σ values · x[columns] ≥ least, whose values are ±1 and whose right side is whole."""

    columns: list[int]
    values: list[float]
    least: float


class Outcome(Protocol):
    """A solution of any cut."""

    @property
    def cost(self) -> float: ...


Solution_co = TypeVar("Solution_co", bound=Outcome, covariant=True)


class Program(Protocol[Solution_co]):
    """A cut as an integer program: min <costs, x> over x in {0, 1} between bounds, without most of its rows.

    Attributes:
        costs: (v,) float64.
        lower, upper: (v,) the least and greatest value of every variable, 0 or 1.
        equalities: (g, v) of entries 1; the variables of each row add up to 1.
    """

    costs: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    equalities: csr_array

    def violated(self, point: np.ndarray, late: Callable[[], bool]) -> list[Row]:
        """Return inequalities that the point (v,) violates; fewer, perhaps none, if it gets `late`."""

    def solution(self, point: np.ndarray) -> Solution_co:
        """Return the feasible solution that an integral point describes, or one near to any other point."""


class Proof(NamedTuple):
    """The best solution known, a bound on the cost of all, and whether these leave no better one."""

    solution: Any
    bound: float
    proven: bool


class _Node(NamedTuple):
    """A part of the search space: the least that its solutions cost, and the bounds of its variables."""

    bound: float
    number: int
    lower: np.ndarray
    upper: np.ndarray


def minimize(
    program: Program[Any], known: Any, bound: float, deadline: float, rows: Sequence[Row] = ()
) -> Proof:
    """Return the optimum of a program, or what is known of it at the deadline.

    Args:
        program: the program; `known.cost` and the costs of its solutions are in its unit.
        known: a feasible solution.
        bound: a number that no solution costs less than.
        deadline: when to end, by `time.monotonic`.
        rows: inequalities of the program to begin with.
    """
    search = _Search(program, known, bound, deadline)
    search.add(rows)
    with contextlib.suppress(MemoryError):
        search.branch(_MOST_BRANCHED)
        if not search.done():
            search.integer_program()
        if not search.done():
            search.branch(_PATIENCE * _MOST_BRANCHED)
    proven = search.proven or search.is_closed(search.bound)
    bound = search.resolution.raised(min(search.bound, search.closed))
    return Proof(search.best, min(bound, search.best.cost), proven)


class _Search:
    def __init__(self, program: Program[Any], known: Any, bound: float, deadline: float) -> None:
        self.program, self.best, self.bound, self.deadline = program, known, bound, deadline
        self.proven = False
        # The least bound of what is searched no further because nothing better can be in there.
        self.closed = np.inf
        self.resolution = resolution(program.costs)
        self.power = _LARGEST - exponent(float(np.abs(program.costs).max(initial=0.0)))
        self.scaled = np.ldexp(program.costs, self.power)
        self.rows: csr_array = csr_array((0, len(program.costs)))
        self.least = np.empty(0)
        self.seen: set[tuple[int, ...]] = set()
        # What is left of the variables' bounds once the root has been searched.
        self.lower, self.upper = program.lower, program.upper
        self.open_nodes = [_Node(bound, 0, program.lower, program.upper)]
        self.count = 1

    def late(self) -> bool:
        return time.monotonic() >= self.deadline

    def done(self) -> bool:
        return self.proven or self.late() or self.is_closed(self.bound)

    def is_closed(self, bound: float) -> bool:
        """Whether nothing that costs the bound or more is better than the best, but for rounding."""
        return self.resolution.closes(self.best.cost, bound)

    def close(self, bound: float) -> list[Any]:
        """No children: solutions that cost no less than the bound are searched no further."""
        self.closed = min(self.closed, self.resolution.raised(bound))
        return []

    def branch(self, most: int) -> None:
        """Best-first branch and bound, `most` variables long; `bound` rises to the least of open nodes."""
        while self.open_nodes:
            self.bound = max(self.bound, self.open_nodes[0].bound)
            if self.done() or most <= 0:
                return
            node = self.open_nodes[0]
            most -= int((node.lower < node.upper).sum())
            children = self._children(node)
            if children is None:
                return
            heapq.heappop(self.open_nodes)
            for bound, low, high in children:
                heapq.heappush(self.open_nodes, _Node(bound, self.count, low, high))
                self.count += 1
        self.bound, self.proven = max(self.bound, self.best.cost), True

    def _children(self, node: _Node) -> list[tuple[float, np.ndarray, np.ndarray]] | None:
        """Nodes that hold all better solutions of a node; none if there is none, None if time is over."""
        bound, lower, upper = node.bound, node.lower.copy(), node.upper.copy()
        violated: list[Row] = []
        while True:
            status, point, found = self._relaxation(lower, upper)
            if status == _INFEASIBLE:
                return []
            rose, bound = found.bound - bound, max(bound, found.bound)
            if node.number == 0:
                self.bound = max(self.bound, bound)
                self.lower, self.upper = lower, upper
            if self.late():
                return None
            if self.is_closed(bound):
                return self.close(bound)
            self._fix(found, lower, upper)
            if point is None:
                break
            if node.number == 0 and rose > _RISE * (self.best.cost - bound):
                self._drop_slack_rows(point)
            violated = self.program.violated(point, self.late)
            if not self.add(violated):
                break
        if self.late():
            return None
        free = lower < upper
        if not free.any() and violated:
            return []
        if point is not None:
            self._try(point)
            self._fix(found, lower, upper)
            free = lower < upper
        if self.is_closed(bound) or not free.any():
            return self.close(bound)
        if point is None:
            score = np.abs(self.program.costs)
        else:
            fraction = np.minimum(point, 1.0 - point)
            lost = found.reduced * point - np.minimum(found.reduced, 0.0)
            score = fraction if (fraction[free] > TOLERANCE).any() else lost
        pick = int(np.flatnonzero(free)[score[free].argmax()])
        children = []
        for value in (0.0, 1.0):
            low, high = lower.copy(), upper.copy()
            low[pick] = high[pick] = value
            children.append((bound, low, high))
        return children

    def _fix(self, found: DualBound, lower: np.ndarray, upper: np.ndarray) -> None:
        """Let every variable keep its value whose other value costs more than the best solution."""
        spare = self.best.cost - found.bound
        free = lower < upper
        upper[free & (found.reduced > spare)] = 0.0
        lower[free & (found.reduced < -spare)] = 1.0

    def _relaxation(self, lower: np.ndarray, upper: np.ndarray) -> tuple[int, np.ndarray | None, Any]:
        """Status, optimal point (v,) of the rows so far if found, and a bound that holds in any case."""
        program, count = self.program, len(self.least)
        duals, prices = np.zeros(count), np.zeros(program.equalities.shape[0])
        status, point = 0, lower if (lower == upper).all() else None
        if point is None and not self.late():
            arguments = {"bounds": np.stack([lower, upper], axis=1), "method": "highs"}
            if count:
                arguments |= {"A_ub": -self.rows, "b_ub": -self.least}
            if len(prices):
                arguments |= {"A_eq": program.equalities, "b_eq": np.ones(len(prices))}
            result = self._highs(linprog, {}, arguments)
            status = result.status
            if status == 0:
                point = np.clip(result.x, lower, upper)
                duals = np.ldexp(-result.ineqlin.marginals, -self.power) if count else duals
                prices = np.ldexp(result.eqlin.marginals, -self.power) if len(prices) else prices
        parts = (program.costs, self.rows, self.least, duals, program.equalities, prices, lower, upper)
        return status, point, dual_bound(*parts)

    def _highs(self, solver: Callable[..., Any], options: dict[str, float], arguments: dict[str, Any]) -> Any:
        """The result of HiGHS within the time that is left; Ctrl-C ends the wait for it."""
        remaining = self.deadline - time.monotonic()
        if np.isfinite(remaining):
            options = {**options, "time_limit": max(remaining, 1e-3)}
        if threading.current_thread() is not threading.main_thread():
            return solver(self.scaled, options=options, **arguments)
        outcome: Future[Any] = Future()

        def run() -> None:
            try:
                outcome.set_result(solver(self.scaled, options=options, **arguments))
            except BaseException as error:
                outcome.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return outcome.result()

    def add(self, violated: Sequence[Row]) -> bool:
        """Whether any of the rows is new."""
        new = []
        for row in violated:
            key = (*row.columns, *(int(value) for value in row.values))
            if key not in self.seen:
                self.seen.add(key)
                new.append(row)
        if new:
            columns = np.concatenate([row.columns for row in new]).astype(np.int32)
            values = np.concatenate([row.values for row in new])
            indptr = np.cumsum([0, *(len(row.columns) for row in new)], dtype=np.int32)
            block = csr_array((values, columns, indptr), shape=(len(new), len(self.scaled)))
            self.rows = vstack([self.rows, block], format="csr")
            self.least = np.concatenate([self.least, [row.least for row in new]])
        return bool(new)

    def _drop_slack_rows(self, point: np.ndarray) -> None:
        """Leave out rows that say nothing where the program is now; those missed later are found again."""
        tight = self.rows @ point < self.least + _SLACK
        self.rows, self.least, self.seen = self.rows[tight], self.least[tight], set()

    def _try(self, point: np.ndarray) -> None:
        solution = self.program.solution(point)
        if solution.cost < self.best.cost:
            self.best = solution

    def integer_program(self) -> None:
        """HiGHS, with rows added for integral points that violate some."""
        program = self.program
        while not self.late():
            constraints = [LinearConstraint(self.rows, self.least, np.inf)] if len(self.least) else []
            if program.equalities.shape[0]:
                constraints.append(LinearConstraint(program.equalities, 1.0, 1.0))
            arguments = {
                "integrality": np.ones(len(self.scaled)),
                "bounds": Bounds(self.lower, self.upper),
                "constraints": constraints,
            }
            result = self._highs(milp, {"mip_rel_gap": 0.0}, arguments)
            if result.mip_dual_bound is not None and np.isfinite(result.mip_dual_bound):
                hidden = _HIDDEN + _HIDDEN_PER_VARIABLE * len(self.scaled)
                self.bound = max(self.bound, float(np.ldexp(result.mip_dual_bound - hidden, -self.power)))
            if result.x is None:
                return
            self._try(result.x)
            if result.status != 0 or self.is_closed(self.bound):
                return
            if not self.add(program.violated(result.x, self.late)):
                if not self.late():
                    self._believe(float(np.ldexp(result.fun, -self.power)))
                return

    def _believe(self, optimum: float) -> None:
        """Take the optimum that HiGHS claims as the bound, if it is the best cost and costs are of one order.

        Where sums are exact, what the tolerances of HiGHS leave open is not believed but searched.
        """
        sizes = np.abs(self.program.costs[self.program.costs != 0.0])
        if self.resolution.exact or float(sizes.max()) > _WIDEST * float(np.median(sizes)):
            return
        if abs(self.best.cost - optimum) <= _ROUNDING * float(sizes.sum()):
            self.bound, self.proven = max(self.bound, min(optimum, self.best.cost)), True
