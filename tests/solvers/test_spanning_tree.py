import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

from difflayers.solver import SolverError
from difflayers.solvers import MinimumSpanningTree


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10), st.sampled_from([0.3, 0.6, 1.0]), st.integers(0, 10**6), st.booleans())
def test_trees_cost_as_much_as_those_of_networkx(num_nodes, density, seed, ties):
    rng = np.random.default_rng(seed)
    edges = np.stack(np.triu_indices(num_nodes, 1), axis=1)
    edges = edges[rng.random(len(edges)) < density]
    costs = rng.integers(-2, 3, len(edges)).astype(float) if ties else rng.normal(size=len(edges))
    graph = nx.Graph()
    graph.add_nodes_from(range(num_nodes))
    for (u, v), cost in zip(edges.tolist(), costs, strict=True):
        graph.add_edge(u, v, weight=cost)
    solver = MinimumSpanningTree(num_nodes, edges)
    if not nx.is_connected(graph):
        with pytest.raises(SolverError, match="instance 0: the edges of finite cost do not connect"):
            solver(costs[None])
        return
    tree = solver(costs[None])[0]
    chosen = nx.Graph(edges[tree > 0].tolist())
    chosen.add_node(0)
    assert nx.is_tree(chosen)
    assert len(chosen) == num_nodes
    assert (costs * tree).sum() == pytest.approx(nx.minimum_spanning_tree(graph).size("weight"))


def test_a_large_tree_costs_as_much_as_that_of_scipy():
    edges = np.stack(np.triu_indices(80, 1), axis=1)
    costs = np.random.default_rng(0).uniform(1, 2, len(edges))
    tree = MinimumSpanningTree(80, edges)(costs[None])[0]
    expected = minimum_spanning_tree(csr_array((costs, edges.T.astype(np.int32)), shape=(80, 80))).sum()
    assert costs @ tree == pytest.approx(expected)


def test_of_equal_and_parallel_edges_the_first_is_taken_and_infinite_ones_never():
    edges = np.array([[0, 1], [1, 0], [1, 2], [0, 2]])
    solver = MinimumSpanningTree(3, edges)
    assert solver(np.ones((1, 4))).tolist() == [[1, 0, 1, 0]]
    assert solver(np.array([[np.inf, 2.0, np.inf, 7.0]])).tolist() == [[0, 1, 0, 1]]
    with pytest.raises(SolverError, match="instance 1"):
        solver(np.array([[1.0, 1, 1, 1], [1, 1, np.inf, np.inf]]))


def test_one_node_is_a_tree_without_edges():
    assert MinimumSpanningTree(1, np.empty((0, 2), int))(np.ones((2, 0))).shape == (2, 0)
