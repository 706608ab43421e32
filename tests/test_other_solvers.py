"""The blocks of docs/other-solvers.md run, each where its package is installed."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "other-solvers.md"
BLOCKS = re.findall(
    r"^## (.*?)\n.*?^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S
)
PACKAGES = {"HiGHS": "highspy", "OR-Tools": "ortools", "Gurobi": "gurobipy", "CVXPY": "cvxpy"}


@pytest.mark.parametrize(("title", "block"), BLOCKS, ids=[title for title, _ in BLOCKS])
def test_each_block_runs_as_pasted(title, block):
    if title in PACKAGES:
        pytest.importorskip(PACKAGES[title])
    exec(compile(block, f"<{title}>", "exec"), {"__name__": "__main__"})


def test_every_solver_that_the_page_names_has_a_block():
    assert PACKAGES.keys() | {"SciPy", "Solvers on the GPU"} <= {title for title, _ in BLOCKS}
