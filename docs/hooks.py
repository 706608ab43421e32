"""What MkDocs does beyond its plugins: tutorials are run and become pages, and formulas become MathML.

A tutorial is a script in docs/tutorials whose cells begin with `# %%`. Cells marked `# %% [markdown]` are
text in comments; of the others the page shows the code, what it prints, and the figures it leaves open.

MathML needs no script and no network, in contrast to MathJax and KaTeX: browsers draw it themselves.
"""

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

TUTORIALS = Path(__file__).parent / "tutorials"
_rendered: dict[tuple[str, str], tuple[str, dict[str, bytes]]] = {}  # for `mkdocs serve`, which builds again


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


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Put a page in the place of each tutorial, and keep scripts out of the site."""
    root = str(Path(config.config_file_path).parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    for file in [file for file in files if file.src_uri.endswith(".py")]:
        files.remove(file)
    for path in sorted(TUTORIALS.glob("*.py")):
        script = path.read_text(encoding="utf-8")
        key = (path.stem, script)
        if key not in _rendered:
            _rendered[key] = render(*key)
        page, pictures = _rendered[key]
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=page))
        for name, content in pictures.items():
            files.append(File.generated(config, f"tutorials/{name}", content=content))
    return files


def mathml(latex: str, display: bool) -> str:
    """Return a formula as MathML.

    Raises:
        ValueError: where the converter left something of the LaTeX as it was.
    """
    # It knows neither \arg nor the limits of an operator name.
    for name in ("min", "max"):
        latex = latex.replace(rf"\arg\{name}", rf"\operatorname{{arg{name}}}")
    markup = convert(latex, display="block" if display else "inline")
    if "\\" in markup or ">&<" in markup:
        raise ValueError(f"cannot convert to MathML: {latex}")
    if display:  # limits below the operator, as LaTeX sets them
        markup = re.sub(r"<msub>(<mo>(?:min|max|argmin|argmax)</mo>.*?)</msub>", _under, markup)
    return markup


def _under(match: re.Match[str]) -> str:
    return match[0] if "<msub>" in match[1] else f"<munder>{match[1]}</munder>"


def on_page_content(html: str, *, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Turn what arithmatex marked into MathML."""

    def replace(match: re.Match[str]) -> str:
        latex = match["latex"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        try:
            return mathml(latex[2:-2], display=match["tag"] == "div")
        except ValueError as error:
            raise PluginError(f"{page.file.src_uri}: {error}") from error

    pattern = r'<(?P<tag>span|div) class="arithmatex">(?P<latex>\\[(\[].*?\\[)\]])\s*</(?P=tag)>'
    html = re.sub(pattern, replace, html, flags=re.S)
    # A comma after a formula stays on its line.
    return re.sub(r"(<math[^>]*inline.*?</math>[,.;:)]+)", r'<span class="formula">\1</span>', html)
