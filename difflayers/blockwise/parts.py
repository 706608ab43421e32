"""Multicut by parts of the graph: solve the parts, contract what they agree on, solve the rest, refine.

The bound. Let c be the costs of the edges, lifted ones among them, and let part b have the nodes N_b and all
the edges E_b between them. Give each edge e that lies in k_e > 0 parts the cost c_e / k_e in each of them.
For every partition of the nodes, let x_e be 1 if the ends of e lie in different segments. Then

    Σ_e c_e x_e = Σ_b Σ_{e in E_b} (c_e / k_e) x_e + Σ_{e in no part} c_e x_e.

The partition of all nodes is one of N_b, too, so that x on E_b is a multicut of part b, in which lifted edges
are taken for edges. So the sum of part b is at least the optimum of this multicut at the costs c_e / k_e, and
that is at least any lower bound of it. The last sum is at least that of the negative costs in it. Together,
the bounds of the parts and these negative costs are a lower bound of the whole problem.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from difflayers import lifted_multicut, multicut
from difflayers._arguments import as_array
from difflayers.amwc import Solution
from difflayers.amwc.solution import solution_from_clusters
from difflayers.blockwise.blocks import Arrays, Progress, Store, Task, checksum, run, run_once
from difflayers.contraction import contract
from difflayers.graph.components import connected_segments
from difflayers.graph.rows import INDEX
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.lifted_multicut.problem import solution_from_clusters as lifted_from_clusters
from difflayers.multicut import Multicut


def solve(
    problem: Multicut | LiftedMulticut,
    parts: Sequence[np.ndarray],
    *,
    method: str = "default",
    bound: bool = False,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Solution | lifted_multicut.Solution:
    """Solve a (lifted) multicut by parts of its graph, in parallel on dask's scheduler (Pape et al. 2017).

    Every part is solved by itself. The two ends of an edge become one node if no part that has the edge cuts
    it. What is left is solved as a whole, and the solution is improved on the whole problem by
    `solve(problem, method, start=...)`.

    Args:
        problem: a `Multicut` or `LiftedMulticut`, whose costs must be finite.
        parts: nodes (k,) of every part. Parts may overlap, and should where they meet: an edge with its two
            ends in no common part is left to the problem that remains.
        method: "fast", "default" or "best", for the parts, for what is left, and for the whole.
        bound: whether to find a lower bound of the whole problem too, from those of the parts. On hard
            problems this takes several times as long as the solution.
        folder: where results are kept, so that a run that was killed goes on there; None keeps none. A folder
            is for one problem and one choice of arguments.
        progress: is called as `progress(step, done, total)` now and then. The steps are "parts", "rest" and
            "whole".

    Returns:
        The solution; its `lower_bound` is None unless it was asked for.

    Raises:
        TypeError, ValueError: if an argument is not as described above.
        BlockError: if a part cannot be solved.

    The scheduler is dask's: threads by default, that of a `distributed.Client` if there is one, or what
    `dask.config.set(scheduler=...)` says. The result does not depend on it.

    Examples:
        >>> problem = Multicut(3, np.array([[0, 1], [1, 2], [0, 2]]), np.array([3.0, 2.0, -2.5]))
        >>> solution = solve(problem, [np.array([0, 1]), np.array([1, 2])], bound=True)
        >>> solution.segments.tolist(), solution.cost, round(solution.lower_bound, 9)
        ([0, 0, 1], -0.5, -2.5)
    """
    if not isinstance(problem, Multicut | LiftedMulticut):
        raise TypeError(f"problem must be a Multicut or a LiftedMulticut, got a {type(problem).__name__}")
    nodes = [_checked_part(i, part, problem.num_nodes) for i, part in enumerate(parts)]
    names = [f"part {i}" for i in range(len(nodes))]
    arguments = {"nodes": problem.num_nodes, "parts": len(nodes), "method": method}
    return solve_parts(problem, nodes, names, method, bound, folder, arguments, progress)


def _checked_part(number: int, part: np.ndarray, num_nodes: int) -> np.ndarray:
    nodes = as_array("parts", part)
    if nodes.ndim != 1 or nodes.dtype.kind not in "iu":
        raise TypeError(f"parts must be integers (k,), but part {number} is {nodes.dtype} {nodes.shape}")
    if nodes.size and (int(nodes.min()) < 0 or int(nodes.max()) >= num_nodes):
        raise ValueError(f"parts must have nodes from 0 to {num_nodes - 1}, but part {number} has others")
    return np.unique(nodes.astype(np.int64))


def solve_parts(
    problem: Multicut | LiftedMulticut,
    nodes: list[np.ndarray],
    names: list[str],
    method: str,
    bound: bool,
    folder: str | os.PathLike[str] | None,
    arguments: dict[str, object],
    progress: Progress | None,
) -> Solution | lifted_multicut.Solution:
    """As `solve`, with sorted nodes of the parts, what messages call them, and what the folder is for."""
    pairs, costs = _all_pairs(problem)
    if not np.isfinite(costs).all():
        raise ValueError(f"edge_costs must be finite, got infinity at {int((~np.isfinite(costs)).argmax())}")
    arguments = {**arguments, "bound": bound}
    if folder is not None:
        arguments = {**arguments, "checksum of the problem": checksum(pairs, costs, *nodes)}
    store = Store(folder, "solution", arguments)
    order, begins = _by_first_node(pairs, problem.num_nodes)
    place = np.full(problem.num_nodes, -1, np.int64)
    inner = [_inner_edges(pairs, order, begins, part, place) for part in nodes]
    times = np.zeros(len(costs), np.int64)
    for edges in inner:
        times[edges] += 1
    num_edges = len(problem.edges)

    def task(i: int) -> Task:
        local = np.searchsorted(nodes[i], pairs[inner[i]])
        share = costs[inner[i]] / times[inner[i]]
        lifted = inner[i] >= num_edges if isinstance(problem, LiftedMulticut) else None
        return _solve_part, (len(nodes[i]), local, costs[inner[i]], share if bound else None, lifted, method)

    found = run("parts", names, task, store, progress)
    joined = times[:num_edges] > 0
    for edges, arrays in zip(inner, found, strict=True):
        cut = edges[arrays["cuts"] == 1]
        joined[cut[cut < num_edges]] = False
    solution = _merged(problem, joined, method, store, progress)
    if not bound:
        return replace(solution, lower_bound=None)
    bounds = [float(arrays["bound"]) for arrays in found]
    return replace(solution, lower_bound=min(_added(bounds, costs, times), solution.cost))


def _all_pairs(problem: Multicut | LiftedMulticut) -> tuple[np.ndarray, np.ndarray]:
    """Edges and lifted edges (m + l, 2) and their costs (m + l,) float64."""
    costs = problem.edge_costs.astype(np.float64)
    if isinstance(problem, Multicut):
        return problem.edges, costs
    pairs = np.concatenate([problem.edges, problem.lifted_edges])
    return pairs, np.concatenate([costs, problem.lifted_costs.astype(np.float64)])


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
    num_nodes: int,
    edges: np.ndarray,
    costs: np.ndarray,
    share: np.ndarray | None,
    lifted: np.ndarray | None,
    method: str,
) -> Arrays:
    """Cuts (m,) of a part, and a lower bound of it at its share of the costs, if that is given.

    `lifted` (m,) tells which edges are lifted ones.
    """
    if len(edges) == 0:
        return {"cuts": np.empty(0, np.uint8), "bound": np.zeros(())}
    if lifted is None:
        segments = multicut.solve(Multicut(num_nodes, edges, costs), method).segments
    else:
        base, far = np.flatnonzero(~lifted), np.flatnonzero(lifted)
        problem = LiftedMulticut(num_nodes, edges[base], costs[base], edges[far], costs[far])
        segments = lifted_multicut.solve(problem, method).segments
    cuts = segments[edges[:, 0]] != segments[edges[:, 1]]
    found = {"cuts": cuts.astype(np.uint8)}
    if share is not None:
        found["bound"] = np.array(multicut.lower_bound(Multicut(num_nodes, edges, share)))
    return found


def _merged(
    problem: Multicut | LiftedMulticut,
    joined: np.ndarray,
    method: str,
    store: Store,
    progress: Progress | None,
) -> Solution | lifted_multicut.Solution:
    """The solution of what remains when joined edges (m,) are contracted, improved on the whole problem."""
    kept = np.ascontiguousarray(problem.edges[joined]).view(INDEX)
    nothing, thing = np.zeros(problem.num_nodes, np.int32), np.ones(1, bool)
    component = connected_segments(kept, thing, nothing, nothing.view(INDEX))

    def rest() -> Arrays:
        fewer: Multicut | LiftedMulticut = contract(problem, component)  # type: ignore[type-var]
        return {"segments": _solve(fewer, method).segments[component]}

    def whole() -> Arrays:
        return {"segments": _solve(problem, method, start).segments}

    start = run_once("rest", rest, store, progress)["segments"]
    return _solution(problem, run_once("whole", whole, store, progress)["segments"])


def _solve(
    problem: Multicut | LiftedMulticut, method: str, start: np.ndarray | None = None
) -> Solution | lifted_multicut.Solution:
    if isinstance(problem, Multicut):
        return multicut.solve(problem, method, start=start)
    return lifted_multicut.solve(problem, method, start=start)


def _solution(
    problem: Multicut | LiftedMulticut, segments: np.ndarray
) -> Solution | lifted_multicut.Solution:
    """The solution with these segments (n,), which edges connect."""
    if isinstance(problem, LiftedMulticut):
        return lifted_from_clusters(problem, segments)
    return solution_from_clusters(problem.as_amwc, np.zeros(problem.num_nodes), segments)


def _added(bounds: list[float], costs: np.ndarray, times: np.ndarray) -> float:
    """The bound of the whole problem, rounded down."""
    bound = math.fsum([*bounds, *np.minimum(costs[times == 0], 0)])
    # Each share is rounded by half a unit in its last place at most, unless it was divided by a power of two.
    inexact = (times & (times - 1)) != 0
    slack = float(np.finfo(np.float64).eps) * math.fsum(np.abs(costs[inexact]))
    return float(np.nextafter(bound - slack, -np.inf))
