"""Multicut, family by family: every method beside bioimage-cpp's greedy and Kernighan-Lin, in one run.

    python -m tests.benchmarks.cuts                      drawn families: regions, grids, signed, editing
    python -m tests.benchmarks.cuts --families grids     some of them
    python -m tests.benchmarks.cuts --instances FOLDER   your multicuts: LPMP's text format, or *.gr of PACE
    python -m tests.benchmarks.cuts --exact 40           judge by what `solve_exact` proves in 40 s each

"above" is how much a solution costs above the best known cost, in per cent of that cost. The best known cost
is the lowest of the run or, if the folder has a `reference.json` with an entry `{"NAME": {"optimum": …}}` for
the file NAME.txt.gz, that optimum. "behind" counts the instances on which our solution costs more than
theirs: `fast` and `default` against greedy, `best` against Kernighan-Lin. Times are medians of processor
time, without the building of bioimage-cpp's graph and with the building of ours.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from difflayers import lpmp, multicut
from difflayers.multicut import Multicut
from tests.benchmarks import families
from tests.benchmarks.amwc import METHODS, timed
from tests.benchmarks.related import undirected

GREEDY, KERNIGHAN_LIN = "bioimage-cpp, greedy", "bioimage-cpp, greedy and KL"
# From a problem to a function that solves it and returns the labels or segments.
Solver = Callable[[Multicut], Callable[[], np.ndarray]]


def main() -> None:
    """Print the mean and the worst instance of every solver."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--instances", type=Path, metavar="FOLDER", help="of *.txt, *.txt.gz or *.gr files")
    parser.add_argument(
        "--families", nargs="+", choices=list(families.FAMILIES), default=list(families.FAMILIES)
    )
    parser.add_argument("--exact", type=float, metavar="SECONDS", help="time limit of the exact solver")
    parser.add_argument("--repeats", default=3, type=int, help="runs of which the median counts")
    arguments = parser.parse_args()
    compared = solvers()
    tiny = Multicut(2, np.array([[0, 1]]), np.ones(1))
    for prepare in compared.values():
        prepare(tiny)()  # compiles
    multicut.lower_bound(tiny)
    if arguments.instances:
        report(arguments.instances.name, read(arguments.instances), compared, arguments)
        return
    for name in arguments.families:
        drawn: Iterator[tuple[Multicut, float | None]] = (
            (problem, None) for problem in families.FAMILIES[name]()
        )
        report(name, drawn, compared, arguments)


def report(
    family: str,
    instances: Iterator[tuple[Multicut, float | None]],
    compared: dict[str, Solver],
    arguments: argparse.Namespace,
) -> None:
    """Print a line for every solver of one family."""
    above: dict[str, list[float]] = {name: [] for name in [*compared, "lower_bound"]}
    seconds: dict[str, list[float]] = {name: [] for name in above}
    behind = dict.fromkeys(METHODS, 0)
    proven = 0
    for problem, optimum in instances:
        costs = {}
        for name, prepare in compared.items():
            took, segments = timed(prepare(problem), arguments.repeats, time.thread_time)
            seconds[name].append(took)
            costs[name] = cost_of(problem, segments)
        took, bound = timed(lambda p=problem: multicut.lower_bound(p), 1, time.thread_time)
        seconds["lower_bound"].append(took)
        for method in METHODS:
            rival = costs[KERNIGHAN_LIN if method == "best" else GREEDY]
            behind[method] += costs[method] > rival + 1e-9 * abs(rival)
        if optimum is None and arguments.exact:
            exact = multicut.solve_exact(problem, time_limit=arguments.exact)
            optimum = exact.cost if exact.proven_optimal else None
        proven += optimum is not None
        best = min(costs.values()) if optimum is None else optimum
        for name, cost in [*costs.items(), ("lower_bound", bound)]:
            above[name].append(100 * (cost - best) / max(abs(best), 1.0))
    print(f"{family}: {len(above['lower_bound'])} instances, {proven} of known optimum")
    print(f"{'':<28} {'above: mean':>12} {'worst':>9} {'behind':>7} {'ms: mean':>10}")
    for name in above:
        worst, mean_ms = max(above[name], key=abs), 1e3 * statistics.mean(seconds[name])
        mean, count = statistics.mean(above[name]), behind.get(name, "")
        print(f"{name:<28} {mean:>10.3f} % {worst:>7.3f} % {count:>7} {mean_ms:>10.2f}", flush=True)


def read(folder: Path) -> Iterator[tuple[Multicut, float | None]]:
    """The multicuts of a folder, with the optimum of each where it is known."""
    path = folder / "reference.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    files = sorted([*folder.glob("*.txt"), *folder.glob("*.txt.gz"), *folder.glob("*.gr")])
    if not files:
        raise SystemExit(f"{folder} holds no file *.txt, *.txt.gz or *.gr")
    for file in files:
        if file.suffix == ".gr":
            yield families.cluster_editing_file(file), None
            continue
        yield lpmp.read_multicut(file), known.get(file.name.partition(".")[0], {}).get("optimum")


def solvers() -> dict[str, Solver]:
    """What is compared, by name."""
    from bioimage_cpp.graph.multicut import (
        ChainedMulticutSolvers,
        GreedyAdditiveMulticut,
        KernighanLinMulticut,
    )

    chained = ChainedMulticutSolvers([GreedyAdditiveMulticut(), KernighanLinMulticut()])
    return {
        GREEDY: theirs(GreedyAdditiveMulticut()),
        KERNIGHAN_LIN: theirs(chained),
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
