"""Multicut by parts of the graph: solve the parts, contract what they agree on, solve the rest, refine.

The bound. Let c be the edge costs, and let part b have the nodes N_b and all the edges E_b between them. Give
each edge e that lies in k_e > 0 parts the cost c_e / k_e in each of them. For every multicut x of the graph,

    Σ_e c_e x_e = Σ_b Σ_{e in E_b} (c_e / k_e) x_e + Σ_{e in no part} c_e x_e.

The restriction of x to E_b is a multicut of part b, because a cycle of the part is a cycle of the graph. So
the sum of part b is at least the optimum of the part at the costs c_e / k_e, and that is at least any lower
bound of it. The last sum is at least that of the negative costs in it. Together, the bounds of the parts and
these negative costs are a lower bound of the whole problem.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from difflayers import multicut
from difflayers._arguments import as_array
from difflayers.amwc import Solution
from difflayers.blockwise.blocks import Arrays, Progress, Store, run
from difflayers.contraction import contract
from difflayers.graph.components import connected_segments
from difflayers.graph.rows import INDEX
from difflayers.multicut import Multicut


def solve(
    problem: Multicut,
    parts: Sequence[np.ndarray],
    *,
    method: str = "default",
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Solution:
    """Solve a multicut by parts of its graph, in parallel on dask's scheduler (Pape et al. 2017).

    Every part is solved by itself. The two ends of an edge become one node if no part that has the edge cuts
    it. What is left is solved as a whole, and the solution is improved on the whole problem by
    `multicut.solve(problem, method, start=...)`.

    Args:
        problem: the multicut, whose costs must be finite.
        parts: nodes (k,) of every part. Parts may overlap, and should where they meet: an edge with its two
            ends in no common part is left to the problem that remains.
        method: "fast", "default" or "best", for the parts, for what is left, and for the whole.
        folder: where the results of the parts are kept, so that a run that was killed goes on there; None
            keeps none. A folder is for one problem and one choice of arguments.
        progress: is called as `progress("parts", done, total)` now and then.

    Returns:
        The solution, with a lower bound of the whole problem from those of the parts.

    Raises:
        TypeError, ValueError: if an argument is not as described above.
        BlockError: if a part cannot be solved.

    The scheduler is dask's: threads by default, that of a `distributed.Client` if there is one, or what
    `dask.config.set(scheduler=...)` says. The result does not depend on it.

    Examples:
        >>> problem = Multicut(3, np.array([[0, 1], [1, 2], [0, 2]]), np.array([3.0, 2.0, -2.5]))
        >>> solution = solve(problem, [np.array([0, 1]), np.array([1, 2])])
        >>> solution.segments.tolist(), solution.cost, round(solution.lower_bound, 9)
        ([0, 0, 1], -0.5, -2.5)
    """
    nodes = [_checked_part(i, part, problem.num_nodes) for i, part in enumerate(parts)]
    names = [f"part {i}" for i in range(len(nodes))]
    store = Store(
        folder,
        {"nodes": problem.num_nodes, "edges": len(problem.edges), "parts": len(nodes), "method": method},
    )
    return solve_parts(problem, nodes, names, method, store, progress)


def _checked_part(number: int, part: np.ndarray, num_nodes: int) -> np.ndarray:
    nodes = as_array("parts", part)
    if nodes.ndim != 1 or nodes.dtype.kind not in "iu":
        raise TypeError(f"parts must be integers (k,), but part {number} is {nodes.dtype} {nodes.shape}")
    if nodes.size and (int(nodes.min()) < 0 or int(nodes.max()) >= num_nodes):
        raise ValueError(f"parts must have nodes from 0 to {num_nodes - 1}, but part {number} has others")
    return np.unique(nodes.astype(np.int64))


def solve_parts(
    problem: Multicut,
    nodes: list[np.ndarray],
    names: list[str],
    method: str,
    store: Store,
    progress: Progress | None,
) -> Solution:
    """As `solve`, with sorted nodes of the parts and what messages call them."""
    costs = problem.edge_costs.astype(np.float64)
    if not np.isfinite(costs).all():
        raise ValueError(f"edge_costs must be finite, got infinity at {int((~np.isfinite(costs)).argmax())}")
    order, begins = _by_first_node(problem.edges, problem.num_nodes)
    place = np.full(problem.num_nodes, -1, np.int64)
    edges = [_inner_edges(problem.edges, order, begins, part, place) for part in nodes]
    times = np.zeros(len(costs), np.int64)
    for inner in edges:
        times[inner] += 1

    def task(i: int) -> tuple[object, tuple[object, ...]]:
        local = np.searchsorted(nodes[i], problem.edges[edges[i]])
        share = costs[edges[i]] / times[edges[i]]
        return _solve_part, (len(nodes[i]), local, costs[edges[i]], share, method)

    found = run("parts", names, task, store, progress)  # type: ignore[arg-type]
    joined = times > 0
    for inner, arrays in zip(edges, found, strict=True):
        joined[inner[arrays["cuts"] == 1]] = False
    solution = _merged(problem, joined, method)
    bounds = [float(arrays["bound"]) for arrays in found]
    return replace(solution, lower_bound=min(_added(bounds, costs, times), solution.cost))


def _by_first_node(edges: np.ndarray, num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges (m,) in the order of their lesser nodes, and where those of each node begin (n + 1,)."""
    lesser = edges.min(axis=1) if len(edges) else np.empty(0, np.int64)
    order = np.argsort(lesser, kind="stable")
    return order, np.searchsorted(lesser[order], np.arange(num_nodes + 1))


def _inner_edges(
    edges: np.ndarray, order: np.ndarray, begins: np.ndarray, part: np.ndarray, place: np.ndarray
) -> np.ndarray:
    """Edges that have both ends in a part; `place` (n,) is -1 everywhere, and is so again afterwards."""
    lengths = begins[part + 1] - begins[part]
    ends = np.cumsum(lengths)
    candidates = order[np.arange(lengths.sum()) + np.repeat(begins[part] - (ends - lengths), lengths)]
    place[part] = 0
    inner = candidates[(place[edges[candidates]] == 0).all(axis=1)]
    place[part] = -1
    return np.sort(inner)


def _solve_part(
    num_nodes: int, edges: np.ndarray, costs: np.ndarray, share: np.ndarray, method: str
) -> Arrays:
    """Cuts (m,) of a part, and a lower bound of it at its share of the costs."""
    if len(edges) == 0:
        return {"cuts": np.empty(0, np.uint8), "bound": np.zeros(())}
    solution = multicut.solve(Multicut(num_nodes, edges, costs), method)
    bound = multicut.lower_bound(Multicut(num_nodes, edges, share))
    return {"cuts": solution.cuts, "bound": np.array(bound)}


def _merged(problem: Multicut, joined: np.ndarray, method: str) -> Solution:
    """The solution of what remains when joined edges (m,) are contracted, improved on the whole problem."""
    kept = np.ascontiguousarray(problem.edges[joined]).view(INDEX)
    nothing, thing = np.zeros(problem.num_nodes, np.int32), np.ones(1, bool)
    component = connected_segments(kept, thing, nothing, nothing.view(INDEX))
    rest = multicut.solve(contract(problem, component), method)
    return multicut.solve(problem, method, start=rest.segments[component])


def _added(bounds: list[float], costs: np.ndarray, times: np.ndarray) -> float:
    """The bound of the whole problem, rounded down."""
    bound = math.fsum([*bounds, *np.minimum(costs[times == 0], 0)])
    # Each share is rounded by half a unit in its last place at most, unless it was divided by a power of two.
    inexact = (times & (times - 1)) != 0
    slack = float(np.finfo(np.float64).eps) * math.fsum(np.abs(costs[inexact]))
    return float(np.nextafter(bound - slack, -np.inf))
