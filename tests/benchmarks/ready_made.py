"""Ready-made solvers on hard instances beside OR-Tools, in one run on the same instances.

    python -m tests.benchmarks.ready_made [cuts] [tours] [knapsacks] [--seconds s]

Instances come from generators of the kinds that the field uses: the graphs g05, pm1d and pm1s of BiqMac and
random and toroidal graphs as those of the G-set for cuts; points in the plane for tours; Pisinger's classes
for knapsacks. OR-Tools solves tours by routing with guided local search, knapsacks by its knapsack solver,
and cuts, for which it has no solver of its own, by CP-SAT on one thread. It stops at the time limit if it has
not proven an optimum before. Distances are to the best value found, which includes a run of ours with twenty
times the effort, so they are lower bounds of the distances to the optimum.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from difflayers import solvers

Array = np.ndarray[Any, Any]


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=["cuts", "tours", "knapsacks"])
    parser.add_argument("--seconds", type=float, default=1.0, help="time limit of OR-Tools per instance")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    for table in arguments.tables:
        TABLES[table](arguments.seconds, arguments.seeds)


def cuts(seconds: float, seeds: int) -> None:
    """MaxCut on graphs of several kinds."""
    print("\ncuts: milliseconds, per cent below the best known weight (mean, worst)")
    solvers.MaxCut(18, [[0, 1]])(np.ones((1, 1)))
    for kind, generate in GRAPHS.items():
        rows = []
        for seed in range(seeds):
            num_nodes, edges, weights = generate(np.random.default_rng(seed))
            costs = -weights[None].astype(float)
            ours, long = solvers.MaxCut(num_nodes, edges), solvers.MaxCut(num_nodes, edges, restarts=400)
            rows.append(
                (
                    timed(lambda: weights @ ours(costs)[0]),  # noqa: B023
                    timed(lambda: cut_by_cp_sat(num_nodes, edges, weights, seconds)),  # noqa: B023
                    timed(lambda: weights @ long(costs)[0]),  # noqa: B023
                )
            )
        print_row(kind, rows, best=max)


def tours(seconds: float, seeds: int) -> None:
    """TravellingSalesman on points in the plane."""
    print("\ntours: milliseconds, per cent above the best known length (mean, worst)")
    solvers.TravellingSalesman(16)(np.ones((1, 120)))
    for num_nodes in (20, 50, 100, 200, 400):
        ours = solvers.TravellingSalesman(num_nodes)
        long = solvers.TravellingSalesman(num_nodes, starts=200)
        for kind in ("uniform", "clustered", "grid"):
            rows = []
            for seed in range(seeds):
                costs = distances(points(kind, num_nodes, np.random.default_rng(seed)), ours.edges)
                rows.append(
                    (
                        timed(lambda: costs @ ours(costs[None])[0]),  # noqa: B023
                        timed(lambda: tour_by_routing(ours.edges, costs, num_nodes, seconds)),  # noqa: B023
                        timed(lambda: costs @ long(costs[None])[0]),  # noqa: B023
                    )
                )
            print_row(f"{num_nodes} {kind}", rows, best=min)


def knapsacks(seconds: float, seeds: int) -> None:
    """Knapsack on Pisinger's classes, 400 items and a capacity of a million; ours is exact."""
    print("\nknapsacks: milliseconds, per cent below the best known value (mean, worst)")
    solvers.Knapsack([1, 2], 2)(np.ones((1, 2)))
    for kind in knapsack_classes(2, 10, np.random.default_rng(0)):
        rows = []
        for seed in range(seeds):
            weights, values = knapsack_classes(400, 10_000, np.random.default_rng(seed))[kind]
            ours, costs = solvers.Knapsack(weights, 10**6), -values[None].astype(float)
            exact = timed(lambda: values @ ours(costs)[0])  # noqa: B023
            rows.append((exact, timed(lambda: knapsack_by_branching(weights, values, 10**6, seconds)), exact))  # noqa: B023
        print_row(kind, rows, best=max)


TABLES: dict[str, Callable[[float, int], None]] = {"cuts": cuts, "tours": tours, "knapsacks": knapsacks}


def timed(solve: Callable[[], float]) -> tuple[float, float]:
    """What a call returns, and the seconds it takes."""
    begin = time.perf_counter()
    value = float(solve())
    return value, time.perf_counter() - begin


def print_row(name: str, rows: list[Any], best: Callable[..., float]) -> None:
    """Times and distances of ours and of OR-Tools."""
    line = f"{name:<28}"
    known = [best(value for value, _ in row) for row in rows]
    for column, who in ((0, "ours"), (1, "OR-Tools")):
        seconds = statistics.median(row[column][1] for row in rows)
        off = [100 * abs(row[column][0] - top) / abs(top) for row, top in zip(rows, known, strict=True)]
        line += f"  {who} {1e3 * seconds:>8.1f} {statistics.mean(off):>7.3f} {max(off):>7.3f}"
    print(line, flush=True)


def random_graph(num_nodes: int, density: float, signed: bool) -> Callable[..., tuple[int, Array, Array]]:
    """Edges with a probability, of weight 1 or of weights -1 and 1."""

    def generate(rng: np.random.Generator) -> tuple[int, Array, Array]:
        edges = np.stack(np.triu_indices(num_nodes, 1), axis=1)
        edges = edges[rng.random(len(edges)) < density]
        weights = rng.choice([-1, 1], len(edges)) if signed else np.ones(len(edges), int)
        return num_nodes, edges, weights

    return generate


def torus(height: int, width: int) -> Callable[..., tuple[int, Array, Array]]:
    """A grid that is closed in both directions, with weights -1 and 1."""

    def generate(rng: np.random.Generator) -> tuple[int, Array, Array]:
        cells = np.arange(height * width).reshape(height, width)
        steps = [np.stack([cells.ravel(), np.roll(cells, -1, axis).ravel()], axis=1) for axis in (0, 1)]
        edges = np.concatenate(steps)
        return height * width, edges, rng.choice([-1, 1], len(edges))

    return generate


GRAPHS = {
    "g05, 100 nodes": random_graph(100, 0.5, signed=False),
    "pm1d, 100 nodes": random_graph(100, 0.99, signed=True),
    "pm1s, 100 nodes": random_graph(100, 0.1, signed=True),
    "as G1, 800 nodes": random_graph(800, 0.06, signed=False),
    "as G6, 800 nodes": random_graph(800, 0.06, signed=True),
    "as G22, 2000 nodes": random_graph(2000, 0.01, signed=False),
    "as G11, torus 100 × 8": torus(100, 8),
    "as G32, torus 100 × 20": torus(100, 20),
}


def points(kind: str, count: int, rng: np.random.Generator) -> Array:
    """Points in the plane: uniform, in clusters of about 15, or on most places of a square grid."""
    if kind == "clustered":
        centres = rng.random((max(2, count // 15), 2))
        return centres[rng.integers(0, len(centres), count)] + 0.03 * rng.normal(size=(count, 2))
    if kind == "grid":
        side = int(np.ceil(np.sqrt(1.1 * count)))
        return np.stack(np.divmod(rng.permutation(side * side)[:count], side), axis=1) / side
    return rng.random((count, 2))


def distances(places: Array, edges: Array) -> Array:
    """Euclidean distances in units of 1 / 10 000, whole as OR-Tools needs them."""
    return np.rint(1e4 * np.linalg.norm(places[edges[:, 0]] - places[edges[:, 1]], axis=1))


def knapsack_classes(
    num_items: int, largest: int, rng: np.random.Generator
) -> dict[str, tuple[Array, Array]]:
    """Weights and values (Pisinger, Where are the hard knapsack problems?, 2005)."""
    weights, tenth = rng.integers(1, largest + 1, num_items), largest // 10
    others, even = rng.integers(1, largest + 1, num_items), 2 * rng.integers(1, largest // 2 + 1, num_items)
    small, wiggle = rng.integers(1, 11, num_items), largest // 500
    core = rng.integers(1, largest + 1)
    return {
        "uncorrelated": (weights, others),
        "weakly correlated": (weights, np.maximum(1, rng.integers(weights - tenth, weights + tenth + 1))),
        "strongly correlated": (weights, weights + tenth),
        "inverse strongly correlated": (weights + tenth, weights),
        "almost strongly correlated": (
            weights,
            weights + tenth + rng.integers(-wiggle, wiggle + 1, num_items),
        ),
        "subset sum": (weights, weights),
        "even subset sum": (even, even),
        "similar weights": (largest // 5 + rng.integers(0, 1 + largest // 1000, num_items), others),
        "spanner": (1 + core * small // 5, 1 + (core + tenth) * small // 5),
        "multiple strongly correlated": (weights, weights + tenth * np.where(weights % 6 == 0, 3, 2)),
        "profit ceiling": (weights, 3 * -(-weights // 3)),
    }


def cut_by_cp_sat(num_nodes: int, edges: Array, weights: Array, seconds: float) -> float:
    """The weight of the best cut that CP-SAT finds in time, with an exclusive or per edge; 0 if none."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    side = [model.new_bool_var(f"side {v}") for v in range(num_nodes)]
    cut = [model.new_bool_var(f"cut {e}") for e in range(len(edges))]
    for (u, v), crossing in zip(edges.tolist(), cut, strict=True):
        model.add_bool_xor([side[u], side[v], crossing, True])
    model.maximize(sum(int(w) * x for w, x in zip(weights, cut, strict=True)))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 1
    status = solver.solve(model)
    return float(solver.objective_value) if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) else 0.0


def knapsack_by_branching(weights: Array, values: Array, capacity: int, seconds: float) -> float:
    """The value of the items that OR-Tools' knapsack solver takes, by branch and bound."""
    from ortools.algorithms.python import knapsack_solver

    kind = knapsack_solver.SolverType.KNAPSACK_MULTIDIMENSION_BRANCH_AND_BOUND_SOLVER
    solver = knapsack_solver.KnapsackSolver(kind, "knapsack")
    solver.set_time_limit(seconds)
    solver.init(values.tolist(), [weights.tolist()], [capacity])
    return float(solver.solve())


def tour_by_routing(edges: Array, costs: Array, num_nodes: int, seconds: float) -> float:
    """The length of the tour that OR-Tools' routing library finds with guided local search."""
    from ortools.constraint_solver import pywrapcp, routing_enums_pb2

    between = np.zeros((num_nodes, num_nodes), int)
    between[edges[:, 0], edges[:, 1]] = between[edges[:, 1], edges[:, 0]] = costs
    manager = pywrapcp.RoutingIndexManager(num_nodes, 1, 0)
    routing = pywrapcp.RoutingModel(manager)
    routing.SetArcCostEvaluatorOfAllVehicles(routing.RegisterTransitMatrix(between.tolist()))
    parameters = pywrapcp.DefaultRoutingSearchParameters()
    parameters.first_solution_strategy = routing_enums_pb2.FirstSolutionStrategy.PATH_CHEAPEST_ARC
    parameters.local_search_metaheuristic = routing_enums_pb2.LocalSearchMetaheuristic.GUIDED_LOCAL_SEARCH
    parameters.time_limit.FromMilliseconds(int(1e3 * seconds))
    return float(routing.SolveWithParameters(parameters).ObjectiveValue())


if __name__ == "__main__":
    main()
