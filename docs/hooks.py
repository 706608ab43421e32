"""What MkDocs does beyond its plugins: tutorials are run and become pages, and formulas become MathML.

MathML needs no script and no network, in contrast to MathJax and KaTeX: browsers draw it themselves.
"""

import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]  # for gallery.py, and for difflayers where it is not installed
from gallery import render  # noqa: E402

_rendered: dict[tuple[str, str], tuple[str, dict[str, bytes]]] = {}  # for `mkdocs serve`, which builds again


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Put a page in the place of each tutorial, and keep scripts out of the site."""
    for file in [file for file in files if file.src_uri.endswith((".py", ".toml"))]:
        files.remove(file)
    for path in sorted((DOCS / "tutorials").glob("*.py")):
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
