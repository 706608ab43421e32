"""Families of cut problems, drawn from fixed seeds, and the files of one more."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array
from scipy.spatial import cKDTree
from scipy.special import log_softmax, softmax

from difflayers.amwc import AMWC
from difflayers.graph import class_lifted_edges, grid_edges, lifted_edges
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.multicut import Multicut
from difflayers.mwc import MWC
from tests.benchmarks import scenes

# Shape, number of region seeds and number of objects of drawn volumes: 800, 3 000 and 16 000 regions.
SMALL, MEDIUM, LARGE = ((24, 64, 64), 300, 25), ((40, 100, 100), 1200, 60), ((64, 160, 160), 6000, 250)
NOISES = (1.5, 3.0)


def regions() -> Iterator[Multicut]:
    """Region graphs of images of three sizes and two noises."""
    for shape, count in (((160, 240), 200), ((240, 320), 600), ((320, 480), 1500)):
        for noise in (1.0, 2.0):
            for seed in range(4):
                yield Multicut(*scenes.region_graph(shape, count, seed, noise))


def grids() -> Iterator[Multicut]:
    """Square grids whose edges cost 1 or -1, with two shares of attractive edges."""
    for side in (20, 50, 100):
        edges = grid_edges((side, side), (1,))
        for share in (0.5, 0.6):
            for seed in range(2):
                drawn = np.random.default_rng(seed).random(len(edges))
                yield Multicut(side * side, edges, np.where(drawn < share, 1.0, -1.0))


def signed() -> Iterator[Multicut]:
    """Sparse random networks of friends and foes: communities, and a fifth of the signs wrong."""
    for nodes, degree in ((300, 8), (1000, 8), (3000, 6)):
        for seed in range(3):
            rng = np.random.default_rng(seed)
            community = rng.integers(nodes // 50, size=nodes)
            members = np.argsort(community)
            ends = rng.integers(nodes, size=(nodes * degree // 2, 2))
            # Half of the pairs are close in the order of communities, as friends are.
            near = rng.random(len(ends)) < 0.5
            place = np.argsort(members)
            ends[near, 1] = members[(place[ends[near, 0]] + rng.integers(1, 20, near.sum())) % nodes]
            ends = ends[ends[:, 0] != ends[:, 1]]
            friends = community[ends[:, 0]] == community[ends[:, 1]]
            yield Multicut(nodes, ends, np.where(friends ^ (rng.random(len(ends)) < 0.2), 1.0, -1.0))


def editing() -> Iterator[Multicut]:
    """Cluster editing: cost 1 on the edges of a noisy union of cliques, -1 on all other pairs."""
    for nodes in (20, 50, 100, 200):
        for seed in range(3):
            rng = np.random.default_rng(seed)
            clique = rng.integers(max(2, nodes // 8), size=nodes)
            tails, heads = np.triu_indices(nodes, 1)
            joined = (clique[tails] == clique[heads]) ^ (rng.random(len(tails)) < 0.12)
            yield Multicut(nodes, np.stack([tails, heads], axis=1), np.where(joined, 1.0, -1.0))


class Volume(NamedTuple):
    """An over-segmented volume: its region graph and the truth behind it."""

    num_regions: int
    edges: np.ndarray  # (m, 2), pairs of regions that touch
    areas: np.ndarray  # (m,), touching voxels of each pair
    objects: np.ndarray  # (n,), the object that most of a region's voxels belong to


def volume(seed: int, shape: tuple[int, int, int], regions: int, objects: int) -> Volume:
    """Voronoi cells of random points for objects, with wavy borders, and smaller cells inside for regions."""
    rng = np.random.default_rng(seed)
    voxels = np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3).astype(float)
    waves = np.stack([gaussian_filter(rng.normal(size=shape), 4).ravel() for _ in range(3)], axis=1)
    truth = cKDTree(rng.uniform(0, shape, size=(objects, 3))).query(voxels + 60.0 * waves)[1]
    # As a watershed does, regions follow the borders of objects in most places, but not in all of them.
    drawn = cKDTree(rng.uniform(0, shape, size=(regions, 3))).query(voxels)[1]
    follows = gaussian_filter(rng.normal(size=shape), 6).ravel() > -0.02
    region = np.unique(drawn * (objects + 1) + np.where(follows, truth + 1, 0), return_inverse=True)[1]
    count = int(region.max()) + 1
    ends = np.sort(region[grid_edges(shape, offsets=np.eye(3, dtype=int))], axis=1)
    edges, areas = np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0, return_counts=True)
    votes = csr_array((np.ones(len(region)), (region, truth)), shape=(count, objects))
    return Volume(count, edges, areas.astype(float), votes.argmax(axis=1).ravel())


def far_pairs() -> Iterator[LiftedMulticut]:
    """Region graphs of volumes, lifted edges between half of all pairs two edges apart."""
    for size, seeds in ((SMALL, (100, 101, 102)), (MEDIUM, (103,)), (LARGE, (104,))):
        for noise in NOISES:
            for seed in seeds:
                drawn, rng = volume(seed, *size), np.random.default_rng([seed, 1])
                costs = evidence(drawn, drawn.edges, noise, rng) * np.sqrt(drawn.areas / drawn.areas.mean())
                pairs = lifted_edges(drawn.num_regions, drawn.edges, 2)
                pairs = pairs[rng.random(len(pairs)) < 0.5]
                lifted_costs = 0.5 * evidence(drawn, pairs, 2.0 * noise, rng)
                yield LiftedMulticut(drawn.num_regions, drawn.edges, costs, pairs, lifted_costs)


def class_priors() -> Iterator[LiftedMulticut]:
    """Region graphs of volumes, lifted edges that say that two regions have different classes."""
    for size, seeds in ((SMALL, (105, 106, 107)), (MEDIUM, (108,)), (LARGE, (109,))):
        for noise in NOISES:
            for seed in seeds:
                drawn, rng = volume(seed, *size), np.random.default_rng([seed, 1])
                costs = evidence(drawn, drawn.edges, noise, rng) * np.sqrt(drawn.areas / drawn.areas.mean())
                likely = 0.3 * softmax(class_logits(drawn, 3, noise, rng), axis=1)
                priors = class_lifted_edges(drawn.num_regions, drawn.edges, 2, likely)
                yield LiftedMulticut(drawn.num_regions, drawn.edges, costs, *priors)


def things_and_stuff() -> Iterator[AMWC]:
    """Region graphs of volumes with costs of six classes, of which three may be split."""
    for arrays in _labeled():
        yield AMWC(*arrays, np.arange(6) < 3)


def classes() -> Iterator[MWC]:
    """The same, none of which may be split."""
    for arrays in _labeled():
        yield MWC(*arrays)


def _labeled() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for size, seeds in ((SMALL, (110, 111, 112)), (MEDIUM, (113, 114, 115))):
        for noise in NOISES:
            for seed in seeds:
                drawn, rng = volume(seed, *size), np.random.default_rng([seed, 1])
                costs = evidence(drawn, drawn.edges, noise, rng) * np.sqrt(drawn.areas / drawn.areas.mean())
                yield -log_softmax(class_logits(drawn, 6, noise, rng), axis=1), drawn.edges, costs


def evidence(drawn: Volume, pairs: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Costs (p,) of 1 for pairs in one object and -1 for all others, with errors."""
    same = drawn.objects[pairs[:, 0]] == drawn.objects[pairs[:, 1]]
    return np.where(same, 1.0, -1.0) + noise * rng.normal(size=len(pairs))


def class_logits(drawn: Volume, count: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Logits (n, count) of the class of each region's object, with errors."""
    of_object = rng.integers(count, size=int(drawn.objects.max()) + 1)
    true = of_object[drawn.objects][:, None] == np.arange(count)
    return 2.0 * true + noise * rng.normal(size=true.shape)


FAMILIES: dict[str, Callable[[], Iterator[Any]]] = {
    "regions": regions,
    "grids": grids,
    "signed": signed,
    "editing": editing,
    "far_pairs": far_pairs,
    "class_priors": class_priors,
    "things_and_stuff": things_and_stuff,
    "classes": classes,
}


def cluster_editing_file(path: Path) -> Multicut:
    """The multicut of a graph of PACE 2021: `p cep n m`, then an edge per line, nodes from 1."""
    rows = [line.split() for line in path.read_text().splitlines() if line and line[0] != "c"]
    nodes = int(rows[0][2])
    edges = np.array(rows[1:], int).reshape(-1, 2) - 1
    costs = np.full((nodes, nodes), -1.0)
    costs[edges[:, 0], edges[:, 1]] = costs[edges[:, 1], edges[:, 0]] = 1.0
    tails, heads = np.triu_indices(nodes, 1)
    return Multicut(nodes, np.stack([tails, heads], axis=1), costs[tails, heads])
