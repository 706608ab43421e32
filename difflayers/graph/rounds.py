"""The rounds of "best": more solutions, contraction of what they agree on, fusion on the small graph left.

Every cut brings its own graph and states, which are solutions as its kernels hold them; the rounds are the
same (fusion moves, Beier et al. 2015).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeVar

from difflayers.graph.limits import Clock, Limits

State = TypeVar("State")


class Fusible(Protocol[State]):
    """A graph of a cut whose states can be fused."""

    def cost(self, state: State) -> float:
        """Return what a state costs, up to a constant."""

    def proposals(self, seed: int) -> Iterator[State]:
        """Yield states of perturbed costs without an end, the same ones for the same seed."""

    def agreed(self, states: list[State]) -> tuple["Fusible[State]", list[State], Callable[[State], State]]:
        """Contract what all states agree on.

        Return the small graph, the same states on it, and a function that takes a state of it back.
        """

    def settled(self, state: State) -> State:
        """Return the state after moves until nothing moves."""

    def fused(self, one: State, other: State) -> State:
        """Return a state that costs no more than either of two."""

    def polished(self, state: State) -> State:
        """Return the state after a few moves."""


class Epoch(NamedTuple):
    """Rounds of one epoch.

    Attributes:
        proposals: solutions of perturbed costs of the whole graph. The first epoch has the solutions that it
            starts from as well.
        attempts: solutions of perturbed costs of the graph in which is contracted what all of them agree on.
    """

    proposals: int
    attempts: int


def after_rounds(
    graph: Fusible[State],
    found: list[State],
    first: Epoch,
    following: Epoch,
    limits: Limits,
    offset: float = 0.0,
) -> State:
    """Return the best state after the rounds that the limits allow, by default those of the first epoch.

    Args:
        graph: the graph.
        found: the states to begin with, at least one.
        first: the first epoch.
        following: every later one.
        limits: of `solve`.
        offset: what a state costs beyond `graph.cost`, for the progress callback.
    """
    clock = Clock(limits, first.proposals + len(found) + first.proposals - 1 + first.attempts)
    progress = limits.get("progress")
    best = min(found, key=graph.cost)
    states = _rounds(graph, best, [state for state in found if state is not best], first, following)
    while clock.goes_on():
        best = next(states)
        if progress is not None:
            progress(clock.seconds, graph.cost(best) + offset)
    return best


def _rounds(
    graph: Fusible[State], best: State, others: list[State], epoch: Epoch, following: Epoch
) -> Iterator[State]:
    """States of falling cost, each after one more round, without an end."""
    proposals = graph.proposals(0)
    number = 0
    while True:
        for _ in range(epoch.proposals):
            others.append(next(proposals))
            yield best
        small, (coarse, *states), expanded = graph.agreed([best, *others])
        coarse = small.settled(coarse)
        for state in states:
            coarse = small.fused(coarse, state)
            best = expanded(coarse)
            yield best
        number += 1
        again = small.proposals(number)
        for attempt in range(epoch.attempts):
            coarse = small.fused(coarse, next(again))
            best = expanded(coarse)
            if attempt == epoch.attempts - 1:
                best = graph.polished(best)
            yield best
        others, epoch = [], following
