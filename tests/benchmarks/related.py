"""Lifted multicut and mutex watersheds against bioimage-cpp's, in one run on the same instances.

    python -m tests.benchmarks.related [--presets ...] [--noises ...] [--repeats n]

Edges of distance 1 are the edges of the lifted multicut, all others its lifted edges. Times are medians in
ms, those of bioimage-cpp without the building of its graph, which has a column of its own. Costs are sums
over cut edges. Mutex watersheds minimize no cost, so the table only says whether their results are the same.
"""

import argparse

import numpy as np

from difflayers import lifted_multicut
from difflayers.amwc import AMWC
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.multicut import Multicut
from difflayers.mutex import mutex_watershed, semantic_mutex_watershed
from tests.benchmarks import scenes
from tests.benchmarks.amwc import timed

METHODS = ("fast", "default", "best")


def main() -> None:
    """Print a row for every instance, problem and solver."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", default=list(scenes.PRESETS), choices=scenes.PRESETS)
    parser.add_argument("--noises", nargs="+", type=float, default=[1.5, 2.5, 4.0])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    warm_up()
    print(
        "preset           noise problem           who              ms   graph  x theirs      cost  to theirs"
    )
    for preset in arguments.presets:
        for noise in arguments.noises:
            problem = AMWC(*scenes.preset(preset, 1, noise)[:4])
            name = f"{preset:<16} {noise:>5}"
            lifted(name, problem, scenes.PRESETS[preset]["shape"][1], arguments.repeats)
            mutex(name, problem, arguments.repeats)


def lifted(name: str, problem: AMWC, width: int, repeats: int) -> None:
    """Every method against the greedy additive solver of bioimage-cpp."""
    from bioimage_cpp.graph.lifted_multicut import LiftedGreedyAdditiveMulticut, LiftedMulticutObjective

    near = np.isin(problem.edges[:, 1] - problem.edges[:, 0], (1, width))
    split = LiftedMulticut(
        problem.num_nodes,
        problem.edges[near],
        problem.edge_costs[near],
        problem.edges[~near],
        problem.edge_costs[~near],
    )
    far = np.ascontiguousarray(split.lifted_edges, np.uint64)

    def build() -> object:
        graph = undirected(split.num_nodes, split.edges)
        return LiftedMulticutObjective(
            graph, split.edge_costs, lifted_uvs=far, lifted_costs=split.lifted_costs
        )

    # An objective remembers its solution, so that every timed call needs a new one.
    objectives = [build() for _ in range(repeats)]
    graph_seconds = timed(build, repeats)[0]
    seconds, found = timed(lambda: LiftedGreedyAdditiveMulticut().optimize(objectives.pop()), repeats)
    theirs = lifted_multicut.evaluate(split, np.asarray(found).astype(np.int64))
    line(name, "lifted multicut", "bioimage-cpp", seconds, graph_seconds, 1.0, theirs, 0.0)
    for method in METHODS:
        own, solution = timed(lambda how=method: lifted_multicut.solve(split, how), repeats)
        difference = 100 * (solution.cost - theirs) / abs(theirs)
        line(name, "lifted multicut", method, own, 0.0, seconds / own, solution.cost, difference)


def mutex(name: str, problem: AMWC, repeats: int) -> None:
    """Both mutex watersheds against those of bioimage-cpp, and whether the segments are the same."""
    from bioimage_cpp.graph.mutex_watershed import (
        mutex_watershed_clustering,
        semantic_mutex_watershed_clustering,
    )

    attract = problem.edge_costs > 0
    graph_seconds, graph = timed(lambda: undirected(problem.num_nodes, problem.edges[attract]), repeats)
    repel = np.ascontiguousarray(problem.edges[~attract], np.uint64)
    arguments = graph, problem.edge_costs[attract], repel, -problem.edge_costs[~attract]
    seconds, theirs = timed(lambda: mutex_watershed_clustering(*arguments), repeats)
    cut = Multicut(problem.num_nodes, problem.edges, problem.edge_costs)
    own, solution = timed(lambda: mutex_watershed(cut), repeats)
    same = bool((np.asarray(theirs) == solution.segments).all())
    line(name, "mutex", "bioimage-cpp", seconds, graph_seconds, 1.0)
    line(name, "mutex", "ours, " + ("same" if same else "DIFFERENT"), own, 0.0, seconds / own)

    two = np.partition(problem.node_costs, 1, axis=1)
    classes = np.stack([np.arange(problem.num_nodes), problem.node_costs.argmin(axis=1)], axis=1)
    semantic = np.ascontiguousarray(classes, np.uint64), two[:, 1] - two[:, 0]
    seconds, (_, labels) = timed(lambda: semantic_mutex_watershed_clustering(*arguments, *semantic), repeats)
    own, solution = timed(lambda: semantic_mutex_watershed(problem), repeats)
    same = bool((np.asarray(labels) == solution.labels).all())
    line(name, "semantic mutex", "bioimage-cpp", seconds, graph_seconds, 1.0)
    line(name, "semantic mutex", "ours, " + ("same" if same else "DIFFERENT"), own, 0.0, seconds / own)


def line(
    name: str,
    problem: str,
    who: str,
    seconds: float,
    graph_seconds: float,
    ratio: float,
    cost: float = np.nan,
    difference: float = np.nan,
) -> None:
    """Print one row of the table."""
    sums = "" if np.isnan(cost) else f"{cost:>10.0f} {difference:>+9.3f}%"
    graph = f"{graph_seconds * 1e3:>7.0f}" if graph_seconds else f"{'':>7}"
    print(f"{name} {problem:<17} {who:<14} {seconds * 1e3:>5.0f} {graph} {ratio:>9.1f}{sums}", flush=True)


def undirected(num_nodes: int, edges: np.ndarray) -> object:
    """A graph of bioimage-cpp."""
    from bioimage_cpp.graph import UndirectedGraph

    graph = UndirectedGraph.from_edges(num_nodes, np.ascontiguousarray(edges, np.uint64))
    graph.freeze()
    return graph


def warm_up() -> None:
    """Compile, or load from Numba's cache, everything that is timed."""
    edges, cost = np.array([[0, 1]]), np.ones(1)
    for method in METHODS:
        lifted_multicut.solve(LiftedMulticut(3, edges, cost, np.array([[0, 2]]), -cost), method)
    mutex_watershed(Multicut(2, edges, cost))
    semantic_mutex_watershed(AMWC(np.zeros((2, 2)), edges, cost, np.ones(2, bool)))


if __name__ == "__main__":
    main()
