"""Multicut on region graphs: every method beside bioimage-cpp's greedy and Kernighan-Lin, in one run.

    python -m tests.benchmarks.cuts                      drawn region graphs
    python -m tests.benchmarks.cuts --folder FOLDER      your multicuts, files in LPMP's text format
    python -m tests.benchmarks.cuts --exact 40           judge by what `solve_exact` proves in 40 s each

"above" is how much a solution costs above the best known cost, in per cent of that cost. The best known cost
is the lowest of the run or, if the folder has a `reference.json` with an entry `{"NAME": {"optimum": …}}` for
the file NAME.txt.gz, that optimum. Times are medians, without the building of bioimage-cpp's graph and with
the building of ours.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from difflayers import lpmp, multicut
from difflayers.multicut import Multicut
from tests.benchmarks import scenes
from tests.benchmarks.amwc import METHODS, timed
from tests.benchmarks.related import undirected

DRAWN = (((160, 240), 200), ((240, 320), 600), ((320, 480), 1500))  # shape of the image, number of regions


def main() -> None:
    """Print the mean and the worst instance of every solver."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, help="of files in LPMP's text format")
    parser.add_argument("--exact", type=float, metavar="SECONDS", help="time limit of the exact solver")
    parser.add_argument("--repeats", default=3, type=int, help="runs of which the median counts")
    arguments = parser.parse_args()
    instances = read(arguments.folder) if arguments.folder else drawn()
    compared = solvers()
    tiny = Multicut(2, np.array([[0, 1]]), np.ones(1))
    for prepare in compared.values():
        prepare(tiny)()  # compiles
    multicut.lower_bound(tiny)
    above: dict[str, list[float]] = {name: [] for name in [*compared, "lower_bound"]}
    seconds: dict[str, list[float]] = {name: [] for name in above}
    proven = 0
    for problem, optimum in instances:
        costs = {}
        for name, prepare in compared.items():
            took, segments = timed(prepare(problem), arguments.repeats)
            seconds[name].append(took)
            costs[name] = cost_of(problem, segments)
        took, bound = timed(lambda p=problem: multicut.lower_bound(p), 1)
        seconds["lower_bound"].append(took)
        if optimum is None and arguments.exact:
            exact = multicut.solve_exact(problem, time_limit=arguments.exact)
            optimum = exact.cost if exact.proven_optimal else None
        proven += optimum is not None
        best = min(costs.values()) if optimum is None else optimum
        for name, cost in [*costs.items(), ("lower_bound", bound)]:
            above[name].append(100 * (cost - best) / max(abs(best), 1e-12))
    count = len(above["lower_bound"])
    print(f"{count} instances, {proven} of known optimum")
    print(f"{'':<28} {'above: mean':>12} {'worst':>9} {'ms: mean':>10}")
    for name in above:
        worst = max(above[name], key=abs)
        mean_ms = 1e3 * statistics.mean(seconds[name])
        print(f"{name:<28} {statistics.mean(above[name]):>10.3f} % {worst:>7.3f} % {mean_ms:>10.2f}")


def drawn() -> Iterator[tuple[Multicut, float | None]]:
    """Region graphs of three sizes and two noises."""
    for shape, regions in DRAWN:
        for noise in (1.0, 2.0):
            for seed in range(4):
                yield Multicut(*scenes.region_graph(shape, regions, seed, noise)), None


def read(folder: Path) -> Iterator[tuple[Multicut, float | None]]:
    """The multicuts of a folder, with the optimum of each where it is known."""
    path = folder / "reference.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    files = sorted([*folder.glob("*.txt"), *folder.glob("*.txt.gz")])
    if not files:
        raise SystemExit(f"{folder} holds no file *.txt or *.txt.gz")
    for file in files:
        yield lpmp.read_multicut(file), known.get(file.name.partition(".")[0], {}).get("optimum")


# From a problem to a function that solves it and returns the labels or segments.
Solver = Callable[[Multicut], Callable[[], np.ndarray]]


def solvers() -> dict[str, Solver]:
    """What is compared, by name."""
    from bioimage_cpp.graph.multicut import (
        ChainedMulticutSolvers,
        GreedyAdditiveMulticut,
        KernighanLinMulticut,
    )

    chained = ChainedMulticutSolvers([GreedyAdditiveMulticut(), KernighanLinMulticut()])
    return {
        "bioimage-cpp, greedy": theirs(GreedyAdditiveMulticut()),
        "bioimage-cpp, greedy and KL": theirs(chained),
        **{method: ours(method) for method in METHODS},
    }


def theirs(solver: Any) -> Solver:
    """A solver of bioimage-cpp, on a graph that is built beforehand."""
    from bioimage_cpp.graph.multicut import MulticutObjective

    def prepare(problem: Multicut) -> Callable[[], np.ndarray]:
        graph = undirected(problem.num_nodes, problem.edges)
        # Their graph keeps one of parallel edges; ours adds up their costs.
        costs = np.zeros(graph.number_of_edges)
        np.add.at(costs, graph.find_edges(np.ascontiguousarray(problem.edges, np.uint64)), problem.edge_costs)
        return lambda: np.asarray(solver.optimize(MulticutObjective(graph, costs)))

    return prepare


def ours(method: str) -> Solver:
    """A method of `multicut.solve`, from the arrays on."""

    def prepare(problem: Multicut) -> Callable[[], np.ndarray]:
        arrays = problem.num_nodes, problem.edges, problem.edge_costs
        return lambda: multicut.solve(Multicut(*arrays), method).segments

    return prepare


def cost_of(problem: Multicut, segments: np.ndarray) -> float:
    """Sum of the costs of the edges between segments."""
    tails, heads = problem.edges.T
    return float(problem.edge_costs[segments[tails] != segments[heads]].sum(dtype=np.float64))


if __name__ == "__main__":
    main()
