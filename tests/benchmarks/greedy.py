"""Greedy additive contraction with node costs, as LPMP's solvers of (asymmetric) multiway cut do it.

The two clusters whose joining saves most become one, until no joining saves anything. Joining saves the cost
of the edges between them, less what the best common label costs more than the best labels of the two
(Keuper et al. 2015; Abbas and Swoboda 2021). Written anew and plainly, for its costs and not for its time.
"""

import heapq

import numpy as np

from difflayers.amwc import AMWC


def greedy_labels(problem: AMWC) -> tuple[np.ndarray, np.ndarray]:
    """The label and the cluster (n,) of every node."""
    costs = problem.node_costs.astype(np.float64)
    weights: list[dict[int, float]] = [{} for _ in costs]
    for (u, v), cost in zip(problem.edges.tolist(), problem.edge_costs.tolist(), strict=True):
        weights[u][v] = weights[v][u] = weights[u].get(v, 0.0) + cost

    def saved(u: int, v: int) -> float:
        return float(weights[u][v] + costs[u].min() + costs[v].min() - (costs[u] + costs[v]).min())

    queue = [(-saved(u, v), u, v) for u in range(len(costs)) for v in weights[u] if u < v]
    heapq.heapify(queue)
    cluster = np.arange(len(costs))
    while queue and queue[0][0] < 0.0:
        value, u, v = heapq.heappop(queue)
        if v not in weights[u] or -value != saved(u, v):
            continue
        if len(weights[u]) < len(weights[v]):
            u, v = v, u
        cluster[cluster == v] = u
        costs[u] += costs[v]
        for w, cost in weights[v].items():
            del weights[w][v]
            if w != u:
                weights[u][w] = weights[w][u] = weights[u].get(w, 0.0) + cost
        weights[v] = {}
        for w in weights[u]:
            heapq.heappush(queue, (-saved(u, w), u, w))
    return costs.argmin(axis=1)[cluster], cluster
