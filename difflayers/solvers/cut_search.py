"""Maximum cuts: enumeration of small graphs, and simulated annealing of larger ones.

The costs are converted to integers, in the finest unit in which their sum does not overflow. A sum that is
changed many times is therefore never rounded, and a prohibitive cost does not blur the others.
"""

import math

import numpy as np
from numba import njit

from difflayers.solvers.batch import spend

SUM_BITS = 60
SEED = np.uint64(0x9E3779B97F4A7C15)
# The first temperature, as a multiple of a typical cost and the square root of the mean degree.
HOT = 0.35
SWEEPS = 100
# Changes of so many times the temperature have a probability of 2e-9.
FROZEN = 20


@njit(nogil=True, cache=True)
def enumerate_sides(
    costs: np.ndarray,
    solutions: np.ndarray,
    meter: np.ndarray,
    num_nodes: int,
    restarts: int,
    tails: np.ndarray,
    heads: np.ndarray,
    begins: np.ndarray,
    neighbours: np.ndarray,
    ids: np.ndarray,
) -> int:
    """All splits in the order of a Gray code, a node flipped at each step; O(m + 2^n n) per instance."""
    side, best = np.empty(num_nodes, np.bool_), np.empty(num_nodes, np.bool_)
    between = np.empty((num_nodes, num_nodes), np.int64)
    whole = np.empty(tails.size, np.int64)
    for row in range(len(costs)):
        if spend(meter, tails.size + (num_nodes << (num_nodes - 1))):
            return row
        _integer_costs(costs[row], whole)
        between[:] = 0
        for e in range(tails.size):
            between[tails[e], heads[e]] += whole[e]
            between[heads[e], tails[e]] += whole[e]
        side[:] = False
        best[:] = False
        value, best_value = np.int64(0), np.int64(0)
        for number in range(1, 1 << (num_nodes - 1)):
            v = 0
            while not number >> v & 1:
                v += 1
            for u in range(num_nodes):
                value += between[v, u] if side[u] == side[v] else -between[v, u]
            side[v] = not side[v]
            if value < best_value:
                best_value = value
                best[:] = side
        _cut_edges(solutions[row], best, tails, heads)
    return -1


@njit(nogil=True, cache=True)
def search_sides(
    costs: np.ndarray,
    solutions: np.ndarray,
    meter: np.ndarray,
    num_nodes: int,
    restarts: int,
    tails: np.ndarray,
    heads: np.ndarray,
    begins: np.ndarray,
    neighbours: np.ndarray,
    ids: np.ndarray,
) -> int:
    """Simulated annealing (Kirkpatrick, Gelatt and Vecchi, 1983), reheated several times; the best solution.

    Nodes are flipped in turn. A flip that lowers the cost is always made, another flip with the probability
    exp(-change / T). The temperature T falls to 0. The random numbers are the same for every row.
    O(n + m) per sweep.
    """
    n = num_nodes
    side, best = np.empty(n, np.bool_), np.empty(n, np.bool_)
    whole = np.empty(tails.size, np.int64)
    change = np.empty(n, np.int64)  # what flipping a node would cost
    for row in range(len(costs)):
        _integer_costs(costs[row], whole)
        hot = HOT * _typical(whole) * math.sqrt(2 * tails.size / n)
        side[:] = False
        best[:] = False
        value, best_value = np.int64(0), np.int64(0)
        for v in range(n):
            change[v] = 0
            for arc in range(begins[v], begins[v + 1]):
                change[v] += whole[ids[arc]]
        random = SEED
        for _ in range(restarts):
            if spend(meter, 4 * SWEEPS * (n + tails.size)):
                return row
            for sweep in range(2 * SWEEPS):
                temperature = hot * max(0, SWEEPS - sweep) / SWEEPS
                before = value
                for v in range(n):
                    if change[v] >= 0:
                        if change[v] >= FROZEN * temperature:
                            continue
                        random ^= random << np.uint64(13)
                        random ^= random >> np.uint64(7)
                        random ^= random << np.uint64(17)
                        if (random >> np.uint64(11)) * 2.0**-53 >= math.exp(-change[v] / temperature):
                            continue
                    value += _flip(v, side, change, whole, begins, neighbours, ids)
                if value < best_value:
                    best_value = value
                    best[:] = side
                if temperature == 0 and value == before:
                    break
        _cut_edges(solutions[row], best, tails, heads)
    return -1


@njit(nogil=True, cache=True)
def _integer_costs(costs: np.ndarray, whole: np.ndarray) -> None:
    """Costs times a power of two, rounded, such that sums of all stay below 2^61."""
    largest = 0.0
    for cost in costs:
        largest = max(largest, abs(cost))
    shift = SUM_BITS - math.frexp(largest)[1] - math.frexp(float(costs.size))[1]
    for e in range(costs.size):
        whole[e] = np.int64(np.rint(math.ldexp(costs[e], shift)))


@njit(nogil=True, cache=True)
def _typical(whole: np.ndarray) -> float:
    """The median magnitude of the costs other than 0, which a few prohibitive costs hardly change."""
    magnitudes = np.abs(whole[whole != 0])
    return np.median(magnitudes) if magnitudes.size else 0.0


@njit(nogil=True, cache=True)
def _flip(
    node: int,
    side: np.ndarray,
    change: np.ndarray,
    whole: np.ndarray,
    begins: np.ndarray,
    neighbours: np.ndarray,
    ids: np.ndarray,
) -> int:
    """Move a node to the other side and return what that costs, O(degree)."""
    cost = change[node]
    change[node] = -cost
    side[node] = not side[node]
    for arc in range(begins[node], begins[node + 1]):
        u = neighbours[arc]
        change[u] += 2 * whole[ids[arc]] if side[u] == side[node] else -2 * whole[ids[arc]]
    return cost


@njit(nogil=True, cache=True)
def _cut_edges(solution: np.ndarray, side: np.ndarray, tails: np.ndarray, heads: np.ndarray) -> None:
    for e in range(tails.size):
        solution[e] = side[tails[e]] != side[heads[e]]
