"""Volumes by blocks: the graph of the whole, the same result on every scheduler, resumed and named errors."""

import signal
import subprocess
import sys

import dask
import dask.array
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from difflayers import blockwise, graph, multicut


def made_volume(shape=(24, 30, 28), cells=60, seed=0):
    """Supervoxels with gaps in their numbers, and a noisy boundary map of the slabs that they belong to."""
    rng = np.random.default_rng(seed)
    seeds = np.zeros(shape, bool)
    seeds.flat[rng.choice(seeds.size, cells, replace=False)] = True
    nearest = ndimage.distance_transform_edt(~seeds, return_distances=False, return_indices=True)
    labels = (np.arange(seeds.size).reshape(shape) * 3 + 5)[tuple(nearest)].astype(np.uint64)
    slab = np.broadcast_to(np.arange(shape[-1]) // 9, shape)
    boundary = (slab != ndimage.maximum_filter(slab, 3)) | (slab != ndimage.minimum_filter(slab, 3))
    return labels, np.clip(0.25 + 0.5 * boundary + 0.15 * rng.normal(size=shape), 0, 1)


def same(one, other):
    return np.array_equal(one.solution.segments, other.solution.segments) and (
        one.solution.lower_bound == other.solution.lower_bound
    )


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize("background", [None, "most common"])
def test_regions_and_features_of_the_blocks_are_those_of_the_whole(scheduler, background):
    labels, boundary = made_volume()
    if background is not None:
        background = int(np.bincount(labels.ravel().astype(int)).argmax())
    with dask.config.set(scheduler=scheduler):
        found = blockwise.multicut(labels, boundary, (10, 12, 11), background=background)
    regions = graph.region_graph(labels, background)
    features = graph.boundary_features(regions, boundary)
    assert np.array_equal(found.regions.labels, regions.labels)
    assert np.array_equal(found.regions.sizes, regions.sizes)
    assert np.array_equal(found.problem.edges, regions.edges)
    assert np.array_equal(found.regions.boundary_sizes, regions.boundary_sizes)
    np.testing.assert_allclose(found.regions.boundary_means, features.mean)
    expected = graph.edge_costs(features.mean, sizes=features.count)
    np.testing.assert_allclose(found.problem.edge_costs, expected, atol=1e-12)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=3),
    st.lists(st.integers(1, 8), min_size=3, max_size=3),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
    st.integers(0, 2**32 - 1),
)
def test_blocks_of_any_shape_count_every_pair_of_voxels_once(shape, block, halo, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-3, 4, shape)
    boundary = rng.random(shape)
    with dask.config.set(scheduler="synchronous"):
        found = blockwise.multicut(labels, boundary, block[: len(shape)], halo=halo[: len(shape)])
    regions = graph.region_graph(labels)
    assert np.array_equal(found.regions.labels[found.problem.edges], regions.labels[regions.edges])
    assert np.array_equal(found.regions.boundary_sizes, regions.boundary_sizes)
    features = graph.boundary_features(regions, boundary)
    np.testing.assert_allclose(found.regions.boundary_means, features.mean)


def test_blocks_come_close_to_the_whole_and_their_bound_is_one_of_the_whole():
    labels, boundary = made_volume(cells=600)
    found = blockwise.multicut(labels, boundary, (12, 15, 14), bound=True)
    whole = multicut.solve(found.problem, "best")
    assert found.solution.lower_bound <= whole.cost
    assert found.solution.cost <= whole.cost + 0.02 * abs(whole.cost)
    # "fast" keeps most of what the blocks have found, right or wrong.
    fast = blockwise.multicut(labels, boundary, (12, 15, 14), method="fast").solution
    assert fast.cost <= whole.cost + 0.1 * abs(whole.cost)


class OnDisk:
    """What zarr and h5py have."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim
        self.chunks = (8, 8, 8)

    def __getitem__(self, box):
        return self.array[box]


def test_every_kind_of_array_gives_the_same_result():
    labels, boundary = made_volume()
    expected = blockwise.multicut(labels, boundary, (10, 12, 11))
    chunked = dask.array.from_array(labels, chunks=(7, 9, 28)), dask.array.from_array(boundary, chunks=8)
    assert same(blockwise.multicut(*chunked, (10, 12, 11)), expected)

    assert same(blockwise.multicut(OnDisk(labels), OnDisk(boundary), (10, 12, 11)), expected)


class Broken:
    """An array of which a part cannot be read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

    def __getitem__(self, box):
        if box[0].start >= 10:
            raise OSError("bad chunk")
        return self.array[box]


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize("as_dask", [False, True])
def test_what_cannot_be_read_names_the_block(scheduler, as_dask):
    labels, boundary = made_volume()
    broken = Broken(boundary)
    if as_dask:
        broken = dask.array.from_array(broken, chunks=(10, 30, 28), asarray=True)
    with (
        dask.config.set(scheduler=scheduler),
        pytest.raises(blockwise.BlockError, match=r"block \d+ \(\d+:\d+, .*OSError: bad chunk"),
    ):
        blockwise.multicut(labels, broken, (10, 12, 11), halo=(0, 0, 0))


def test_segments_go_back_to_voxels_block_by_block():
    labels, boundary = made_volume()
    ignored = int(labels[0, 0, 0])
    found = blockwise.multicut(labels, boundary, (10, 12, 11), background=ignored)
    volume = found.to_voxels(dask.array.from_array(labels, chunks=10))
    assert volume.dtype == np.uint32
    regions = graph.region_graph(labels, background=ignored)
    expected = regions.to_voxels(found.solution.segments + 1, background=0)
    assert np.array_equal(volume.compute(), expected)
    assert np.array_equal(found.to_voxels(labels).compute(), expected)


def test_a_local_cluster_gives_the_same_result_and_its_errors_name_the_block():
    distributed = pytest.importorskip("distributed")
    labels, boundary = made_volume()
    expected = blockwise.multicut(labels, boundary, (10, 12, 11))
    spoiled = boundary.copy()
    spoiled[12:18, :8, :8] = np.nan
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        assert same(blockwise.multicut(labels, boundary, (10, 12, 11)), expected)
        assert same(blockwise.multicut(labels, OnDisk(boundary), (10, 12, 11)), expected)
        with pytest.raises(blockwise.BlockError, match=r"block 9 \(10:20, 0:12, 0:11\).*no NaN"):
            blockwise.multicut(labels, spoiled, (10, 12, 11), halo=(0, 0, 0))


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path, monkeypatch):
    labels, boundary = made_volume()
    expected = blockwise.multicut(labels, boundary, (6, 6, 6), folder=tmp_path / "whole")

    def killed(step, done, total):
        if step == "regions" and done > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        blockwise.multicut(labels, boundary, (6, 6, 6), folder=tmp_path / "run", progress=killed)
    stored = len(list((tmp_path / "run").glob("regions-*.npz")))
    assert 40 < stored < 100

    reports = []
    found = blockwise.multicut(
        labels, boundary, (6, 6, 6), folder=tmp_path / "run", progress=lambda *report: reports.append(report)
    )
    assert same(found, expected)
    assert reports[0][0] == "regions"
    assert reports[0][1] > stored  # the stored ones were not computed again
    assert reports[-3:] == [("parts", 100, 100), ("rest", 1, 1), ("whole", 1, 1)]
    again = []
    assert same(
        blockwise.multicut(labels, boundary, (6, 6, 6), folder=tmp_path / "run", progress=again.append), found
    )
    assert again == []


RUN = """
import sys, time
import numpy as np
from difflayers import blockwise
from tests.blockwise.test_volume import made_volume

def report(step, done, total):
    print(step, done, flush=True)
    time.sleep(0.1)

blockwise.multicut(*made_volume(), (6, 6, 6), folder=sys.argv[1], progress=report)
"""


@pytest.mark.parametrize("step", ["regions", "parts", "rest"])
def test_after_kill_9_a_run_goes_on_where_it_was(tmp_path, step):
    with subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path)], stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            if line.decode().startswith(step):
                process.kill()
                break
    assert process.returncode == -signal.SIGKILL
    stored = len(list(tmp_path.glob(f"{step}-*.npz")))
    assert stored > 0
    reports = []
    labels, boundary = made_volume()
    found = blockwise.multicut(
        labels, boundary, (6, 6, 6), folder=tmp_path, progress=lambda *report: reports.append(report)
    )
    assert all(done > stored for name, done, _ in reports if name == step)
    assert same(found, blockwise.multicut(labels, boundary, (6, 6, 6)))


def test_a_folder_of_another_run_is_refused(tmp_path):
    labels, boundary = made_volume((8, 8, 8), 5)
    blockwise.multicut(labels, boundary, (4, 4, 4), folder=tmp_path)
    with pytest.raises(ValueError, match=r"holds a run with block_shape=\[4, 4, 4\], not \[5, 4, 4\]"):
        blockwise.multicut(labels, boundary, (5, 4, 4), folder=tmp_path)
    with pytest.raises(ValueError, match=r"holds a run with bias=0.5, not 0.4"):
        blockwise.multicut(labels, boundary, (4, 4, 4), bias=0.4, folder=tmp_path)
    for other in ((labels, boundary**2), (labels + np.uint64(1), boundary)):
        with pytest.raises(ValueError, match="holds a run with checksum of the volume="):
            blockwise.multicut(*other, (4, 4, 4), folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"maps": np.zeros((4, 5))},
            ValueError,
            r"boundary_map must have shape \(4, 4\), got \(4, 5\)",
        ),
        ({"labels": np.zeros((4, 4))}, TypeError, "labels must be integers, got float64"),
        ({"block_shape": (2,)}, ValueError, "block_shape must be 2 positive integers"),
        ({"halo": (-1, 0)}, ValueError, "halo must be 2 integers of at least 0"),
        ({"bias": 1.0}, ValueError, "bias must be a number between 0 and 1"),
        ({"background": 0}, ValueError, "labels must have a region at least"),
        (
            {"maps": np.full((4, 4), 7.0)},
            blockwise.BlockError,
            r"block 0 \(0:2, 0:2\).*boundary_map must lie in \[0, 1\]",
        ),
        (
            {"maps": np.full((1, 4, 4), 7.0), "offsets": [(0, 1)]},
            blockwise.BlockError,
            r"block 0 \(0:2, 0:2\).*affinities must lie in \[0, 1\]",
        ),
        (
            {"maps": np.zeros((2, 4, 4))},
            ValueError,
            r"boundary_map must have shape \(4, 4\), got \(2, 4, 4\); affinity maps need offsets",
        ),
        (
            {"offsets": [(0, 1)]},
            ValueError,
            r"affinities must have shape \(1, 4, 4\), got \(4, 4\)",
        ),
        ({"offsets": [(0, 0, 1)]}, ValueError, "offsets must be rows of 2 integers"),
        ({"lifted": True}, ValueError, "lifted=True needs affinity maps and their offsets"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arguments, error, message):
    labels = np.zeros((4, 4), int)
    if "maps" in arguments and arguments["maps"].shape[-2:] == (4, 4):
        labels[0, 1] = 1
    good = {"labels": labels, "maps": np.zeros((4, 4)), "block_shape": (2, 2)}
    with pytest.raises(error, match=message):
        blockwise.multicut(**{**good, **arguments})
