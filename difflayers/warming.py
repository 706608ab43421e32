"""Compile ahead of time what would otherwise be compiled at the first call."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from difflayers._arguments import one_of_names

_DTYPES = ("float32", "float64")


def warmup(parts: Iterable[str] | None = None, dtypes: Iterable[DTypeLike] = _DTYPES) -> None:
    """Compile the Numba kernels of the library, or load them from Numba's cache.

    Otherwise a kernel is compiled when it is first called, which takes seconds. Compiled kernels are kept in
    Numba's cache, beside the package or in the folder that the environment variable NUMBA_CACHE_DIR names.
    Call this when an image is built or before training starts, so that no later first call is slow.

    Args:
        parts: any of "amwc" (with mwc, multicut and the panoptic layer), "graph" (with contract and
            blockwise), "lifted_multicut", "mutex" and "solvers"; all of them by default. Blockwise needs
            "amwc", too, and "lifted_multicut" or "mutex" for what is named after them.
        dtypes: float32, float64 or both, the dtypes of the costs. One dtype takes less time than both. The
            ready-made solvers compute in float64 whatever the dtype of the costs is.

    Raises:
        ValueError: a part or dtype is none of those.

    Examples:
        >>> warmup(parts=["solvers"])
    """
    chosen = [one_of_names("parts", part, _PARTS) for part in (_PARTS if parts is None else parts)]
    for dtype in [one_of_names("dtypes", np.dtype(dtype).name, _DTYPES) for dtype in dtypes]:
        for part in chosen:
            if part != "solvers":
                _PARTS[part](dtype)
    if "solvers" in chosen:
        _PARTS["solvers"]()


def _costs(dtype: str) -> dict[str, Any]:
    """A problem that is small, but on which every method takes all of its steps."""
    from difflayers.graph.edges import grid_edges

    rng, edges = np.random.default_rng(0), grid_edges((4, 4), (1, 2))
    return {
        "node_costs": rng.normal(size=(16, 3)).astype(dtype),
        "edges": edges,
        "edge_costs": rng.normal(size=len(edges)).astype(dtype),
    }


def _amwc(dtype: str) -> None:
    from difflayers import amwc

    costs = _costs(dtype)
    # Edges of 32 and 64 bits, sorted and unsorted: every case has a kernel of its own.
    for edges in (costs["edges"], costs["edges"].astype(np.int32)[::-1]):
        problem = amwc.AMWC(**{**costs, "edges": edges}, partitionable=np.array([True, False, True]))
        solution = amwc.solve(problem, "best")
        amwc.solve(problem, start=solution)
        amwc.lower_bound(problem)
    many = np.random.default_rng(0).permutation(len(costs["edges"]))
    amwc.solve(amwc.AMWC(costs["node_costs"], costs["edges"][many], costs["edge_costs"], np.zeros(3, bool)))


def _graph(dtype: str) -> None:
    from difflayers import contract, graph, mwc

    costs = _costs(dtype)
    for integers in ("u1", "u2", "u4", "u8"):
        graph.region_graph(np.arange(16, dtype=integers).reshape(4, 4))
    regions = graph.region_graph(np.arange(16).reshape(4, 4))
    image, offsets = np.ones((4, 4), dtype), [(0, 1), (0, 2)]
    graph.boundary_features(regions, image, (0.5,))
    graph.region_features(regions, image, (0.5,))
    graph.lifted_affinity_features(regions, np.ones((2, 4, 4), dtype), offsets, (0.5,))
    unsorted = np.random.default_rng(0).permutation(np.repeat(costs["edges"], 4, 0)).astype(np.int32)
    for edges in (costs["edges"], unsorted):
        graph.lifted_edges(16, edges, 2)
        graph.agglomerate(16, edges, np.ones(len(edges), dtype))
        problem = mwc.MWC(costs["node_costs"], edges, np.ones(len(edges), dtype))
        contract(problem, np.arange(16) // 2)


def _lifted_multicut(dtype: str) -> None:
    from difflayers import lifted_multicut
    from difflayers.lifted_multicut.multilevel import make_graph, merge

    costs = _costs(dtype)
    problem = lifted_multicut.LiftedMulticut(
        16, costs["edges"], costs["edge_costs"], costs["edges"][:5], costs["edge_costs"][:5]
    )
    lifted_multicut.solve(problem, "best")
    # In rounds, as on a large graph.
    merge(make_graph(16, problem.edges, problem.edge_costs, np.ones(len(problem.edges), bool)), 0)


def _mutex(dtype: str) -> None:
    from difflayers import amwc, multicut, mutex

    costs = _costs(dtype)
    mutex.mutex_watershed(multicut.Multicut(16, costs["edges"], costs["edge_costs"]))
    mutex.semantic_mutex_watershed(amwc.AMWC(**costs, partitionable=np.array([True, False, True])))


def _solvers() -> None:
    from difflayers import solvers

    edges = np.array([[0, 1], [1, 2], [2, 3], [0, 3]])
    ready: list[tuple[Callable[..., Any], tuple[int, ...]]] = [
        (solvers.BipartiteMatching((2, 3)), (2, 3)),
        (solvers.GridShortestPath((2, 3)), (2, 3)),
        (solvers.Knapsack(np.array([1, 2]), 2), (2,)),
        (solvers.Knapsack(np.array([[1, 2]]), [2]), (2,)),
        (solvers.Knapsack(np.array([[1, 2], [2, 1]]), [2, 2]), (2,)),
        (solvers.MaxCut(4, edges), (4,)),
        (solvers.MaxCut(18, np.stack([np.arange(17), np.arange(1, 18)], 1)), (17,)),
        (solvers.MinimumCostMulticut(4, edges), (4,)),
        (solvers.MinimumSpanningTree(4, edges), (4,)),
        (solvers.PerfectMatching(4, edges), (4,)),
        (solvers.Portfolio(np.eye(2), 0.6), (2,)),
        (solvers.Ranking(), (2,)),
        (solvers.SetCover(np.eye(2, dtype=int)), (2,)),
        (solvers.ShortestPath(4, edges), (4,)),
        (solvers.ShortestPath(4, edges, directed=False), (4,)),
        (solvers.TopK(1), (2,)),
        (solvers.TravellingSalesman(4), (6,)),
        (solvers.TravellingSalesman(16), (120,)),
        (solvers.VehicleRouting(np.ones(2), 2), (3,)),
        (solvers.VehicleRouting(np.ones(17), 2), (153,)),
    ]
    for solver, shape in ready:
        solver(np.ones((1, *shape)))


_PARTS: dict[str, Callable[..., None]] = {
    "amwc": _amwc,
    "graph": _graph,
    "lifted_multicut": _lifted_multicut,
    "mutex": _mutex,
    "solvers": _solvers,
}
