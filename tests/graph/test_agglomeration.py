import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers import graph
from difflayers.multicut import Multicut
from difflayers.mutex import mutex_watershed

LINKAGES = ("average", "sum", "min", "max", "absolute maximum")
THEIR_NAMES = {"average": "mean", "sum": "sum", "min": "min", "max": "max", "absolute maximum": "abs_max"}


@st.composite
def signed_graphs(draw):
    """A small graph with parallel edges, costs that tie, and sizes."""
    n = draw(st.integers(1, 8))
    node = st.integers(0, n - 1)
    edges = draw(st.lists(st.tuples(node, node).filter(lambda e: e[0] != e[1]), max_size=16 if n > 1 else 0))
    costs = draw(st.lists(st.integers(-4, 4), min_size=len(edges), max_size=len(edges)))
    sizes = draw(st.lists(st.integers(1, 3), min_size=len(edges), max_size=len(edges)))
    return n, np.array(edges, int).reshape(-1, 2), np.array(costs, float), np.array(sizes, float)


def interaction(costs, sizes, linkage):
    """The linkage of all edges between two clusters, from its definition, and the edge that stands for it."""
    if linkage in ("average", "sum"):
        return ((costs * sizes).sum() / sizes.sum() if linkage == "average" else costs.sum()), 0
    chosen = {"min": -costs, "max": costs, "absolute maximum": np.abs(costs)}[linkage].argmax()
    return costs[chosen], chosen


def by_brute_force(n, edges, costs, sizes, linkage, cannot_link):
    """Algorithm 1 of GASP: every interaction computed anew from the edges in every step."""
    cluster, apart = np.arange(n), set()
    while True:
        between = {}
        for e, (u, v) in enumerate(cluster[edges]):
            if u != v:
                between.setdefault(frozenset((int(u), int(v))), []).append(e)
        best = None
        for pair, members in between.items():
            w, chosen = interaction(costs[members], sizes[members], linkage)
            rank = (abs(w) if cannot_link else w, -members[chosen])
            if pair not in apart and rank[0] > 0 and (best is None or rank > best[0]):
                best = rank, w, pair
        if best is None:
            return cluster
        _, w, pair = best
        if w < 0:
            apart.add(pair)
            continue
        gone, kept = pair
        cluster[cluster == gone] = kept
        apart = {frozenset(kept if c == gone else c for c in other) for other in apart}


def in_order_of_first_nodes(cluster):
    order = {c: i for i, c in enumerate(dict.fromkeys(cluster.tolist()))}
    return [order[c] for c in cluster.tolist()]


@pytest.mark.parametrize("cannot_link", [False, True])
@pytest.mark.parametrize("linkage", LINKAGES)
@settings(deadline=None, max_examples=60)
@given(instance=signed_graphs())
def test_every_linkage_is_gasp_by_brute_force_ties_included(linkage, cannot_link, instance):
    n, edges, costs, sizes = instance
    given_sizes = sizes if linkage == "average" else None
    expected = by_brute_force(n, edges, costs, sizes, linkage, cannot_link)
    segments = graph.agglomerate(n, edges, costs, linkage, cannot_link=cannot_link, sizes=given_sizes)
    assert segments.tolist() == in_order_of_first_nodes(expected)


def random_graph(seed, n=400, m=3000):
    rng = np.random.default_rng(seed)
    edges = np.unique(np.sort(rng.integers(0, n, (m, 2)), axis=1), axis=0)
    edges = edges[edges[:, 0] != edges[:, 1]]
    return n, edges, rng.normal(size=len(edges)) + 0.1


@pytest.mark.parametrize("linkage", LINKAGES)
def test_segments_are_those_of_bioimage_cpps_policy(linkage):
    theirs = pytest.importorskip("bioimage_cpp.graph")
    for seed in range(4):
        n, edges, costs = random_graph(seed)
        rag = theirs.UndirectedGraph.from_edges(n, edges.astype(np.uint64))
        assert np.array_equal(rag.uv_ids(), edges)
        policy = theirs.agglomeration.GaspClusterPolicy(linkage=THEIR_NAMES[linkage])
        expected = np.asarray(policy.optimize(rag, costs))
        assert graph.agglomerate(n, edges, costs, linkage).tolist() == in_order_of_first_nodes(expected)


def test_the_absolute_maximum_is_the_mutex_watershed_and_like_min_needs_no_constraints():
    for seed in range(4):
        n, edges, costs = random_graph(seed)
        expected = mutex_watershed(Multicut(n, edges, costs)).segments
        for cannot_link in (False, True):
            found = graph.agglomerate(n, edges, costs, "absolute maximum", cannot_link=cannot_link)
            assert np.array_equal(found, expected)
        unconstrained = graph.agglomerate(n, edges, costs, "min")
        assert np.array_equal(graph.agglomerate(n, edges, costs, "min", cannot_link=True), unconstrained)


def test_of_equal_strength_the_mutex_watershed_and_the_absolute_maximum_take_the_same_edge_first():
    for seed in range(20):
        n, edges, costs = random_graph(seed, n=30, m=120)
        costs = np.sign(costs) * (1 + seed % 3)
        expected = mutex_watershed(Multicut(n, edges, costs)).segments
        found = graph.agglomerate(n, edges, costs, "absolute maximum", cannot_link=True)
        assert np.array_equal(found, expected)


def test_a_hub_with_very_many_edges_is_merged_in_a_moment():
    # The hub swallows every leaf; moving its chain instead of the leaf's would take 10¹⁰ steps.
    leaves = np.arange(1, 100_001)
    edges = np.concatenate([np.stack([0 * leaves, leaves], 1), np.stack([leaves[:-1], leaves[1:]], 1)])
    costs = np.concatenate([np.ones(len(leaves)), -np.ones(len(leaves) - 1) / 4])
    assert (graph.agglomerate(100_001, edges, costs, "sum") == 0).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"linkage": "mean"}, ValueError, "linkage must be one of 'average', 'sum', 'min', 'max'"),
        ({"costs": np.array([np.inf])}, ValueError, "costs must be finite, got inf"),
        ({"costs": np.zeros(2)}, ValueError, r"costs must have shape \(1,\), got \(2,\)"),
        ({"costs": np.array(["a"])}, TypeError, "costs must be real numbers"),
        ({"edges": np.array([[0, 3]])}, ValueError, "edges must index nodes 0 to 2"),
        ({"sizes": np.zeros(1)}, ValueError, "sizes must be positive"),
        ({"sizes": np.ones(1), "linkage": "sum"}, ValueError, "sizes are for the linkage"),
        ({"num_nodes": 0}, ValueError, "num_nodes"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(arguments, error, message):
    good = {"num_nodes": 3, "edges": np.array([[0, 1]]), "costs": np.ones(1)}
    with pytest.raises(error, match=message):
        graph.agglomerate(**{**good, **arguments})
