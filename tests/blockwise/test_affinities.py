"""Volumes of affinities by blocks: features, lifted edges and supervoxels are those of the whole."""

import dask
import dask.array
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers import blockwise, graph, lifted_multicut, multicut
from difflayers.multicut import Multicut
from difflayers.mutex import mutex_watershed
from tests.blockwise.test_volume import made_volume

OFFSETS = [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (-4, 0, 0), (0, -7, 3), (0, 9, 0), (0, 0, -11)]


@pytest.fixture(autouse=True)
def one_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def made_affinities(seed=0):
    """The supervoxels of a volume, and noisy affinities of its slabs."""
    labels, _ = made_volume(cells=300, seed=seed)
    slab = np.broadcast_to(np.arange(labels.shape[-1]) // 9, labels.shape)
    same = np.stack([slab == np.roll(slab, -np.array(o), (0, 1, 2)) for o in OFFSETS])
    noise = np.random.default_rng(seed).normal(size=same.shape)
    return labels, np.clip(0.2 + 0.6 * same + 0.2 * noise, 0, 1)


def of_the_whole(labels, affinities, offsets, background=None):
    regions = graph.region_graph(labels, background)
    features = graph.affinity_features(regions, affinities, offsets)
    return regions, features, *graph.lifted_affinity_features(regions, affinities, offsets)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=3),
    st.lists(st.integers(1, 8), min_size=3, max_size=3),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.data(),
)
def test_blocks_of_any_shape_see_every_pair_an_offset_joins_once(shape, block, halo, seed, masked, data):
    d = len(shape)
    offset = st.tuples(*[st.integers(-8, 8)] * d).filter(any)
    offsets = data.draw(st.lists(offset, min_size=1, max_size=4, unique=True))
    rng = np.random.default_rng(seed)
    labels, affinities = rng.integers(-3, 4, shape), rng.random((len(offsets), *shape))
    background = -3 if masked and (labels != -3).any() else None
    found = blockwise.regions(
        labels, affinities, block[:d], offsets=offsets, halo=halo[:d], background=background
    )
    regions, features, lifted, lifted_features = of_the_whole(labels, affinities, offsets, background)
    assert np.array_equal(found.labels, regions.labels)
    assert np.array_equal(found.sizes, regions.sizes)
    assert np.array_equal(found.edges, regions.edges)
    assert np.array_equal(found.boundary_sizes, features.count)
    np.testing.assert_allclose(found.boundary_means, 1 - features.mean, atol=1e-12)
    assert np.array_equal(found.lifted_edges, lifted)
    assert np.array_equal(found.lifted_sizes, lifted_features.count)
    np.testing.assert_allclose(found.lifted_means, 1 - lifted_features.mean, atol=1e-12)


def test_costs_come_from_affinities_and_the_blocks_from_near_the_whole():
    labels, affinities = made_affinities()
    found = blockwise.multicut(labels, affinities, (12, 15, 14), offsets=OFFSETS, bias=0.6, bound=True)
    _, features, _, _ = of_the_whole(labels, affinities, OFFSETS)
    costs = graph.edge_costs(1 - features.mean, 0.6, sizes=features.count)
    np.testing.assert_allclose(found.problem.edge_costs, costs, atol=1e-12)
    whole = multicut.solve(found.problem, "best")
    assert found.solution.lower_bound <= whole.cost
    assert found.solution.cost <= whole.cost + 0.02 * abs(whole.cost)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_lifted_edges_come_from_long_range_affinities(scheduler):
    labels, affinities = made_affinities()
    with dask.config.set(scheduler=scheduler):
        found = blockwise.multicut(labels, affinities, (12, 15, 14), offsets=OFFSETS, lifted=True, bound=True)
    _, _, lifted, features = of_the_whole(labels, affinities, OFFSETS)
    assert np.array_equal(found.problem.lifted_edges, lifted)
    costs = graph.edge_costs(1 - features.mean, sizes=features.count)
    np.testing.assert_allclose(found.problem.lifted_costs, costs, atol=1e-12)
    whole = lifted_multicut.solve(found.problem, "best")
    assert lifted_multicut.is_feasible(found.problem, found.solution.segments)
    assert found.solution.cost == lifted_multicut.evaluate(found.problem, found.solution.segments)
    assert found.solution.lower_bound <= whole.cost
    assert found.solution.cost <= whole.cost + 0.03 * abs(whole.cost)
    assert np.array_equal(
        found.to_voxels(labels).compute(), found.solution.segments[graph.region_graph(labels).nodes] + 1
    )


def test_an_edge_that_no_offset_reaches_costs_nothing():
    labels = np.array([[1, 1, 1], [2, 2, 2], [3, 3, 3]])
    found = blockwise.multicut(labels, np.full((1, 3, 3), 0.9), (2, 2), offsets=[(2, 0)], lifted=True)
    assert found.problem.edges.tolist() == [[0, 1], [1, 2]]
    assert found.problem.edge_costs.tolist() == [0, 0]
    assert found.regions.boundary_sizes.tolist() == [0, 0]
    assert found.problem.lifted_edges.tolist() == [[0, 2]]
    np.testing.assert_allclose(found.problem.lifted_costs, np.log(9))


def test_costs_of_ones_own_are_solved_on_the_parts_of_the_regions():
    labels, affinities = made_affinities()
    regions = blockwise.regions(labels, affinities, (12, 15, 14), offsets=OFFSETS)
    expected = blockwise.multicut(labels, affinities, (12, 15, 14), offsets=OFFSETS, bound=True)
    costs = graph.edge_costs(regions.boundary_means, sizes=regions.boundary_sizes)
    found = blockwise.solve(Multicut(regions.num_nodes, regions.edges, costs), regions.parts, bound=True)
    assert found.cost == expected.solution.cost
    assert found.lower_bound == expected.solution.lower_bound
    assert np.array_equal(regions.to_voxels(labels, regions.labels).compute(), labels)


@pytest.mark.parametrize("strides", [None, (1, 2, 2)])
@pytest.mark.parametrize("masked", [False, True])
def test_supervoxels_are_the_mutex_watershed_of_every_block(strides, masked):
    _, affinities = made_affinities()
    shape = affinities.shape[1:]
    mask = np.random.default_rng(0).random(shape) < 0.9 if masked else None
    labels = blockwise.supervoxels(
        dask.array.from_array(affinities, chunks=9), OFFSETS, (12, 15, 14), strides=strides, mask=mask
    ).compute()
    assert labels.dtype == np.uint64
    inside = np.ones(shape, bool) if mask is None else mask
    assert ((labels == 0) == ~inside).all()
    seen = set()
    for z in (0, 12):
        for y in (0, 15):
            for x in (0, 14):
                box = (slice(z, z + 12), slice(y, y + 15), slice(x, x + 14))
                edges, costs = graph.mutex_costs(
                    affinities[(slice(None), *box)], OFFSETS, strides=strides, mask=inside[box]
                )
                size = labels[box].size
                segments = mutex_watershed(Multicut(size, edges, costs)).segments[inside[box].ravel()]
                ours = labels[box][inside[box]]
                pairs = np.unique(np.stack([segments.astype(np.uint64), ours]), axis=1)
                assert len(pairs[0]) == len(np.unique(segments)) == len(np.unique(ours))
                assert seen.isdisjoint(ours.tolist())
                seen.update(ours.tolist())


def test_from_affinities_alone_the_slabs_are_found_across_the_blocks():
    _, affinities = made_affinities()
    labels = blockwise.supervoxels(affinities, OFFSETS, (12, 15, 14), strides=(1, 3, 3)).persist()
    found = blockwise.multicut(labels, affinities, (12, 15, 14), offsets=OFFSETS)
    image = found.to_voxels(labels).compute()
    slab = np.arange(image.shape[-1]) // 9
    for number in range(3):
        inside = image[..., slab == number]
        assert (inside == np.bincount(inside.ravel()).argmax()).mean() > 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"affinities": np.zeros((2, 4, 4))}, "affinities must have one map per offset, 1, got 2"),
        ({"offsets": [(1,)]}, "offsets must be rows of 2 integers"),
        ({"block_shape": (4,)}, "block_shape must be 2 positive integers"),
        ({"strides": (0, 1)}, "strides must be 2 positive integers"),
        ({"mask": np.zeros((4, 4))}, r"mask must be bool of shape \(4, 4\), got float64"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arguments, message):
    good = {"affinities": np.zeros((1, 4, 4)), "offsets": [(0, 1)], "block_shape": (2, 2)}
    with pytest.raises(ValueError, match=message):
        blockwise.supervoxels(**{**good, **arguments})
