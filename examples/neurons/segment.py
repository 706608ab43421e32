"""From logits of affinities to cells: regions, edge costs, the multicut and its rivals, and the measures."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.special import expit as sigmoid
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.segmentation import watershed

from difflayers import graph, multicut, mutex
from difflayers.graph import RegionGraph
from difflayers.multicut import Multicut
from examples.neurons.network import NEIGHBOURS, OFFSETS

QUANTILES = (0.1, 0.5, 0.9)


class Problem(NamedTuple):
    """The graph of the watershed regions of a slice, and what is seen along each of its edges.

    Attributes:
        regions: the region graph.
        features: (m, 14) float32, of the edges; the first is the mean logit of neighbours across the border,
            which is a cost as it stands: a logit of an affinity is the cost of a cut.
        cuts: (m,) float32, the cuts that come closest to the cells.
    """

    regions: RegionGraph
    features: np.ndarray
    cuts: np.ndarray


def boundary_map(affinities: np.ndarray) -> np.ndarray:
    """Probability of a boundary (h, w) at each pixel, from affinities (8, h, w) of its neighbours."""
    return 1 - affinities[:NEIGHBOURS].mean(0)


def watershed_regions(affinities: np.ndarray) -> RegionGraph:
    """Small regions that respect the boundaries: a watershed from the middles of what looks like one cell."""
    boundary = boundary_map(affinities)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(boundary < 0.5), 1.5)
    seeds = ndimage.label((depth == ndimage.maximum_filter(depth, 5)) & (depth > 0))[0]
    return graph.region_graph(watershed(boundary, seeds))


def edge_features(logits: np.ndarray, regions: RegionGraph) -> np.ndarray:
    """Features (m, 14) float32 of the edges: logits across the border, near and far, and sizes."""
    near = graph.affinity_features(regions, logits[:NEIGHBOURS], OFFSETS[:NEIGHBOURS], QUANTILES)
    far = graph.affinity_features(regions, logits[NEIGHBOURS:], OFFSETS[NEIGHBOURS:], QUANTILES)
    sizes = np.sort(regions.sizes[regions.edges], axis=1)
    columns = [near.mean, near.min, near.max, *near.quantiles.T, far.mean, *far.quantiles.T]
    logs = np.log([regions.boundary_sizes, *sizes.T])
    return np.nan_to_num(np.stack([*columns, *logs], axis=1)).astype(np.float32)


def problem(logits: np.ndarray, cells: np.ndarray) -> Problem:
    """What learning and segmenting need of a slice with these logits (8, h, w) and cells (h, w)."""
    regions = watershed_regions(sigmoid(logits))
    return Problem(regions, edge_features(logits, regions), true_cuts(cells, regions))


def true_cuts(cells: np.ndarray, regions: RegionGraph) -> np.ndarray:
    """Cuts (m,) float32 of the region graph that come closest to the cells.

    Every region belongs to the cell that holds most of its pixels. Pixels of membranes count for the nearest
    cell.
    """
    nearest = ndimage.distance_transform_edt(cells == 0, return_distances=False, return_indices=True)
    whole = cells[tuple(nearest)]
    counts = np.zeros((regions.num_nodes, cells.max() + 1), np.int64)
    np.add.at(counts, (regions.nodes, whole), 1)
    cell = counts.argmax(1)
    return (cell[regions.edges[:, 0]] != cell[regions.edges[:, 1]]).astype(np.float32)


def cheapest_cuts(costs: np.ndarray, regions: RegionGraph) -> np.ndarray:
    """The solver of the layers: cuts (m,) of the multicut of a region graph, which is the layers' context."""
    return multicut.solve(Multicut(regions.num_nodes, regions.edges, costs)).cuts


def by_multicut(regions: RegionGraph, costs: np.ndarray) -> np.ndarray:
    """Cells (h, w) from 1, by the multicut of a region graph."""
    solution = multicut.solve(Multicut(regions.num_nodes, regions.edges, costs))
    return regions.to_voxels(solution.segments) + 1


def by_mutex_watershed(logits: np.ndarray, bias: float) -> np.ndarray:
    """Cells (h, w) from 1, by the mutex watershed (Wolf et al. 2018); `bias` is added to the logits."""
    shape = logits.shape[1:]
    edges, costs = graph.mutex_costs(sigmoid(logits + bias), OFFSETS, strides=(4, 4))
    return mutex.mutex_watershed(Multicut(shape[0] * shape[1], edges, costs)).segments.reshape(shape) + 1


def by_threshold(logits: np.ndarray, bias: float) -> np.ndarray:
    """Cells (h, w) from 1: components where the boundary map is below ½, grown by a watershed.

    `bias` is added to the logits.
    """
    boundary = boundary_map(sigmoid(logits + bias))
    return watershed(boundary, ndimage.label(boundary < 0.5)[0])


class Errors(NamedTuple):
    """Adapted Rand error in [0, 1], and variation of information in bits; 0 is perfect.

    Membrane pixels of the truth do not count, as in the challenge. The variation of information is the sum of
    `splits`, of true cells, and `merges`.
    """

    rand: float
    information: float
    splits: float
    merges: float


def errors(found: np.ndarray, cells: np.ndarray) -> Errors:
    """Compare found cells (h, w) with true ones (h, w), whose 0 is membrane."""
    rand = adapted_rand_error(cells, found, ignore_labels=(0,))[0]
    splits, merges = variation_of_information(cells, found, ignore_labels=(0,))
    return Errors(float(rand), float(splits + merges), float(splits), float(merges))
