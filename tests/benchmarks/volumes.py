"""Region graphs, features, lifted edges and agglomeration against bioimage-cpp's, in one run.

    python -m tests.benchmarks.volumes [--side 200] [--regions 16000] [--repeats 3]

The made volume has a Voronoi cell for each of its regions, whose numbers are in no order. The maps are noise.
Times are the least of the repeats, in ms of processor time, because bioimage-cpp's threads and other programs
would blur elapsed time. Both work in one thread. The last column says whether the results are the same: edges
and counts exactly, statistics up to 1e-6, segments as partitions.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from difflayers import graph

OFFSETS = [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]
LONG_RANGE = [(-5, 0, 0), (0, -5, 5)]
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
# Columns of bioimage-cpp's features: the quantiles above.
COLUMNS = [5, 6, 7, 1, 8, 9, 10]


def main() -> None:
    """Print a row for every task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=200)
    parser.add_argument("--regions", type=int, default=16_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    labels = voronoi_cells((arguments.side,) * 3, arguments.regions)
    print(f"{labels.size:,} voxels, {labels.max() + 1:,} regions")
    print(f"{'':<36} bioimage-cpp      ours  times  same")
    for name, theirs, ours, same in tasks(labels):
        theirs_ms, their_result = least(theirs, arguments.repeats)
        ours_ms, our_result = least(ours, arguments.repeats)
        equal = "yes" if same(their_result, our_result) else "NO"
        print(f"{name:<36} {theirs_ms:>9.0f} ms {ours_ms:>6.0f} ms {theirs_ms / ours_ms:>6.1f}  {equal}")


def voronoi_cells(shape: tuple[int, ...], regions: int) -> np.ndarray:
    """Label volume whose voxels belong to the nearest of random points."""
    from scipy.spatial import cKDTree

    points = np.random.default_rng(0).random((regions, len(shape))) * shape
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, len(shape))
    cells = cKDTree(points).query(voxels)[1]
    return np.unique(cells, return_inverse=True)[1].reshape(shape).astype(np.uint32)


def least(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Least processor time in ms after a first call, and the result."""
    result, times = call(), []
    for _ in range(repeats):
        start = time.process_time()
        result = call()
        times.append(time.process_time() - start)
    return 1000 * min(times), result


def tasks(
    labels: np.ndarray,
) -> list[tuple[str, Callable[[], Any], Callable[[], Any], Callable[[Any, Any], bool]]]:
    """Name, their call, ours, and the test whether the results are the same."""
    from bioimage_cpp import graph as theirs

    rng = np.random.default_rng(1)
    boundary = rng.random(labels.shape, np.float32)
    affinities = rng.random((3, *labels.shape), np.float32)
    far = rng.random((2, *labels.shape), np.float32)
    rag, regions = theirs.region_adjacency_graph(labels), graph.region_graph(labels)
    features, one = theirs.features, {"number_of_threads": 1}
    values = rng.integers(0, 100, regions.num_nodes).astype(np.uint64)
    costs = rng.normal(size=len(regions.edges)) + 0.3
    policy = theirs.agglomeration.GaspClusterPolicy(linkage="mean")

    def their_lifted() -> tuple[np.ndarray, np.ndarray]:
        edges = features.lifted_edges_from_affinities(rag, labels, LONG_RANGE, **one)
        return edges, features.lifted_affinity_features(labels, far, LONG_RANGE, edges, **one)

    return [
        (
            "region graph",
            lambda: theirs.region_adjacency_graph(labels, **one).uv_ids(),
            lambda: graph.region_graph(labels).edges,
            np.array_equal,
        ),
        (
            "boundary: mean, count",
            lambda: features.edge_map_features(rag, labels, boundary, **one),
            lambda: graph.boundary_features(regions, boundary),
            same_means,
        ),
        (
            "boundary: with 7 quantiles",
            lambda: features.edge_map_features_complex(rag, labels, boundary, **one),
            lambda: graph.boundary_features(regions, boundary, QUANTILES),
            same_quantiles,
        ),
        (
            "affinities: mean, count",
            lambda: features.affinity_features(rag, labels, affinities, OFFSETS, **one),
            lambda: graph.affinity_features(regions, affinities, OFFSETS),
            same_means,
        ),
        (
            "affinities: with 7 quantiles",
            lambda: features.affinity_features_complex(rag, labels, affinities, OFFSETS, **one),
            lambda: graph.affinity_features(regions, affinities, OFFSETS, QUANTILES),
            same_quantiles,
        ),
        (
            "lifted edges of 2 offsets, and means",
            their_lifted,
            lambda: graph.lifted_affinity_features(regions, far, LONG_RANGE),
            lambda a, b: np.array_equal(a[0], b[0]) and same_means(a[1], b[1]),
        ),
        (
            "lifted edges within 2 hops",
            lambda: theirs.lifted_multicut.lifted_edges_from_node_labels(rag, 0 * values, 2, **one),
            lambda: graph.lifted_edges(regions.num_nodes, regions.edges, 2),
            np.array_equal,
        ),
        (
            "regions back to voxels",
            lambda: theirs.project_node_labels_to_pixels(rag, labels, values, **one),
            lambda: regions.to_voxels(values),
            np.array_equal,
        ),
        (
            "agglomeration, average linkage",
            lambda: policy.optimize(rag, costs),
            lambda: graph.agglomerate(regions.num_nodes, regions.edges, costs, "average"),
            lambda a, b: np.array_equal(in_order_of_first_nodes(a), b),
        ),
    ]


def same_means(theirs: np.ndarray, ours: graph.Features) -> bool:
    """Whether mean and count are the same."""
    return np.allclose(theirs[:, 0], ours.mean, 1e-6, 1e-6) and np.array_equal(theirs[:, -1], ours.count)


def same_quantiles(theirs: np.ndarray, ours: graph.Features) -> bool:
    """Whether mean, count and quantiles are the same."""
    return same_means(theirs, ours) and np.allclose(theirs[:, COLUMNS], ours.quantiles, 1e-6, 1e-6)


def in_order_of_first_nodes(labels: np.ndarray) -> np.ndarray:
    """The same partition, numbered in the order of first nodes."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


if __name__ == "__main__":
    main()
