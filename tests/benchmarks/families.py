"""Families of multicut problems, drawn from fixed seeds, and the files of one more."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from difflayers.graph import grid_edges
from difflayers.multicut import Multicut
from tests.benchmarks import scenes


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


FAMILIES: dict[str, Callable[[], Iterator[Multicut]]] = {
    "regions": regions,
    "grids": grids,
    "signed": signed,
    "editing": editing,
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
