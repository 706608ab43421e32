"""List colouring: a label of its own list for every node, different ones at the ends of every pair."""

import heapq

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Labels tried, a connected part, before giving up; a part that needs more has hundreds of hard nodes.
_TRIES = 200_000


def list_colouring(costs: np.ndarray, pairs: np.ndarray) -> np.ndarray | list[int]:
    """Labels (c,) of finite cost that differ at the ends of every pair, or the nodes of a part without any.

    Backtracking, always on a node with the fewest labels left, cheapest label first: O(c K + pairs) where no
    step has to be taken back, exponential at worst.

    Args:
        costs: (c, K) float, cost of every label at every node, infinite where it is not allowed.
        pairs: (p, 2) integers, nodes that must differ.

    Raises:
        ValueError: if the search ends undecided.
    """
    count = len(costs)
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    rows = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
    part = connected_components(rows, directed=False)[1]
    colour = np.full(count, -1)
    for members in np.split(np.argsort(part, kind="stable"), np.cumsum(np.bincount(part))[:-1]):
        search = _Search(costs, rows.indptr, rows.indices, members.tolist())
        if not search.succeeds():
            return members.tolist()
        for v, label in search.colour.items():
            colour[v] = label
    return colour


class _Search:
    """Backtracking with forward checking on one connected part."""

    def __init__(
        self, costs: np.ndarray, indptr: np.ndarray, neighbours: np.ndarray, members: list[int]
    ) -> None:
        self.neighbours = {v: neighbours[indptr[v] : indptr[v + 1]].tolist() for v in members}
        self.preference = {v: np.argsort(costs[v], kind="stable").tolist() for v in members}
        self.domain = {v: set(np.flatnonzero(costs[v] < np.inf).tolist()) for v in members}
        self.colour: dict[int, int] = {}
        # Entries whose length is no longer that of the domain are passed over.
        self.heap = [(len(self.domain[v]), v) for v in members]
        heapq.heapify(self.heap)

    def succeeds(self) -> bool:
        # A decision is a node, the labels still to try, and the neighbours that lost the label tried last.
        decisions: list[tuple[int, list[int], list[int]]] = []
        tries = 0
        while True:
            v = self._tightest()
            if v is None:
                return True
            decisions.append((v, [k for k in self.preference[v] if k in self.domain[v]][::-1], []))
            while True:
                v, labels, lost = decisions[-1]
                self._undo(v, lost)
                if not labels:
                    decisions.pop()
                    if not decisions:
                        return False
                    continue
                tries += 1
                if tries > _TRIES:
                    raise ValueError(
                        f"whether the labels allowed at {len(self.neighbours)} nodes suffice to cut them "
                        f"from each other, as edge costs of -inf demand, is undecided after {_TRIES} tries"
                    )
                if self._take(v, labels.pop(), lost):
                    break

    def _tightest(self) -> int | None:
        while self.heap:
            length, v = heapq.heappop(self.heap)
            if v not in self.colour and length == len(self.domain[v]):
                return v
        return None

    def _take(self, v: int, label: int, lost: list[int]) -> bool:
        self.colour[v] = label
        possible = True
        for u in self.neighbours[v]:
            if u not in self.colour and label in self.domain[u]:
                self.domain[u].remove(label)
                lost.append(u)
                heapq.heappush(self.heap, (len(self.domain[u]), u))
                possible &= bool(self.domain[u])
        return possible

    def _undo(self, v: int, lost: list[int]) -> None:
        if v not in self.colour:
            return
        label = self.colour.pop(v)
        for u in lost:
            self.domain[u].add(label)
            heapq.heappush(self.heap, (len(self.domain[u]), u))
        lost.clear()
        heapq.heappush(self.heap, (len(self.domain[v]), v))
