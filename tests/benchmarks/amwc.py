"""AMWC and MWC solvers against stored reference objectives and, in the same run, bioimage-cpp's multicut.

    python -m tests.benchmarks.amwc [--presets coco cityscapes] [--repeats 5]

Scenes are drawn by `scenes.py`. Times are medians. "x GAEC" is the time of bioimage-cpp's greedy additive
multicut on the same edges, without the building of its graph, over our time, which includes ours. "to
reference" is the difference to the objective of the COPS authors' C++ solver in per cent, negative where ours
is lower. "gap" is between the cost and our lower bound, in per cent of the cost.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from difflayers import amwc, mwc
from tests.benchmarks import scenes

METHODS = ("fast", "default", "best")


def main() -> None:
    """Print a line for every instance and method, then the combinatorial work of a training step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=list(scenes.PRESETS), choices=scenes.PRESETS)
    parser.add_argument("--repeats", default=5, type=int, help="runs of which the median counts")
    arguments = parser.parse_args()
    warm_up()
    print("preset           seed noise problem method     ms  x GAEC     objective  to reference     gap")
    for reference in scenes.references():
        if reference["preset"] not in arguments.presets:
            continue
        preset, seed, noise = (reference[key] for key in ("preset", "seed", "noise"))
        instance = scenes.preset(preset, seed, noise)[:4]
        for costs, total in ((instance[0], "node_cost_sum"), (instance[2], "edge_cost_sum")):
            if not np.isclose(costs.sum(), reference[total], rtol=1e-9):
                raise SystemExit(
                    f"{preset} seed {seed} noise {noise} differs from the draw of reference.json"
                )
        report(instance, reference, arguments.repeats)
    for preset in arguments.presets:
        training_step(scenes.preset(preset, 1, 2.5)[:4], preset, arguments.repeats)


def report(instance: tuple[np.ndarray, ...], reference: dict[str, Any], repeats: int) -> None:
    """Time and quality of every method on one instance."""
    greedy = greedy_multicut_seconds(len(instance[0]), instance[1], instance[2], repeats)
    problems = (
        ("amwc", amwc.AMWC(*instance)),
        ("mwc", mwc.MWC(*instance[:3]).as_amwc),
    )
    for name, problem in problems:
        bound_seconds, bound = timed(lambda p=problem: amwc.lower_bound(p), 1)
        for method in METHODS:
            seconds, solution = timed(lambda p=problem, how=method: solve_anew(p, how), repeats)
            target = reference[f"{name}_gaec"]
            print(
                f"{reference['preset']:<16} {reference['seed']:>4} {reference['noise']:>5} {name:<7} "
                f"{method:<7} {seconds * 1e3:>5.0f} {greedy / seconds:>7.1f} {solution.cost:>13.1f} "
                f"{100 * (solution.cost - target) / abs(target):>+12.3f}% "
                f"{100 * (solution.cost - bound) / abs(solution.cost):>6.2f}%",
                flush=True,
            )
        print(f"{'':<27} {name:<7} bound   {bound_seconds * 1e3:>5.0f}", flush=True)


def greedy_multicut_seconds(num_nodes: int, edges: np.ndarray, edge_costs: np.ndarray, repeats: int) -> float:
    """Median time of bioimage-cpp's greedy additive multicut, graph given."""
    from bioimage_cpp.graph import UndirectedGraph
    from bioimage_cpp.graph.multicut import GreedyAdditiveMulticut, MulticutObjective

    graph = UndirectedGraph.from_edges(num_nodes, np.ascontiguousarray(edges, np.uint64))
    graph.freeze()

    def run() -> object:
        return GreedyAdditiveMulticut().optimize(MulticutObjective(graph, edge_costs))

    return timed(run, repeats)[0]


def training_step(instance: tuple[np.ndarray, ...], preset: str, repeats: int) -> None:
    """One AMWC and five MWC on perturbed node costs, started from its labels, in one and two threads."""
    problem = amwc.AMWC(*instance)
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=problem.node_costs.shape) for _ in range(5)]
    no_label = np.zeros(problem.num_labels, bool)
    for threads in (1, 2):
        with ThreadPoolExecutor(threads) as pool:

            def step(pool: ThreadPoolExecutor = pool) -> object:
                fresh = amwc.AMWC(*instance)
                start = amwc.solve(fresh, "fast").labels

                def backward(part: np.ndarray) -> amwc.Solution:
                    perturbed = fresh.with_node_costs(fresh.node_costs + part, no_label)
                    return amwc.solve(perturbed, "fast", start=start)

                return list(pool.map(backward, noise))

            print(f"{preset}: 1 AMWC + 5 MWC, {threads} thread(s): {timed(step, repeats)[0] * 1e3:.0f} ms")


def solve_anew(problem: amwc.AMWC, method: str) -> amwc.Solution:
    """Solve as if for the first time, when the graph is not sorted into rows yet."""
    problem.__dict__.pop("rows", None)
    return amwc.solve(problem, method)


def timed(
    run: Callable[[], Any], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, Any]:
    """Median seconds by a clock, that of the wall unless another is given, and the last result."""
    seconds = []
    for _ in range(repeats):
        begin = clock()
        result = run()
        seconds.append(clock() - begin)
    return statistics.median(seconds), result


def warm_up(quiet: bool = False) -> None:
    """Compile, or load from Numba's cache, everything that is timed."""
    begin = time.perf_counter()
    problem = amwc.AMWC(np.zeros((2, 2)), np.array([[0, 1]]), np.ones(1), np.array([True, False]))
    for method in METHODS:
        amwc.solve(problem, method)
    amwc.lower_bound(problem)
    if not quiet:
        print(f"kernels ready after {time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
