"""What importing and the first call of each entry point cost, with an empty cache and from the cache.

    python -m tests.benchmarks.first_call [name …]

Each figure comes from a new process. Seconds are processor time, which other work on the machine hardly
changes.
"""

import os
import subprocess
import sys
import tempfile

SETUP = """
import numpy as np
from difflayers.graph import grid_edges
edges = grid_edges((8, 8), [1])
rng = np.random.default_rng(0)
nodes, costs = rng.normal(size=(64, 3)).astype("f4"), rng.normal(size=len(edges)).astype("f4")
"""
ENTRIES = {
    "import difflayers": ("import torch, numpy", "import difflayers"),
    "blackbox layer": (
        "import torch, difflayers; c = torch.ones(2, 3, requires_grad=True)",
        "difflayers.BlackboxLayer(lambda c: c)(c).sum().backward()",
    ),
    "import amwc": ("import torch, difflayers", "from difflayers import amwc"),
    **{
        f"amwc, {method}": (
            f"{SETUP}\nfrom difflayers import amwc",
            f"amwc.solve(amwc.AMWC(nodes, edges, costs, np.array([True, False, True])), {method!r})",
        )
        for method in ("fast", "default", "best")
    },
    "multicut": (
        f"{SETUP}\nfrom difflayers import multicut",
        "multicut.solve(multicut.Multicut(64, edges, costs))",
    ),
    "lifted multicut": (
        f"{SETUP}\nfrom difflayers import lifted_multicut as l",
        "l.solve(l.LiftedMulticut(64, edges, costs, edges[:9], costs[:9]))",
    ),
    "mutex watershed": (
        f"{SETUP}\nfrom difflayers import multicut, mutex",
        "mutex.mutex_watershed(multicut.Multicut(64, edges, costs))",
    ),
    "shortest path": (
        f"{SETUP}\nfrom difflayers import solvers",
        "solvers.GridShortestPath((8, 8))(np.ones((2, 8, 8)))",
    ),
    "tour": (
        f"{SETUP}\nfrom difflayers import solvers",
        "solvers.TravellingSalesman(6)(np.ones((2, 15)))",
    ),
    "perfect matching": (
        f"{SETUP}\nfrom difflayers import solvers",
        "solvers.PerfectMatching(64, edges)(np.ones((2, len(edges))))",
    ),
    "warmup()": ("import difflayers", "difflayers.warmup()"),
    "warmup(['amwc'], ['float32'])": ("import difflayers", "difflayers.warmup(['amwc'], ['float32'])"),
}


def seconds(before: str, timed: str, cache: str) -> float:
    """Processor time of `timed` after `before`, in a new process."""
    code = f"{before}\nimport time\nbegan = time.process_time()\n{timed}\nprint(time.process_time() - began)"
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print a table of the entries whose names were given, or of all."""
    print(f"{'':<32} {'empty cache':>12} {'from cache':>12}")
    for name in sys.argv[1:] or ENTRIES:
        with tempfile.TemporaryDirectory() as cache:
            times = [seconds(*ENTRIES[name], cache) for _ in range(2)]
        print(f"{name:<32} {times[0]:>10.2f} s {times[1]:>10.2f} s", flush=True)


if __name__ == "__main__":
    main()
