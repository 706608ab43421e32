"""Run the tests of the sdist against the installed wheel, in new environments outside the repository.

    python tools/test_matrix.py                      every row of ROWS that this machine can make
    python tools/test_matrix.py --row 0              one row; row 0 is the release test
    python tools/test_matrix.py --python PATH        an interpreter that has the dependencies already
    python tools/test_matrix.py -- tests/test_scales.py -x        other arguments for pytest

A row whose Python is not here, or whose torch comes only with CUDA, is reported as not tested. On Linux, PyPI
serves CUDA builds of torch; where the project's own index can be reached, `--index URL` of its CPU builds
makes these rows testable.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TEST_PACKAGES = [
    "pytest>=8",
    "hypothesis>=6.100",
    "psutil",
    "torchmetrics>=1.4",
    "pillow",
    "matplotlib",
    "tqdm",
]
PYTEST = ["tests", "-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu"]
VERSIONS = """
import sys, importlib.metadata as m
names = ("torch", "numpy", "numba", "scipy", "joblib")
print("Python " + sys.version.split()[0], *(f"{name} {m.version(name)}" for name in names), sep=", ")
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


class NotTestable(Exception):
    """Why this machine cannot make an environment."""


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
    results = []
    with tempfile.TemporaryDirectory(prefix="difflayers-") as folder:
        work = Path(folder)
        wheel, source = build(work)
        for number in chosen:
            row = ROWS[number]
            print(f"--- {row}", flush=True)
            try:
                python = environment(row, wheel, work / str(number), options.index, options.cuda)
                results.append(tested(str(row), python, without_package(source, work), options.pytest))
            except NotTestable as reason:
                results.append((str(row), f"not tested: {reason}", True))
            shutil.rmtree(work / str(number), ignore_errors=True)
        for python in options.python:
            print(f"--- {python}", flush=True)
            results.append(tested(str(python), python, source, options.pytest))
    print("\n".join(f"{name}\n    {result}" for name, result, _ in results))
    return int(not all(passed for _, _, passed in results))


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
    wanted = [*constraints, *extra, *row.packages, wheel, *TEST_PACKAGES]
    run([base, "-m", "venv", folder])
    python = folder / "bin" / "python"
    run([python, "-m", "pip", "install", "-q", "--upgrade", "pip"])
    if not cuda:
        refuse_cuda(python, wanted)
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


def refuse_cuda(python: Path, wanted: list[object]) -> None:
    """Raise NotTestable where pip would bring CUDA, or has nothing that fits; downloads metadata only."""
    command = [python, "-m", "pip", "install", "-q", "--dry-run", "--report", "-", *wanted]
    answer = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise NotTestable(f"pip finds no fitting set of packages: {answer.stderr.strip().splitlines()[-1]}")
    found = {
        item["metadata"]["name"]: item["metadata"]["version"] for item in json.loads(answer.stdout)["install"]
    }
    if any(name.startswith(("nvidia", "cuda")) for name in found):
        raise NotTestable(f"torch {found['torch']} comes with CUDA only")


def tested(name: str, python: Path, source: Path, pytest: list[str]) -> tuple[str, str, bool]:
    """Run the tests; return the name, the versions with pytest's closing line, and whether all passed."""
    versions = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True, check=True).stdout
    print(versions.strip(), flush=True)
    with subprocess.Popen(
        [str(python), "-m", "pytest", *pytest], cwd=source, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout is not None
        last = ""
        for line in tests.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return name, f"{versions.strip()}: {last}", tests.returncode == 0


def run(command: list[object]) -> None:
    """Run a command, and end with its output where it fails."""
    answer = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{answer.stdout}{answer.stderr}")


if __name__ == "__main__":
    raise SystemExit(main())
