import itertools

import numpy as np
import pytest
from hypothesis import given, settings

from difflayers import graph
from difflayers.multicut import Multicut
from difflayers.mutex import mutex_watershed
from tests.graph.test_edges import grids

OFFSETS = [(0, -1, 0), (-1, 0, 0), (0, 0, -1), (0, -3, 0), (-2, 0, 1), (0, 3, -3)]


def random_affinities(seed=0, shape=(5, 9, 8)):
    return np.random.default_rng(seed).random((len(OFFSETS), *shape))


def same_partition(one, other):
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def test_the_cost_of_an_affinity_is_its_log_odds_and_stands_beside_its_edge():
    affinities = random_affinities()
    edges, costs = graph.affinity_costs(affinities, OFFSETS, bias=0.4)
    assert np.array_equal(edges, graph.grid_edges((5, 9, 8), OFFSETS))
    cost_of = dict(zip(map(tuple, edges.tolist()), costs, strict=True))
    number = np.arange(360).reshape(5, 9, 8)
    for channel, offset in enumerate(OFFSETS):
        for voxel in itertools.product((2, 3), (4, 5), (3, 4)):
            a = affinities[(channel, *voxel)]
            edge = int(number[voxel]), int(number[tuple(np.add(voxel, offset))])
            assert cost_of[edge] == pytest.approx(np.log(a / (1 - a)) + np.log(0.6 / 0.4))


@settings(deadline=None)
@given(grids())
def test_costs_go_back_to_the_affinities_of_the_edges_and_nan_elsewhere(grid):
    shape, offsets, strides, mask = grid
    affinities = np.random.default_rng(1).uniform(0.01, 0.99, (len(offsets), *shape))
    kept = {"strides": strides, "mask": mask}
    _, costs = graph.affinity_costs(affinities, offsets, bias=0.3, **kept)
    back = graph.affinities_from_costs(costs, shape, offsets, bias=0.3, **kept)
    positions = graph.affinity_positions(shape, offsets, **kept)
    expected = np.full(affinities.size, np.nan)
    expected[positions] = affinities.reshape(-1)[positions]
    np.testing.assert_allclose(back, expected.reshape(affinities.shape))


@settings(deadline=None)
@given(grids())
def test_positions_point_at_the_first_voxel_of_every_edge(grid):
    shape, offsets, strides, mask = grid
    positions = graph.affinity_positions(shape, offsets, strides=strides, mask=mask)
    edges = graph.grid_edges(shape, offsets=offsets, strides=strides, mask=mask)
    assert np.array_equal(positions % np.prod(shape), edges[:, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mask", [None, np.random.default_rng(7).random((5, 9, 8)) < 0.9])
def test_the_mutex_watershed_of_these_costs_is_bioimage_cpps(dtype, mask):
    segmentation = pytest.importorskip("bioimage_cpp.segmentation")
    for seed in range(5):
        affinities = random_affinities(seed).astype(dtype)
        edges, costs = graph.mutex_costs(affinities, OFFSETS, strides=(1, 2, 2), mask=mask)
        assert costs.dtype == dtype
        segments = mutex_watershed(Multicut(360, edges, costs)).segments
        theirs = affinities.copy()
        theirs[3:] = 1 - theirs[3:]
        expected = segmentation.mutex_watershed(theirs, OFFSETS, 3, strides=(1, 2, 2), mask=mask)
        inside = np.ones(360, bool) if mask is None else mask.ravel()
        assert same_partition(segments[inside], expected.ravel()[inside])


def test_neighbours_attract_and_long_range_pairs_repel_whatever_the_type():
    for affinities in (random_affinities(), random_affinities() > 0.5):
        given_numbers = affinities.astype(np.uint8 if affinities.dtype == bool else np.float64)
        edges, costs = graph.mutex_costs(given_numbers, OFFSETS)
        near = len(graph.grid_edges((5, 9, 8), OFFSETS[:3]))
        assert (costs[:near] >= 0).all()
        assert (costs[near:] <= 0).all()
        assert len(edges) == len(costs)


@pytest.mark.parametrize("convert", [graph.affinity_costs, graph.mutex_costs])
@pytest.mark.parametrize("wrong", [1.02, -0.3, np.nan, np.inf])
def test_an_affinity_outside_0_to_1_never_becomes_a_cost(convert, wrong):
    affinities = random_affinities()
    affinities[3, 2, 4, 3] = wrong
    with pytest.raises(
        ValueError, match=r"affinities must lie in \[0, 1\].*logits are.*pass 1 \+ w|affinities must"
    ):
        convert(affinities, OFFSETS)
    affinities[3, 2, 4, 3] = 0.5
    affinities[3, 2, 0, 3] = wrong  # no edge: voxel (2, -3, 3) does not exist
    convert(affinities, OFFSETS)


def test_maps_of_cuts_show_each_cut_at_its_first_voxel():
    edges = graph.grid_edges((2, 3), [(0, 1), (-1, 0)])
    cuts = np.array([edge.tolist() in ([0, 1], [5, 2]) for edge in edges], np.uint8)
    maps = graph.edge_maps(cuts, (2, 3), [(0, 1), (-1, 0)])
    nan = np.nan
    np.testing.assert_array_equal(maps, [[[1, 0, nan], [0, 0, nan]], [[nan] * 3, [0, 0, 1]]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: graph.affinity_costs(np.zeros(3), [(1,)]), r"affinities must have shape \(k, \*shape\)"),
        (lambda: graph.affinity_costs(np.zeros((2, 3)), [(1,)]), "one map per offset, 1, got 2"),
        (lambda: graph.edge_maps(np.zeros(3), (3,), [(1,)]), r"values must have shape \(2,\).*got \(3,\)"),
    ],
)
def test_maps_that_do_not_fit_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
