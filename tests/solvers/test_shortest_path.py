from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers.solver import SolverError
from difflayers.solvers import GridShortestPath, ShortestPath, monotone_grid_path


def grid_graph(costs, neighbours):
    """The graph whose arcs pay for the cell that they lead to."""
    height, width = costs.shape
    graph = nx.DiGraph()
    graph.add_nodes_from((i, j) for i in range(height) for j in range(width))
    for i in range(height):
        for j in range(width):
            for di in (-1, 0, 1):
                for dj in (-1, 0, 1):
                    other = (i + di, j + dj)
                    steps = abs(di) + abs(dj)
                    if other in graph and 0 < steps <= (1 if neighbours == 4 else 2):
                        graph.add_edge((i, j), other, cost=costs[other])
    return graph


def assert_path(cells, neighbours, source, target):
    """A marked set of cells that a walk from source to target visits completely."""
    marked = set(map(tuple, np.argwhere(cells)))
    assert {source, target} <= marked
    assert nx.has_path(grid_graph(cells, neighbours).subgraph(marked), source, target)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.sampled_from([4, 8]),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_grid_paths_cost_as_much_as_those_of_networkx(shape, neighbours, seed, ties):
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, 4, (3, *shape)).astype(float) if ties else rng.random((3, *shape))
    source, target = (tuple(int(rng.integers(size)) for size in shape) for _ in range(2))
    paths = GridShortestPath(shape, neighbours, source, target)(costs)
    for cost, path in zip(costs, paths, strict=True):
        assert_path(path, neighbours, source, target)
        graph = grid_graph(cost, neighbours)
        expected = cost[source] + nx.shortest_path_length(graph, source, target, weight="cost")
        assert (cost * path).sum() == pytest.approx(expected)


def test_infinite_cells_are_walked_around_and_a_wall_is_an_error():
    costs = np.ones((2, 3, 3))
    costs[0, :2, 1] = np.inf
    path = GridShortestPath((3, 3), 4, target=(0, 2))(costs[:1])[0]
    assert path.tolist() == [[1, 0, 1], [1, 0, 1], [1, 1, 1]]
    costs[1, :, 1] = np.inf
    with pytest.raises(SolverError, match="instance 1: no path of finite cost between source and target"):
        GridShortestPath((3, 3), 8)(costs)
    costs[:] = np.inf
    with pytest.raises(SolverError, match="instance 0"):
        GridShortestPath((3, 3), 8)(costs)


def test_diagonal_steps_need_eight_neighbours():
    costs = np.ones((1, 3, 3))
    assert GridShortestPath((3, 3), 8)(costs)[0].tolist() == np.eye(3).tolist()
    assert GridShortestPath((3, 3), 4)(costs).sum() == 5


def test_a_path_from_a_cell_to_itself_is_that_cell():
    assert GridShortestPath((1, 1))(np.zeros((2, 1, 1))).tolist() == [[[1]], [[1]]]
    assert GridShortestPath((2, 2), target=(0, 0))(np.ones((1, 2, 2)))[0].tolist() == [[1, 0], [0, 0]]


def test_contexts_give_each_instance_its_ends():
    costs = np.ones((2, 1, 4))
    paths = GridShortestPath((1, 4))(costs, [((0, 1), (0, 2)), ((0, 3), (0, 3))])
    assert paths.tolist() == [[[0, 1, 1, 0]], [[0, 0, 0, 1]]]
    with pytest.raises(ValueError, match="the context of instance 1 must be cells"):
        GridShortestPath((1, 4))(costs, [((0, 1), (0, 2)), ((0, 3), (0, 4))])
    with pytest.raises(ValueError, match="the context of instance 0 must have shape"):
        GridShortestPath((1, 4))(costs, [3, 4])
    with pytest.raises(ValueError, match="contexts must have length 2, one per instance, got 1"):
        GridShortestPath((1, 4))(costs, [((0, 1), (0, 2))])


def test_negative_costs_are_an_error_that_names_the_instance_or_count_as_zero():
    costs = np.ones((3, 2, 2))
    costs[2, 0, 1] = -0.5
    with pytest.raises(ValueError, match=r"negative value -0\.5 in instance 2.*clip_negative"):
        GridShortestPath((2, 2))(costs)
    clipped = GridShortestPath((2, 2), 4, clip_negative=True)
    np.testing.assert_array_equal(clipped(costs), clipped(np.maximum(costs, 0)))
    assert clipped(costs)[2, 0, 1] == 1
    with pytest.raises(ValueError, match="negative value"):
        ShortestPath(2, np.array([[0, 1]]), directed=False)(np.array([[-1.0]]))
    assert ShortestPath(2, np.array([[0, 1]]), directed=False, clip_negative=True)(-np.ones((1, 1))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 3),), "shape must be two positive integers"),
        (((2, 3), 6), "neighbours must be 4 or 8"),
        (((2, 3), 4, (0, 3)), "source and target must be cells of a grid"),
    ],
)
def test_impossible_grids_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        GridShortestPath(*arguments)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9), st.integers(0, 25), st.integers(0, 10**6), st.sampled_from(["dag", "arcs", "edges"])
)
def test_graph_paths_cost_as_much_as_those_of_networkx(num_nodes, num_edges, seed, kind):
    rng = np.random.default_rng(seed)
    edges = rng.integers(0, num_nodes, (num_edges, 2))
    edges = edges[edges[:, 0] != edges[:, 1]]
    if kind == "dag":
        edges = rng.permutation(num_nodes)[np.sort(edges, axis=1)]
    costs = rng.integers(-3 if kind == "dag" else 0, 6, len(edges)).astype(float)
    source, target = (int(node) for node in rng.integers(0, num_nodes, 2))
    graph = nx.MultiGraph() if kind == "edges" else nx.MultiDiGraph()
    graph.add_nodes_from(range(num_nodes))
    for (u, v), cost in zip(edges.tolist(), costs, strict=True):
        graph.add_edge(u, v, cost=cost)
    solver = ShortestPath(num_nodes, edges, source, target, directed=kind != "edges")
    assert solver.acyclic or kind != "dag"
    if not nx.has_path(graph, source, target):
        with pytest.raises(SolverError, match="instance 0: no path"):
            solver(costs[None])
        return
    path = solver(costs[None])[0]
    expected = nx.bellman_ford_path_length(graph, source, target, weight="cost")
    assert (costs * path).sum() == expected
    walked = type(graph)()
    walked.add_nodes_from([source])
    walked.add_edges_from(edges[path > 0].tolist())
    assert nx.has_path(walked, source, target)
    assert walked.number_of_edges() == walked.number_of_nodes() - 1


def test_a_cycle_is_recognised_and_needs_non_negative_costs():
    ring = np.array([[0, 1], [1, 2], [2, 0]])
    solver = ShortestPath(3, ring)
    assert not solver.acyclic
    assert solver(np.ones((1, 3)))[0].tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="negative value"):
        solver(-np.ones((1, 3)))


def test_infinite_edges_are_forbidden_in_all_kinds_of_graphs():
    edges = np.array([[0, 1], [1, 2], [0, 2]])
    costs = np.array([[1.0, 1.0, np.inf], [1.0, np.inf, np.inf]])
    for directed in (True, False):
        solver = ShortestPath(3, edges, directed=directed)
        assert solver(costs[:1])[0].tolist() == [1, 1, 0]
        with pytest.raises(SolverError, match="instance 1"):
            solver(costs)


def test_graph_contexts_give_each_instance_its_ends():
    edges = np.array([[0, 1], [1, 2], [2, 3]])
    paths = ShortestPath(4, edges)(np.ones((3, 3)), [(0, 2), (1, 3), (2, 2)])
    assert paths.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    with pytest.raises(ValueError, match="the context of instance 0 must be nodes 0 to 3"):
        ShortestPath(4, edges)(np.ones((1, 3)), [(0, 4)])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_monotone_grid_paths_are_the_cheapest_of_all(height, width, seed):
    solver = monotone_grid_path((height, width))
    costs = np.random.default_rng(seed).normal(size=(2, len(solver.edges)))
    paths = solver(costs)
    graph = nx.DiGraph(solver.edges.tolist())
    graph.add_node(0)
    assert graph.number_of_edges() == (height - 1) * width + height * (width - 1)
    assert all(v - u in (1, width) for u, v in graph.edges)
    number = {tuple(edge): index for index, edge in enumerate(solver.edges.tolist())}
    walks = [[0]] if height * width == 1 else nx.all_simple_paths(graph, 0, height * width - 1)
    walks = [[number[step] for step in pairwise(walk)] for walk in walks]
    for cost, path in zip(costs, paths, strict=True):
        assert (cost * path).sum() == pytest.approx(min(cost[walk].sum() for walk in walks))
        assert path.sum() == height + width - 2


def test_monotone_edges_stand_in_the_order_of_pyepo():
    # By row: the steps to the right, then those down from it.
    assert monotone_grid_path((2, 3)).edges.tolist() == [
        [0, 1],
        [1, 2],
        [0, 3],
        [1, 4],
        [2, 5],
        [3, 4],
        [4, 5],
    ]
