"""The rounds of "best": more solutions, contraction of what they agree on, fusion on the small graph left."""

from collections.abc import Iterator
from typing import NamedTuple

from difflayers.amwc.fusion import Perturbation, agreed_by_all, fuse
from difflayers.amwc.level import Level, contracted
from difflayers.amwc.moves import excess
from difflayers.amwc.multilevel import State, compact, expanded, improve_anywhere, merges_one_by_one, settle


class Epoch(NamedTuple):
    """Rounds of one epoch.

    Attributes:
        proposals: solutions of perturbed costs of the whole graph. The first epoch has the solutions that it
            starts from as well.
        attempts: solutions of perturbed costs of the graph in which is contracted what all of them agree on.
    """

    proposals: int
    attempts: int


# A large graph takes long for every proposal. A small one of many edges still has many ways to be cut.
_LARGE, _SMALL, _EDGES_PER_PROPOSAL = Epoch(proposals=3, attempts=4), Epoch(proposals=10, attempts=4), 10_000


def usual_epoch(level: Level) -> Epoch:
    """How many rounds "best" does on a graph."""
    if not merges_one_by_one(level):
        return _LARGE
    return _SMALL._replace(proposals=_SMALL.proposals + len(level.neighbours) // 2 // _EDGES_PER_PROPOSAL)


def first_epoch(level: Level, started: int) -> Epoch:
    """The epoch that begins with so many solutions: a large graph makes do with them if they are several."""
    epoch = usual_epoch(level)
    return epoch if merges_one_by_one(level) else epoch._replace(proposals=max(0, epoch.proposals - started))


def number_of_rounds(epoch: Epoch, started: int) -> int:
    """Rounds of an epoch that begins with so many solutions."""
    return epoch.proposals + (started + epoch.proposals - 1) + epoch.attempts


def rounds(level: Level, found: list[State], epoch: Epoch) -> Iterator[State]:
    """States of falling cost, each after one more round, without an end; `epoch` is the first one."""
    perturbation = Perturbation(level, seed=0)
    best = min(found, key=lambda state: excess(level, *state))
    number = 0
    others = [state for state in found if state is not best]
    while True:
        for _ in range(epoch.proposals):
            others.append(perturbation.state())
            yield best
        component, count = agreed_by_all(level, [best[0], *(cluster for cluster, _ in others)])
        small = contracted(level, component, count)
        coarse, *states = (
            compact(*state, component, count, len(level.partitionable)) for state in (best, *others)
        )
        settle(small, *coarse)
        for state in states:
            coarse = fuse(small, *coarse, *state)
            best = expanded(level, *coarse, component)
            yield best
        number += 1
        again = Perturbation(small, seed=number)
        for attempt in range(epoch.attempts):
            coarse = fuse(small, *coarse, *again.state())
            best = expanded(level, *coarse, component)
            if attempt == epoch.attempts - 1:
                improve_anywhere(level, *best)
            yield best
        others, epoch = [], usual_epoch(level)
