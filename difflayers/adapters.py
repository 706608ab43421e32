"""Solvers as functions of a graph and its costs, for graphs of elf, nifty, scikit-image and networkx.

Their users call `solver(graph, costs)`. Every function here is such a solver. It takes

- a graph of bioimage-cpp, on which elf runs: whatever has `number_of_nodes` and `uv_ids()`,
- a graph of nifty: whatever has `numberOfNodes` and `uvIds()`,
- a networkx graph, such as a region adjacency graph of scikit-image; its nodes may be any objects.

It returns what they expect: an array with the segment of every node, or for networkx a dict of the nodes.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np

from difflayers import lifted_multicut as lifted
from difflayers import multicut as plain
from difflayers._arguments import as_array

Labels = np.ndarray | dict[Hashable, int]


def multicut(graph: Any, costs: np.ndarray | str, *, method: str = "default", **ignored: Any) -> Labels:
    """Solve a multicut on a graph of another library.

    Args:
        graph: see `difflayers.adapters`.
        costs: (m,) float in the order of the graph's edges, paid if the edge is cut: positive attracts. For a
            networkx graph also the name of the edges' attribute that holds them.
        method: "fast", "default" or "best", as `difflayers.multicut.solve` takes it.
        ignored: what elf passes to every solver, such as `n_threads` and `segmentation`.

    Returns:
        (n,) uint64, the segment of every node, contiguous from 0; for networkx a dict from node to segment.

    Raises:
        TypeError, ValueError: if the graph is of no such library, or as `difflayers.multicut.Multicut` does.

    Examples:
        >>> import networkx as nx
        >>> graph = nx.Graph()
        >>> graph.add_weighted_edges_from([("a", "b", 3.0), ("b", "c", 2.0), ("a", "c", -2.5)], weight="cost")
        >>> multicut(graph, "cost")
        {'a': 0, 'b': 0, 'c': 1}
    """
    names, num_nodes, edges, values = _checked(graph, costs)
    problem = plain.Multicut(num_nodes, edges, values)
    return _named(names, plain.solve(problem, method).segments)


def lifted_multicut(
    graph: Any,
    costs: np.ndarray | str,
    lifted_edges: Any,
    lifted_costs: np.ndarray,
    *,
    method: str = "default",
    **ignored: Any,
) -> Labels:
    """Solve a lifted multicut on a graph of another library.

    Args:
        graph: see `difflayers.adapters`.
        costs: (m,) float in the order of the graph's edges, paid if the edge is cut: positive attracts. For a
            networkx graph also the name of the edges' attribute that holds them.
        lifted_edges: (l, 2) node numbers; for networkx l pairs of nodes.
        lifted_costs: (l,) float, paid if the two nodes lie in different segments.
        method: "fast", "default" or "best", as `difflayers.lifted_multicut.solve` takes it.
        ignored: what elf passes to every solver, such as `n_threads` and `segmentation`.

    Returns:
        (n,) uint64, the segment of every node, contiguous from 0; for networkx a dict from node to segment.

    Raises:
        TypeError, ValueError: if the graph is of no such library, or as
            `difflayers.lifted_multicut.LiftedMulticut` does.

    Examples:
        >>> import networkx as nx
        >>> path = nx.path_graph(["a", "b", "c"])
        >>> lifted_multicut(path, np.array([1.0, 2.0]), [("a", "c")], np.array([-1.5]))
        {'a': 0, 'b': 1, 'c': 1}
    """
    names, num_nodes, edges, values = _checked(graph, costs)
    if names is not None:
        number = {name: i for i, name in enumerate(names)}
        try:
            pairs = np.array([[number[u], number[v]] for u, v in lifted_edges], np.int64).reshape(-1, 2)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"lifted_edges must be pairs of nodes of the graph, got {error}") from None
    else:
        pairs = as_array("lifted_edges", lifted_edges)
    problem = lifted.LiftedMulticut(num_nodes, edges, values, pairs, lifted_costs)
    return _named(names, lifted.solve(problem, method).segments)


def _checked(
    graph: Any, costs: np.ndarray | str
) -> tuple[list[Hashable] | None, int, np.ndarray, np.ndarray]:
    """What `_arrays` finds; raises ValueError unless there is one cost per edge."""
    names, num_nodes, edges, values = _arrays(graph, costs)
    if values.shape != (len(edges),):
        raise ValueError(f"costs must have shape ({len(edges)},), one per edge, got {values.shape}")
    return names, num_nodes, edges, values


def _arrays(graph: Any, costs: np.ndarray | str) -> tuple[list[Hashable] | None, int, np.ndarray, np.ndarray]:
    """Names of the nodes, if they are not numbers, the number of nodes, edges (m, 2) and costs (m,)."""
    for size, edges in (("number_of_nodes", "uv_ids"), ("numberOfNodes", "uvIds")):
        if hasattr(graph, edges) and hasattr(graph, size):
            return (
                None,
                int(getattr(graph, size)),
                np.asarray(getattr(graph, edges)()),
                as_array("costs", costs),
            )
    if not (hasattr(graph, "nodes") and hasattr(graph, "edges") and hasattr(graph, "adj")):
        raise TypeError(
            "graph must have uv_ids() (elf, bioimage-cpp), uvIds() (nifty), or be a networkx graph, "
            f"got a {type(graph).__name__}"
        )
    names = list(graph.nodes)
    number = {name: i for i, name in enumerate(names)}
    pairs = np.array([[number[u], number[v]] for u, v in graph.edges()], np.int64).reshape(-1, 2)
    if not isinstance(costs, str):
        return names, len(names), pairs, as_array("costs", costs)
    values = [value for _, _, value in graph.edges(data=costs)]
    if any(value is None for value in values):
        edge = list(graph.edges())[next(i for i, value in enumerate(values) if value is None)]
        raise ValueError(
            f"costs must name an attribute that every edge has, but edge {edge} has no {costs!r}"
        )
    return names, len(names), pairs, np.array(values, np.float64)


def _named(names: list[Hashable] | None, segments: np.ndarray) -> Labels:
    if names is None:
        return segments.astype(np.uint64)
    return dict(zip(names, segments.tolist(), strict=True))
