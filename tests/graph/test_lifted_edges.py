import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers import graph


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 9))
    node = st.integers(0, n - 1)
    edge = st.tuples(node, node).filter(lambda e: e[0] != e[1])
    return n, np.array(draw(st.lists(edge, max_size=14 if n > 1 else 0)), int).reshape(-1, 2)


@settings(deadline=None)
@given(graphs(), st.integers(2, 5))
def test_lifted_edges_are_the_pairs_whose_shortest_path_has_2_to_k_edges(instance, hops):
    n, edges = instance
    nodes = nx.Graph(edges.tolist())
    expected = [
        [u, v]
        for u, lengths in nx.all_pairs_shortest_path_length(nodes)
        for v, length in lengths.items()
        if u < v and 2 <= length <= hops
    ]
    assert graph.lifted_edges(n, edges, hops).tolist() == sorted(expected)


def test_lifted_edges_are_bioimage_cpps_on_a_region_graph():
    theirs = pytest.importorskip("bioimage_cpp.graph")
    labels = np.random.default_rng(0).integers(0, 300, (20, 20, 4)).astype(np.uint32)
    regions = graph.region_graph(labels)
    rag = theirs.region_adjacency_graph(labels)
    none = np.zeros(rag.number_of_nodes, np.uint64)
    expected = theirs.lifted_multicut.lifted_edges_from_node_labels(rag, none, 2)
    lifted = graph.lifted_edges(regions.num_nodes, regions.edges, 2)
    assert np.array_equal(regions.labels[lifted], expected)


PATH = np.array([[0, 1], [1, 2], [2, 3]])


def test_costs_of_class_priors_are_the_log_odds_of_the_same_class():
    rng = np.random.default_rng(1)
    classes = rng.dirichlet([0.3] * 3, 4)
    expected = {}
    for u, v in ((0, 2), (0, 3), (1, 3)):
        same = float(classes[u] @ classes[v])
        expected[u, v] = np.log(same / (1 - same))
    edges, costs = graph.class_lifted_edges(4, PATH, 3, classes, same_class_attracts=True)
    assert dict(zip(map(tuple, edges.tolist()), costs, strict=True)) == pytest.approx(expected)
    edges, costs = graph.class_lifted_edges(4, PATH, 3, classes)
    repulsive = {pair: cost for pair, cost in expected.items() if cost < 0}
    assert dict(zip(map(tuple, edges.tolist()), costs, strict=True)) == pytest.approx(repulsive)


def test_a_node_of_unknown_class_has_no_lifted_edge():
    classes = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 1.0]])
    for attracts in (False, True):
        edges, costs = graph.class_lifted_edges(4, PATH, 3, classes, same_class_attracts=attracts)
        assert edges.tolist() == ([[0, 3], [1, 3]] if attracts else [[0, 3]])
        assert np.sign(costs).tolist() == ([-1, 1] if attracts else [-1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: graph.lifted_edges(4, PATH, 1), "hops must be an integer of at least 2"),
        (lambda: graph.lifted_edges(3, PATH, 2), "edges must index nodes 0 to 2"),
        (lambda: graph.class_lifted_edges(4, PATH, 2, np.ones((4, 2))), "add up to at most 1"),
        (lambda: graph.class_lifted_edges(4, PATH, 2, np.ones((3, 1))), r"shape \(4, K\), got \(3, 1\)"),
        (
            lambda: graph.class_lifted_edges(4, PATH, 2, np.full((4, 1), np.nan)),
            "at least 0",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
