from functools import partial

import networkx as nx
import numpy as np
import pytest

from difflayers import adapters, graph, lifted_multicut, multicut
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.multicut import Multicut


class NiftyGraph:
    """What nifty documents of its graphs."""

    def __init__(self, num_nodes, edges):
        self.numberOfNodes, self._edges = num_nodes, edges.astype(np.uint64)

    def uvIds(self):
        return self._edges


def instance(seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 40, (12, 12)).repeat(2, 0).astype(np.uint32)
    labels.flat[:40] = np.arange(40)
    regions = graph.region_graph(labels)
    return labels, regions, rng.normal(size=len(regions.edges)) + 0.2


def test_a_graph_of_bioimage_cpp_gets_the_segments_of_its_nodes_which_project_to_voxels():
    theirs = pytest.importorskip("bioimage_cpp.graph")
    labels, regions, costs = instance()
    rag = theirs.region_adjacency_graph(labels)
    expected = multicut.solve(Multicut(40, regions.edges, costs)).segments
    found = adapters.multicut(rag, costs, n_threads=2, segmentation=labels)
    assert np.array_equal(found, expected)
    projected = theirs.project_node_labels_to_pixels(rag, labels, found)
    assert np.array_equal(projected, regions.to_voxels(expected))


def test_a_graph_of_nifty_gets_the_segments_of_its_nodes():
    _, regions, costs = instance()
    lifted = graph.lifted_edges(40, regions.edges, 2)[:50]
    lifted_costs = np.random.default_rng(1).normal(size=50)
    nifty = NiftyGraph(40, regions.edges)
    expected = multicut.solve(Multicut(40, regions.edges, costs), "fast").segments
    assert np.array_equal(partial(adapters.multicut, method="fast")(nifty, costs), expected)
    problem = LiftedMulticut(40, regions.edges, costs, lifted, lifted_costs)
    found = adapters.lifted_multicut(nifty, costs, lifted.astype(np.uint64), lifted_costs)
    assert np.array_equal(found, lifted_multicut.solve(problem).segments)


def test_nodes_of_networkx_may_be_any_objects_and_costs_an_attribute_or_an_array():
    _, regions, costs = instance()
    names = [f"region {i}" for i in range(39, -1, -1)]
    given = nx.Graph()
    for (u, v), cost in zip(regions.edges.tolist(), costs, strict=True):
        given.add_edge(names[u], names[v], cost=cost)
    expected = multicut.solve(Multicut(40, regions.edges, costs))
    in_their_order = np.array([cost for _, _, cost in given.edges(data="cost")])
    for costs_given in ("cost", in_their_order):
        found = adapters.multicut(given, costs_given)
        assert set(found) == set(names)
        cut = [found[names[u]] != found[names[v]] for u, v in regions.edges.tolist()]
        assert costs[cut].sum() == pytest.approx(expected.cost)
    lifted = [(names[0], names[7]), (names[3], names[30])]
    found = adapters.lifted_multicut(given, "cost", lifted, np.array([-1e3, -1e3]))
    assert found[names[0]] != found[names[7]]
    assert found[names[3]] != found[names[30]]


def test_parallel_edges_of_networkx_add_up():
    given = nx.MultiGraph()
    given.add_edges_from([(7, 9, {"c": 1.0}), (7, 9, {"c": -3.0}), (9, 11, {"c": 2.0})])
    assert adapters.multicut(given, "c") == {7: 0, 9: 1, 11: 1}


def test_region_adjacency_graphs_of_scikit_image_are_networkx_graphs():
    skimage_graph = pytest.importorskip("skimage.graph")
    labels, _, _ = instance()
    boundary = np.random.default_rng(0).random(labels.shape)
    rag = skimage_graph.rag_boundary(labels, boundary, connectivity=1)
    for _, _, data in rag.edges(data=True):
        data["cost"] = float(graph.edge_costs(np.array(data["weight"])))
    found = adapters.multicut(rag, "cost")
    assert set(found) == set(range(40))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda g: adapters.multicut([[0, 1]], np.ones(1)), TypeError, "graph must have uv_ids.*got a list"),
        (lambda g: adapters.multicut(g, "cost"), ValueError, r"edge \('a', 'b'\) has no 'cost'"),
        (
            lambda g: adapters.multicut(g, np.ones(3)),
            ValueError,
            r"costs must have shape \(1,\), one per edge, got \(3,\)",
        ),
        (
            lambda g: adapters.lifted_multicut(g, np.ones(1), [("a", "z")], np.ones(1)),
            ValueError,
            "lifted_edges must be pairs of nodes of the graph, got 'z'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=message):
        call(nx.Graph([("a", "b")]))
