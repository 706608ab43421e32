"""Cut problems, family by family: every method beside its rivals, in one run.

    python -m tests.benchmarks.cuts                      drawn families: regions, grids, signed, editing, …
    python -m tests.benchmarks.cuts --families grids     some of them
    python -m tests.benchmarks.cuts --instances FOLDER   your multicuts: LPMP's text format, or *.gr of PACE
    python -m tests.benchmarks.cuts --exact 40           judge by what `solve_exact` proves in 40 s, timed

The rivals are bioimage-cpp's greedy solver and its Kernighan-Lin after that, for multicut and lifted
multicut. Problems with labels have a plain greedy contraction of our own for a rival (`greedy.py`, as LPMP's
solvers do it); the time beside its cost is that of bioimage-cpp's multicut on the same edges.

"above" is how much a solution costs above the best known cost, in per cent of that cost. The best known cost
is the lowest of the run or, if the folder has a `reference.json` with an entry `{"NAME": {"optimum": …}}` for
the file NAME.txt.gz, that optimum. "behind" counts the instances on which our solution costs more than
theirs: `fast` and `default` against greedy, `best` against Kernighan-Lin. Times are medians of processor
time, without the building of bioimage-cpp's graph and with the building of ours; "time" is in those of the
greedy solver.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from difflayers import amwc, lifted_multicut, lpmp, multicut, mwc, warmup
from difflayers.amwc import AMWC
from difflayers.amwc.solution import solution_from_clusters
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.multicut import Multicut
from difflayers.mwc import MWC
from tests.benchmarks import families
from tests.benchmarks.amwc import METHODS, timed
from tests.benchmarks.greedy import greedy_labels
from tests.benchmarks.related import undirected

GREEDY, KERNIGHAN_LIN = "greedy", "greedy and Kernighan-Lin"
# From a problem to a function that solves it and returns the cost, or what `cost_of` takes.
Solver = Callable[[Any], Callable[[], Any]]
MODULES: dict[type, Any] = {
    Multicut: multicut, LiftedMulticut: lifted_multicut, AMWC: amwc, MWC: mwc
}  # fmt: skip


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
    compile_all()
    if arguments.instances:
        report(arguments.instances.name, read(arguments.instances), arguments)
        return
    for name in arguments.families:
        drawn: Iterator[tuple[Any, float | None]] = ((problem, None) for problem in families.FAMILIES[name]())
        report(name, drawn, arguments)


def compile_all() -> None:
    """Compile every kernel before the first is timed."""
    warmup(("amwc", "lifted_multicut"), ("float64",))
    pair, one, node = np.array([[0, 1]]), np.ones(1), np.zeros((2, 2))
    for problem in (
        Multicut(2, pair, one),
        LiftedMulticut(2, pair, one, pair, one),
        AMWC(node, pair, one, np.array([True, False])),
    ):
        for prepare in solvers(problem).values():
            prepare(problem)()
        MODULES[type(problem)].lower_bound(problem)


def report(family: str, instances: Iterator[tuple[Any, float | None]], arguments: argparse.Namespace) -> None:
    """Print a line for every solver of one family."""
    above: dict[str, list[float]] = {}
    seconds: dict[str, list[float]] = {}
    behind = dict.fromkeys(METHODS, 0)
    count = proven = 0
    exact_seconds: list[float] = []
    for problem, optimum in instances:
        module, costs, count = MODULES[type(problem)], {}, count + 1
        for name, prepare in solvers(problem).items():
            took, found = timed(prepare(problem), arguments.repeats, time.thread_time)
            seconds.setdefault(name, []).append(took)
            costs[name] = cost_of(problem, found)
        took, bound = timed(lambda m=module, p=problem: m.lower_bound(p), 1, time.thread_time)
        seconds.setdefault("lower_bound", []).append(took)
        for method in METHODS:
            rival = costs.get(KERNIGHAN_LIN, costs[GREEDY]) if method == "best" else costs[GREEDY]
            behind[method] += costs[method] > rival + 1e-9 * abs(rival)
        if arguments.exact:
            took, exact = timed(
                lambda m=module, p=problem: m.solve_exact(p, time_limit=arguments.exact), 1, time.process_time
            )
            if exact.proven_optimal:
                optimum = exact.cost
                exact_seconds.append(took)
        proven += optimum is not None
        best = min(costs.values()) if optimum is None else optimum
        for name, cost in [*costs.items(), ("lower_bound", bound)]:
            above.setdefault(name, []).append(100 * (cost - best) / max(abs(best), 1.0))
    print(f"{family}: {count} instances, {proven} of known optimum")
    if exact_seconds:
        mean, longest = statistics.mean(exact_seconds), max(exact_seconds)
        print(f"solve_exact proves {len(exact_seconds)}, in {mean:.2f} s of CPU, at most {longest:.2f}")
    print(f"{'':<28} {'above: mean':>12} {'worst':>9} {'behind':>7} {'ms: mean':>10} {'time':>8}")
    for name, values in above.items():
        worst, mean_ms = max(values, key=abs), 1e3 * statistics.mean(seconds[name])
        ratio = statistics.mean(seconds[name]) / statistics.mean(seconds[GREEDY])
        mean, times = statistics.mean(values), behind.get(name, "")
        print(
            f"{name:<28} {mean:>10.3f} % {worst:>7.3f} % {times:>7} {mean_ms:>10.2f} {ratio:>8.2f}",
            flush=True,
        )


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


def solvers(problem: Any) -> dict[str, Solver]:
    """What is compared on problems of a kind, by name."""
    from bioimage_cpp.graph import lifted_multicut as lifted
    from bioimage_cpp.graph import multicut as plain

    rivals: dict[str, Solver]
    if isinstance(problem, LiftedMulticut):
        both = [lifted.LiftedGreedyAdditiveMulticut(), lifted.LiftedKernighanLinMulticut()]
        rivals = {
            GREEDY: their_lifted(both[0]),
            KERNIGHAN_LIN: their_lifted(lifted.LiftedChainedSolvers(both)),
        }
    elif isinstance(problem, Multicut):
        two = [plain.GreedyAdditiveMulticut(), plain.KernighanLinMulticut()]
        rivals = {GREEDY: theirs(two[0]), KERNIGHAN_LIN: theirs(plain.ChainedMulticutSolvers(two))}
    else:
        rivals = {GREEDY: labeled_greedy}
    return rivals | {method: ours(method) for method in METHODS}


def theirs(solver: Any) -> Solver:
    """A multicut solver of bioimage-cpp, on a graph that is built beforehand."""
    from bioimage_cpp.graph.multicut import MulticutObjective

    def prepare(problem: Multicut | AMWC | MWC) -> Callable[[], np.ndarray]:
        nodes = len(problem.node_costs) if isinstance(problem, AMWC | MWC) else problem.num_nodes
        graph = undirected(nodes, problem.edges)
        # Their graph keeps one of parallel edges; ours adds up their costs.
        costs = np.zeros(graph.number_of_edges)
        np.add.at(costs, graph.find_edges(np.ascontiguousarray(problem.edges, np.uint64)), problem.edge_costs)
        return lambda: np.asarray(solver.optimize(MulticutObjective(graph, costs)))

    return prepare


def their_lifted(solver: Any) -> Solver:
    """A lifted multicut solver of bioimage-cpp, on a graph that is built beforehand."""
    from bioimage_cpp.graph.lifted_multicut import LiftedMulticutObjective

    def prepare(problem: LiftedMulticut) -> Callable[[], np.ndarray]:
        graph = undirected(problem.num_nodes, problem.edges)
        far = np.ascontiguousarray(problem.lifted_edges, np.uint64)
        objective = LiftedMulticutObjective(
            graph, problem.edge_costs, lifted_uvs=far, lifted_costs=problem.lifted_costs
        )

        def run() -> np.ndarray:
            objective.reset_labels()  # else it goes on from what it found last
            return np.asarray(solver.optimize(objective))

        return run

    return prepare


def labeled_greedy(problem: AMWC | MWC) -> Callable[[], float]:
    """The cost of plain greedy contraction with node costs, in the time of bioimage-cpp's without them."""
    from bioimage_cpp.graph.multicut import GreedyAdditiveMulticut

    plain = problem.as_amwc if isinstance(problem, MWC) else problem
    cost = solution_from_clusters(plain, *greedy_labels(plain)).cost
    timed_run = theirs(GreedyAdditiveMulticut())(problem)

    def run() -> float:
        timed_run()
        return cost

    return run


def ours(method: str) -> Solver:
    """A method of ours, from the arrays on."""

    def prepare(problem: Any) -> Callable[[], float]:
        return lambda: float(MODULES[type(problem)].solve(replace(problem), method).cost)

    return prepare


def cost_of(problem: Any, found: np.ndarray | float) -> float:
    """The cost of what a solver found: segments of a multicut or lifted multicut, or the cost itself."""
    if isinstance(found, float):
        return found
    segments = np.unique(found, return_inverse=True)[1]
    if isinstance(problem, LiftedMulticut):
        return lifted_multicut.evaluate(problem, segments)
    tails, heads = problem.edges.T
    return float(problem.edge_costs[segments[tails] != segments[heads]].sum(dtype=np.float64))


if __name__ == "__main__":
    main()
