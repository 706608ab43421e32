"""How far from the optimum are `best` and `lower_bound`, on grids small enough for the exact solver?

    python -m tests.benchmarks.gaps [--seconds 10]

36 grids of 12 x 15 nodes: 2, 4 and 8 labels, seeds 0 to 3, three levels of noise. "best" is how much `best`
costs more than the bound that `solve_exact` proves. "bound" is how far `lower_bound` is below the cost that
`solve_exact` finds. Both are in per cent.
"""

import argparse
import statistics

from difflayers import amwc
from tests.amwc.problems import grid_problem

LABELS, SEEDS, NOISES = (2, 4, 8), range(4), (0.5, 1.0, 1.5)


def main() -> None:
    """Print a line for every level of noise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", default=10.0, type=float, help="time limit of the exact solver")
    seconds = parser.parse_args().seconds
    print("noise  proven   best: mean   worst   bound: mean   worst")
    for noise in NOISES:
        proven, best, bound = 0, [], []
        for labels in LABELS:
            for seed in SEEDS:
                problem = grid_problem(12, 15, num_labels=labels, noise=noise, seed=seed)
                exact = amwc.solve_exact(problem, time_limit=seconds)
                unit = abs(exact.cost) / 100
                proven += exact.proven_optimal
                best.append((amwc.solve(problem, "best").cost - exact.lower_bound) / unit)
                bound.append((exact.cost - amwc.lower_bound(problem)) / unit)
        columns = [f"{statistics.mean(each):9.2f} {max(each):9.2f}" for each in (best, bound)]
        print(f"{noise:5} {proven:4} / 12 " + "    ".join(columns), flush=True)


if __name__ == "__main__":
    main()
