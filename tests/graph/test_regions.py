import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from difflayers import graph

DTYPES = [np.uint8, np.int16, np.uint32, np.int32, np.uint64, np.int64]
QUANTILES = (0.0, 0.1, 0.5, 0.75, 1.0)


@st.composite
def label_images(draw):
    """A small image of one to four dimensions, whose labels leave gaps, small or large ones."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    known = draw(st.lists(st.integers(-3, 12) | st.integers(-(2**62), 2**62), min_size=1, max_size=5))
    size = int(np.prod(shape))
    return np.array(draw(st.lists(st.sampled_from(known), min_size=size, max_size=size))).reshape(shape)


def boundary_pairs(labels):
    """Every pair of neighbouring voxels of different labels, voxel by voxel."""
    for voxel in itertools.product(*map(range, labels.shape)):
        for axis in range(labels.ndim):
            other = tuple(i + (k == axis) for k, i in enumerate(voxel))
            if other[axis] < labels.shape[axis] and labels[voxel] != labels[other]:
                yield voxel, other


def random_volume(seed=0, dtype=np.int64):
    """Labels with gaps, of which many regions are not connected."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 12, (2, 3, 3)) * 5 + 3).astype(dtype).repeat(3, 0).repeat(3, 1).repeat(2, 2)


@settings(deadline=None)
@given(label_images(), st.booleans())
def test_regions_touch_where_neighbouring_voxels_differ_and_the_boundary_counts_them(labels, has_background):
    background = int(labels.flat[0]) if has_background else None
    regions = graph.region_graph(labels, background)
    expected = Counter()
    for voxel, other in boundary_pairs(labels):
        if background not in (labels[voxel], labels[other]):
            expected[tuple(sorted((int(labels[voxel]), int(labels[other]))))] += 1
    found = [tuple(edge) for edge in regions.labels[regions.edges].tolist()]
    assert dict(zip(found, regions.boundary_sizes.tolist(), strict=True)) == dict(expected)
    assert found == sorted(found)
    known, sizes = np.unique(labels[labels != background], return_counts=True)
    assert regions.labels.tolist() == known.tolist()
    assert regions.sizes.tolist() == sizes.tolist()
    inside = labels != background
    assert (regions.labels[regions.nodes[inside]] == labels[inside]).all()
    assert (regions.nodes[~inside] == -1).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_integer_type_far_apart_or_not_gives_the_same_graph(dtype):
    labels = random_volume()
    expected = graph.region_graph(labels)
    others = [labels.astype(dtype)]
    if dtype in (np.uint64, np.int64):
        others.append(labels.astype(dtype) * dtype(10**17))
    if np.dtype(dtype).kind == "u":
        others.append(labels.astype(dtype) + (np.iinfo(dtype).max - dtype(labels.max())))
    for other in others:
        found = graph.region_graph(other)
        assert found.labels.dtype == dtype
        assert np.array_equal(found.labels, np.unique(other))
        for name in ("edges", "boundary_sizes", "sizes", "nodes"):
            assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def test_layout_and_byte_order_do_not_matter():
    labels = random_volume()
    expected = graph.region_graph(labels)
    swapped = np.asfortranarray(labels).astype(">i8")
    for other in (np.asfortranarray(labels), labels[::-1][::-1], swapped):
        assert np.array_equal(graph.region_graph(other).boundary_sizes, expected.boundary_sizes)
    assert np.array_equal(
        graph.region_graph(labels[:, ::2, ::-1]).edges, graph.region_graph(labels[:, ::2, ::-1].copy()).edges
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_graph_and_features_are_bioimage_cpps(dtype):
    theirs = pytest.importorskip("bioimage_cpp.graph")
    for seed in range(4):
        labels = random_volume(seed, np.uint32)
        rng = np.random.default_rng(seed)
        offsets = [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 3, 0), (-2, 0, 4)]
        boundary = rng.random(labels.shape).astype(dtype)
        affinities = rng.random((5, *labels.shape)).astype(dtype)
        rag = theirs.region_adjacency_graph(labels)
        regions = graph.region_graph(labels)
        assert np.array_equal(regions.labels[regions.edges], rag.uv_ids())
        quantiles = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
        columns = [5, 6, 7, 1, 8, 9, 10]
        for expected, found in (
            (
                theirs.features.edge_map_features_complex(rag, labels, boundary),
                graph.boundary_features(regions, boundary, quantiles),
            ),
            (
                theirs.features.affinity_features_complex(rag, labels, affinities, offsets),
                graph.affinity_features(regions, affinities, offsets, quantiles),
            ),
        ):
            np.testing.assert_allclose(found.mean, expected[:, 0], rtol=1e-6)
            np.testing.assert_allclose(found.min, expected[:, 3], rtol=1e-6)
            np.testing.assert_allclose(found.max, expected[:, 4], rtol=1e-6)
            np.testing.assert_allclose(found.quantiles, expected[:, columns], rtol=1e-6)
            assert np.array_equal(found.count, expected[:, 11])
        lifted, features = graph.lifted_affinity_features(regions, affinities, offsets, quantiles)
        far = theirs.features.lifted_edges_from_affinities(rag, labels, offsets)
        assert np.array_equal(regions.labels[lifted], far)
        expected = theirs.features.lifted_affinity_features(labels, affinities, offsets, far)
        np.testing.assert_allclose(features.mean, expected[:, 0], rtol=1e-6)
        assert np.array_equal(features.count, expected[:, 1])


@settings(deadline=None)
@given(label_images(), st.integers(0, 2**32 - 1))
def test_boundary_features_are_numpys_of_the_means_of_both_sides(labels, seed):
    boundary = np.random.default_rng(seed).integers(0, 256, labels.shape).astype(np.uint8)
    values = {}
    for voxel, other in boundary_pairs(labels):
        pair = tuple(sorted((int(labels[voxel]), int(labels[other]))))
        values.setdefault(pair, []).append((int(boundary[voxel]) + int(boundary[other])) / 2)
    regions = graph.region_graph(labels)
    features = graph.boundary_features(regions, boundary, QUANTILES)
    for e, (u, v) in enumerate(regions.labels[regions.edges].tolist()):
        np.testing.assert_allclose(features.mean[e], np.mean(values[u, v]))
        np.testing.assert_allclose(features.quantiles[e], np.quantile(values[u, v], QUANTILES))
        assert (features.min[e], features.max[e]) == (min(values[u, v]), max(values[u, v]))
    assert np.array_equal(features.count, regions.boundary_sizes)


@settings(deadline=None)
@given(label_images(), st.integers(0, 2**32 - 1), st.data())
def test_affinities_of_an_edge_are_those_of_all_pairs_an_offset_joins_across_it(labels, seed, data):
    offset = st.tuples(*[st.integers(-3, 3)] * labels.ndim).filter(any)
    offsets = data.draw(st.lists(offset, min_size=1, max_size=4))
    affinities = np.random.default_rng(seed).random((len(offsets), *labels.shape))
    regions = graph.region_graph(labels)
    near = {tuple(edge) for edge in regions.edges.tolist()}
    values, far_values = {}, {}
    for c, step in enumerate(offsets):
        for p, q in graph.grid_edges(labels.shape, [step]).tolist():
            u, v = sorted((int(regions.nodes.flat[p]), int(regions.nodes.flat[q])))
            if (u, v) in near:
                values.setdefault((u, v), []).append(affinities[c].flat[p])
            elif u != v and sum(map(abs, step)) > 1:
                far_values.setdefault((u, v), []).append(affinities[c].flat[p])
    features = graph.affinity_features(regions, affinities, offsets, QUANTILES)
    lifted, lifted_features = graph.lifted_affinity_features(regions, affinities, offsets, QUANTILES)
    assert [tuple(edge) for edge in lifted.tolist()] == sorted(far_values)
    for edges, found, expected in ((regions.edges, features, values), (lifted, lifted_features, far_values)):
        for e, edge in enumerate(edges.tolist()):
            there = expected.get(tuple(edge), [])
            assert found.count[e] == len(there)
            wanted = [np.mean(there), *np.quantile(there, QUANTILES)] if there else [np.nan] * 6
            np.testing.assert_allclose([found.mean[e], *found.quantiles[e]], wanted)


def test_region_features_are_scipys_and_leave_the_background_out():
    labels = random_volume(3)
    image = np.random.default_rng(0).normal(size=labels.shape)
    for background in (None, 8):
        regions = graph.region_graph(labels, background)
        features = graph.region_features(regions, image, (0.5,))
        for found, measure in (
            (features.mean, ndimage.mean),
            (features.min, ndimage.minimum),
            (features.max, ndimage.maximum),
            (features.quantiles[:, 0], ndimage.median),
        ):
            np.testing.assert_allclose(found, measure(image, labels, regions.labels))
        assert np.array_equal(features.count, regions.sizes)


def test_values_of_regions_go_back_to_their_voxels():
    labels = random_volume()
    regions = graph.region_graph(labels, background=8)
    assert np.array_equal(regions.to_voxels(regions.labels, background=8), labels)
    rows = np.stack([regions.labels, regions.sizes], axis=1)
    assert np.array_equal(regions.to_voxels(rows)[..., 0], np.where(labels == 8, 0, labels))
    with pytest.raises(ValueError, match=r"values must have one row for each of \d+ nodes, got \(2,\)"):
        regions.to_voxels(np.zeros(2))


@settings(deadline=None)
@given(label_images(), st.booleans())
def test_label_images_are_uint32_contiguous_from_1_and_0_in_the_background(labels, has_background):
    background = int(labels.flat[-1]) if has_background else None
    image = graph.label_image(labels, background)
    assert image.dtype == np.uint32
    assert np.array_equal(image == 0, labels == background)
    known = np.unique(labels[labels != background])
    assert all((image[labels == label] == i + 1).all() for i, label in enumerate(known))


def test_a_volume_of_background_alone_has_an_empty_graph():
    regions = graph.region_graph(np.zeros((3, 3), np.uint8), background=0)
    assert regions.num_nodes == 0
    assert regions.edges.shape == (0, 2)
    assert regions.to_voxels(np.empty(0, np.uint8), background=0).tolist() == [[0] * 3] * 3
    assert graph.boundary_features(regions, np.zeros((3, 3))).count.size == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda r: graph.region_graph(np.zeros((2, 2))), TypeError, "labels must be integers"),
        (lambda r: graph.region_graph(np.zeros((2, 0), int)), ValueError, "labels"),
        (
            lambda r: graph.region_graph(np.zeros((2, 2), bool)),
            TypeError,
            "labels must be integers, got bool",
        ),
        (
            lambda r: graph.boundary_features(r, np.zeros((2, 2))),
            ValueError,
            r"boundary_map must have shape \(2, 3\), got \(2, 2\)",
        ),
        (
            lambda r: graph.boundary_features(r, np.full((2, 3), np.nan)),
            ValueError,
            "boundary_map must be no NaN",
        ),
        (lambda r: graph.boundary_features(r, np.full((2, 3), "a")), TypeError, "boundary_map"),
        (lambda r: graph.boundary_features(r, np.zeros((2, 3)), [2.0]), ValueError, "quantiles"),
        (
            lambda r: graph.affinity_features(r, np.zeros((1, 2, 3)), [(0, 1), (1, 0)]),
            ValueError,
            r"affinities must have shape \(2, 2, 3\), got \(1, 2, 3\)",
        ),
        (lambda r: graph.region_features(r, np.zeros((3, 2))), ValueError, "image must have shape"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, error, message):
    regions = graph.region_graph(np.array([[0, 0, 1], [0, 2, 1]]))
    with pytest.raises(error, match=message):
        call(regions)
