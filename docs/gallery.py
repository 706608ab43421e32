"""Tutorials: scripts whose cells begin with `# %%`, run and turned into Markdown with their figures.

Cells marked `# %% [markdown]` are text in comments; of the others the page shows the code, what it prints
and the figures that it leaves open.
"""

import contextlib
import io
import re
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """A cell of a script: text or code, and the line of the script that it starts in."""

    is_text: bool
    source: str
    line: int


def split_cells(script: str) -> list[Cell]:
    """Split a script at its `# %%` markers; what stands before the first is dropped."""
    cells = []
    starts = [match.start() for match in re.finditer(r"^# %%.*$", script, re.M)]
    for start, end in zip(starts, [*starts[1:], len(script)], strict=True):
        marker, _, body = script[start:end].partition("\n")
        is_text = "[markdown]" in marker
        if is_text:
            body = re.sub(r"^# ?", "", body, flags=re.M)
        cells.append(Cell(is_text, body.strip("\n"), script[:start].count("\n") + 1))
    return cells


def render(name: str, script: str) -> tuple[str, dict[str, bytes]]:
    """Run a tutorial.

    Args:
        name: of the script, without its suffix.
        script: its text.

    Returns:
        The page in Markdown, and the PNG files that it shows, by name. Whatever the script raises passes.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    scope: dict[str, Any] = {"__name__": "__main__"}
    parts, pictures = [], {}
    for cell in split_cells(script):
        if cell.is_text:
            parts.append(cell.source)
            continue
        printed = io.StringIO()
        code = compile("\n" * cell.line + cell.source, f"{name}.py", "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, scope)
        parts.append(f"```python\n{cell.source.replace('  # fmt: skip', '')}\n```")
        if printed.getvalue():
            parts.append(f"```{{.text .output}}\n{printed.getvalue().rstrip()}\n```")
        # Figures of pyplot, and one that a drawing function of ours returned, which pyplot does not know.
        figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
        if isinstance(scope.get("figure"), Figure):
            figures.append(scope.pop("figure"))
        for figure in figures:
            picture = io.BytesIO()
            figure.savefig(picture, format="png", dpi=130, bbox_inches="tight")
            file = f"{name}-{len(pictures) + 1}.png"
            pictures[file] = picture.getvalue()
            parts.append(f"![Figure {len(pictures)}, drawn by the code above]({file}){{ .figure }}")
        pyplot.close("all")
    parts.append(f"*This page was made by running `docs/tutorials/{name}.py`.*")
    return "\n\n".join(parts) + "\n", pictures
