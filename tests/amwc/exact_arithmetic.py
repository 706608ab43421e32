"""Optima in whole numbers of any size, by looking at every labeled partition, and problems that need them."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np

from difflayers.amwc import AMWC
from difflayers.lifted_multicut import LiftedMulticut
from tests.amwc.brute_force import partitions

KINDS = ("forbidden", "links", "any", "offsets", "tiny", "constraints", "conflicts")


@cache
def all_partitions(n: int) -> list[list[int]]:
    return list(partitions(n))


def exact_cost(problem: AMWC, labels: Sequence[int], segments: Sequence[int]) -> Fraction | None:
    """The objective without rounding, None where a constraint is broken."""
    total = Fraction(0)
    for cost in problem.node_costs[np.arange(problem.num_nodes), labels].tolist():
        if cost == np.inf:
            return None
        total += Fraction(cost)
    for (u, v), cost in zip(problem.edges.tolist(), problem.edge_costs.tolist(), strict=True):
        cut = segments[u] != segments[v]
        if (cut and cost == np.inf) or (not cut and cost == -np.inf):
            return None
        if cut and cost != -np.inf:
            total += Fraction(cost)
    return total


def optimum(problem: AMWC) -> Fraction | None:
    """The least objective of all labeled partitions without rounding, None where all break a constraint."""
    stuff = set(np.flatnonzero(~problem.partitionable).tolist())
    costs = (exact_cost(problem, *pair) for pair in _labelings(problem, stuff))
    return min((cost for cost in costs if cost is not None), default=None)


def _labelings(problem: AMWC, stuff: set[int]) -> Iterator[tuple[list[int], list[int]]]:
    for block in all_partitions(problem.num_nodes):
        for labels in product(range(problem.num_labels), repeat=max(block) + 1):
            if all(labels.count(k) < 2 for k in stuff):
                yield [labels[b] for b in block], block


def exact_lifted_cost(problem: LiftedMulticut, segments: Sequence[int]) -> Fraction:
    """The cost of segments without rounding."""
    pairs = [*zip(problem.edges.tolist(), problem.edge_costs.tolist(), strict=True)]
    pairs += zip(problem.lifted_edges.tolist(), problem.lifted_costs.tolist(), strict=True)
    return sum((Fraction(cost) for (u, v), cost in pairs if segments[u] != segments[v]), Fraction(0))


def lifted_optimum(problem: LiftedMulticut) -> Fraction:
    """The least cost of all partitions into connected segments without rounding."""
    edges = problem.edges.tolist()
    feasible = (block for block in all_partitions(problem.num_nodes) if _connected(block, edges))
    return min(exact_lifted_cost(problem, block) for block in feasible)


def _connected(block: list[int], edges: list[list[int]]) -> bool:
    parent = list(range(len(block)))

    def root(v: int) -> int:
        return v if parent[v] == v else root(parent[v])

    for u, v in edges:
        if block[u] == block[v]:
            parent[root(u)] = root(v)
    return len({root(v) for v in range(len(block))}) == max(block) + 1


def wide_costs(rng: np.random.Generator, shape: tuple[int, ...], kind: str, node: bool) -> np.ndarray:
    """Whole numbers of which some, or all, are of other orders of magnitude than the rest, up to 1e15."""
    small = rng.integers(-4, 5, shape).astype(float)
    large = rng.integers(1, 10, shape) * 10.0 ** rng.integers(4, 15, shape)
    some = rng.random(shape) < 0.2
    if kind == "any":
        sizes = rng.integers(1, 10, shape) * 10.0 ** rng.integers(0, 15, shape)
        return np.where(rng.random(shape) < 0.2, small, rng.choice([-1, 1], shape) * sizes)
    if kind == "forbidden":
        return np.where(some, large, small) if node else small
    if kind == "links":
        return small if node else np.where(some, rng.choice([-1, 1], shape) * large, small)
    if kind == "conflicts":
        level = 10.0 ** rng.integers(4, 15)
        return np.where(rng.random(shape) < 0.5, rng.integers(-2, 3, shape) * level + small, small)
    if kind == "offsets" and node:
        offsets = rng.integers(-9, 10, (shape[0], 1)) * 10.0 ** rng.integers(3, 15, (shape[0], 1))
        return small + offsets + np.where(some, large, 0)
    if kind == "tiny":
        return np.where(rng.random(shape) < 0.5, small * 2.0**-20, np.where(some, large, small))
    if kind == "constraints":
        infinite = np.where(rng.random(shape) < 0.15, np.inf, 0.0)
        return np.where(some, large, small) + (infinite if node else rng.choice([-1, 1], shape) * infinite)
    return small


def wide_problem(seed: int, kind: str) -> AMWC:
    """A small problem of a kind, whose every node has a label that is not forbidden."""
    rng = np.random.default_rng(seed)
    n, num_labels, m = int(rng.integers(2, 6)), int(rng.integers(1, 4)), int(rng.integers(1, 9))
    if n == 5:
        num_labels = min(num_labels, 2)
    node_costs = wide_costs(rng, (n, num_labels), kind, True)
    allowed = np.arange(n), rng.integers(num_labels, size=n)
    node_costs[allowed] = np.where(np.isinf(node_costs[allowed]), 1.0, node_costs[allowed])
    partitionable = rng.random(num_labels) < rng.choice([0.0, 0.5, 1.0])
    return AMWC(node_costs, _pairs(rng, n, m), wide_costs(rng, (m,), kind, False), partitionable)


def wide_lifted_problem(seed: int, kind: str) -> LiftedMulticut:
    """A small lifted multicut of a kind."""
    rng = np.random.default_rng(seed)
    n, m, lifted = int(rng.integers(2, 6)), int(rng.integers(1, 9)), int(rng.integers(0, 6))
    edge_costs, lifted_costs = (
        np.nan_to_num(wide_costs(rng, (count,), kind, False), posinf=1e15, neginf=-1e15)
        for count in (m, lifted)
    )
    return LiftedMulticut(n, _pairs(rng, n, m), edge_costs, _pairs(rng, n, lifted), lifted_costs)


def _pairs(rng: np.random.Generator, n: int, count: int) -> np.ndarray:
    tails = rng.integers(n, size=count)
    return np.stack([tails, (tails + rng.integers(1, n, size=count)) % n], axis=1).reshape(-1, 2)
