"""What `import difflayers` brings, and that the examples of README and docs run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import difflayers

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md")),
]
EXAMPLES = [
    pytest.param(example, id=f"{page}-{number}")
    for page in PAGES
    for number, example in enumerate(
        re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), flags=re.M | re.S)
    )
]


def modules_after(statement):
    done = subprocess.run(
        [sys.executable, "-c", f"{statement}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_import_brings_nothing_but_the_names():
    tops = {name.split(".")[0] for name in modules_after("import difflayers")}
    assert tops.isdisjoint({"torch", "numpy", "numba", "scipy", "joblib", "examples", "PIL", "matplotlib"})


def test_layers_and_losses_bring_neither_numba_nor_much_beyond_torch():
    added = modules_after(
        "from difflayers import BlackboxLayer, losses, functional, diagnose"
    ) - modules_after("import torch, numpy")
    tops = {name.split(".")[0] for name in added}
    assert tops.isdisjoint({"numba", "llvmlite", "scipy", "joblib", "examples", "PIL", "matplotlib"})
    assert not any(name.startswith(("torch._dynamo", "difflayers.amwc")) for name in added)


@pytest.mark.parametrize(
    "module",
    [
        "adapters",
        "amwc",
        "blockwise",
        "graph",
        "lifted_multicut",
        "lpmp",
        "multicut",
        "mutex",
        "mwc",
        "solvers",
        "tasks",
        "wrap",
    ],
)
def test_cuts_graphs_solvers_and_tasks_load_no_torch(module):
    loaded = modules_after(f"from difflayers import {module}")
    assert f"difflayers.{module}" in loaded
    assert "torch" not in loaded
    assert not any(name.startswith("difflayers.engine") for name in loaded)


def test_every_public_name_loads():
    for name in difflayers.__all__:
        assert getattr(difflayers, name) is not None
    assert set(difflayers.__all__) <= set(dir(difflayers))


def test_unknown_names_raise_the_usual_error():
    with pytest.raises(AttributeError, match="module 'difflayers' has no attribute 'amcw'"):
        difflayers.amcw  # noqa: B018


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_in_the_documentation_run_as_pasted(example):
    # Each alone, as a reader would paste it; what it claims, it asserts or prints.
    for package in re.findall(r"^(?:import|from) (highspy|ortools|gurobipy|cvxpy)\b", example, re.M):
        pytest.importorskip(package)  # solvers from elsewhere, which no extra installs
    exec(compile(example, "<documentation>", "exec"), {"__name__": "__main__"})
