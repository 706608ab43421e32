"""What graphs of images and volumes make of malformed arguments: a result or a clear error."""

import numpy as np
from hypothesis import given

from difflayers import adapters, contract, graph
from difflayers.multicut import Multicut
from tests.trust.malformed import budget, spoiled, survives

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 5, (4, 5))
REGIONS = graph.region_graph(LABELS)
EDGES = graph.grid_edges((4, 5), [1])
OFFSETS = np.array([[0, 1], [1, 0], [-2, 1]])
MASK = np.ones((4, 5), bool)
AFFINITIES = RNG.random((3, 4, 5))
COSTS = RNG.normal(size=len(EDGES))


@budget(40)
@given(
    spoiled({"shape": np.array([4, 5]), "offsets": OFFSETS, "mask": np.ones((4, 5), bool), "fraction": 0.5})
)
def test_offsets(arguments):
    edges = survives(graph.grid_edges, arguments)
    assert edges is None or (edges.ndim, edges.shape[1]) == (2, 2)


@budget(40)
@given(spoiled({"affinities": AFFINITIES, "offsets": OFFSETS, "mask": MASK}))
def test_affinities(arguments):
    for convert in (graph.affinity_costs, graph.mutex_costs):
        found = survives(convert, arguments, names=("shape",))
        if found is not None:
            assert len(found[0]) == len(found[1])
            assert np.isfinite(found[1]).all()


@budget(40)
@given(spoiled({"probabilities": RNG.random(7), "bias": 0.4, "sizes": np.arange(7.0)}))
def test_costs(arguments):
    costs = survives(graph.edge_costs, arguments)
    assert costs is None or np.isfinite(costs).all()


@budget(40)
@given(spoiled({"labels": LABELS, "background": 0}))
def test_regions(arguments):
    regions = survives(graph.region_graph, arguments)
    if regions is not None:
        assert regions.sizes.sum() == (regions.nodes >= 0).sum()
        image = graph.label_image(**arguments)
        assert image.shape == regions.nodes.shape


@budget(30)
@given(spoiled({"boundary_map": AFFINITIES[0], "quantiles": np.array([0.1, 0.5])}))
def test_boundaries(arguments):
    def features(**given):
        return graph.boundary_features(REGIONS, **given)

    found = survives(features, arguments)
    assert found is None or np.array_equal(found.count, REGIONS.boundary_sizes)


@budget(30)
@given(spoiled({"affinities": AFFINITIES, "offsets": OFFSETS}))
def test_affinities_of_regions(arguments):
    def features(**given):
        return graph.affinity_features(REGIONS, **given), graph.lifted_affinity_features(REGIONS, **given)

    found = survives(features, arguments)
    assert found is None or len(found[0].mean) == len(REGIONS.edges)


@budget(40)
@given(spoiled({"num_nodes": 20, "edges": EDGES, "costs": COSTS, "sizes": np.abs(COSTS) + 1}))
def test_agglomeration(arguments):
    segments = survives(graph.agglomerate, arguments)
    assert segments is None or len(segments) == arguments["num_nodes"]


@budget(30)
@given(spoiled({"num_nodes": 20, "edges": EDGES, "hops": 3, "probabilities": RNG.dirichlet([1.0] * 3, 20)}))
def test_lifted_edges(arguments):
    found = survives(graph.class_lifted_edges, arguments)
    assert found is None or np.isfinite(found[1]).all()


@budget(30)
@given(spoiled({"segments": RNG.integers(0, 3, 20)}))
def test_contraction(arguments):
    problem = Multicut(20, EDGES, COSTS)
    coarse = survives(lambda segments: contract(problem, segments), arguments)
    assert coarse is None or coarse.num_nodes <= 20


class Grid:
    number_of_nodes = 20

    def uv_ids(self):
        return EDGES.astype(np.uint64)


@budget(30)
@given(spoiled({"costs": COSTS}))
def test_adapters(arguments):
    found = survives(lambda costs: adapters.multicut(Grid(), costs, method="fast"), arguments)
    assert found is None or len(found) == 20
