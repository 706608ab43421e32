"""Stars: of nodes that lie apart from each other, only one can lie together with one more node, the centre.

These are the 2-partition inequalities of one node against many (Grötschel and Wakabayashi 1989). With y = 1
for a pair that is cut, a centre s and leaves T satisfy Σ y_st − Σ y_tt' ≥ |T| − 1 − |T| (|T| − 1) / 2.
"""

import numpy as np
from numba import njit

# By how much a star has to be violated.
_VIOLATED = 1e-2


def pair_numbers(num_nodes: int, tails: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Return the table (n, n) of the number of each pair, -1 where there is none."""
    table = np.full((num_nodes, num_nodes), -1, np.int32)
    table[tails, heads] = table[heads, tails] = np.arange(len(tails))
    return table


def violated_stars(table: np.ndarray, values: np.ndarray) -> list[tuple[list[int], list[int]]]:
    """Return the pairs from centre to leaves, and between leaves, of violated stars, O(n⁴) at worst.

    Args:
        table: (n, n) the number of each pair, -1 where there is none.
        values: (p,) y of every pair, 0 to 1.
    """
    found = []
    for centre in range(len(table)):
        for leaves in _leaves(table, values, centre):
            rays = table[centre, leaves].tolist()
            first, second = np.triu_indices(len(leaves), 1)
            found.append((rays, table[leaves[first], leaves[second]].tolist()))
    return found


def _leaves(table: np.ndarray, values: np.ndarray, centre: int) -> list[np.ndarray]:
    """Sets of leaves of one centre, grown from every node that is in none of the sets before."""
    near = np.flatnonzero(table[centre] >= 0)
    together = 1.0 - values[table[centre, near]]
    kept = (together > _VIOLATED) & (together < 1.0 - _VIOLATED)
    near, together = near[kept], together[kept]
    order = np.argsort(-together, kind="stable")
    near, together = near[order], together[order]
    unused, sets = np.ones(len(near), bool), []
    for start in range(len(near)):
        if unused[start]:
            chosen = _grown(table, values, near, together, start)
            unused[chosen] = False
            if len(chosen) > 2:
                sets.append(near[chosen])
    return sets


@njit(nogil=True, cache=True)
def _grown(
    table: np.ndarray, values: np.ndarray, near: np.ndarray, together: np.ndarray, start: int
) -> np.ndarray:
    """The places of leaves that violate a star, from a first one on; only the first if they violate none."""
    chosen = np.empty(near.size, np.int64)
    chosen[0], count, total = start, 1, together[start]
    for i in range(near.size):
        gain = together[i] if i != start else 0.0
        for j in range(count):
            pair = table[near[i], near[chosen[j]]]
            gain -= 1.0 - values[pair] if pair >= 0 else 1.0
        if i != start and gain > _VIOLATED:
            chosen[count] = i
            count += 1
            total += gain
    return chosen[:count] if total > 1.0 + _VIOLATED else chosen[:1]
