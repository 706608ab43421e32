"""How time and memory of the AMWC methods grow with the problem, from 10⁴ to 10⁷ edges.

    python -m tests.benchmarks.growth [--repeats 3] [--methods fast default]

Every size is solved in a process of its own, so that the peak of its resident memory, less what it was once
the problem stood, is that of the solver.
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path

from difflayers import amwc
from tests.benchmarks import scenes
from tests.benchmarks.amwc import solve_anew, timed, warm_up

# Height and width; with the distances of the Cityscapes preset.
SIZES = ((32, 32), (40, 48), (48, 96), (96, 192), (256, 256), (256, 512), (512, 1024), (768, 1152))


def main() -> None:
    """Print a line for every size and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["fast", "default"])
    parser.add_argument(
        "--repeats", default=3, type=int, help="runs of large problems, of which the median counts"
    )
    parser.add_argument("--size", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--noise", default=2.5, type=float)
    arguments = parser.parse_args()
    if arguments.size:
        measure(arguments)
        return
    print("   nodes     edges  method       ms   ns per edge   bytes per edge beyond the problem", flush=True)
    for height, width in SIZES:
        for method in arguments.methods:
            command = [sys.executable, "-m", "tests.benchmarks.growth"]
            options = ["--repeats", arguments.repeats, "--noise", arguments.noise, "--methods", method]
            size = ["--size", height, width]
            subprocess.run([*command, *map(str, options + size)], check=True)


def measure(arguments: argparse.Namespace) -> None:
    """Print the line of one size and method."""
    warm_up(quiet=True)
    (method,) = arguments.methods
    scene = scenes.preset("cityscapes", 1, arguments.noise, shape=tuple(arguments.size))
    problem = amwc.AMWC(*scene[:4])
    del scene
    before = resident_bytes()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    edges = len(problem.edges)
    repeats = arguments.repeats * (1 + 1_000_000 // edges)  # small ones vary more, and take no time
    seconds, _ = timed(lambda: solve_anew(problem, method), repeats)
    print(
        f"{problem.num_nodes:>8} {edges:>9}  {method:<8} {seconds * 1e3:>7.1f} "
        f"{seconds * 1e9 / edges:>12.0f} {(peak_bytes() - before) / edges:>15.0f}",
        flush=True,
    )


def resident_bytes() -> int:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak_bytes() -> int:
    """Peak of this process's memory since the peak was cleared."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
