"""The documentation: every public name has its place, tutorials run and become pages, formulas are drawn."""

import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

from tests import public

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
API = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "api").glob("*.md")))
TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))


def documented():
    """What the entries of the API pages are about. The entry of a module stands for all its names."""
    for entry in re.findall(r"^::: (\S+)", API, re.M):
        module, _, name = entry.rpartition(".")
        value = getattr(importlib.import_module(module), name)
        names = public.names(value) if inspect.ismodule(value) else []
        yield from [getattr(value, each) for each in names] or [value]


def test_every_public_function_and_class_has_its_entry_in_the_api_pages():
    entries = {id(value) for value in documented()}
    missing = [name for name, value in public.functions_and_classes().items() if id(value) not in entries]
    assert missing == []


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    pages |= {f"tutorials/{script.stem}.md" for script in TUTORIALS}
    assert set(re.findall(r": (\S+\.md)$", navigation, re.M)) == pages


def loaded_from(name):
    specification = importlib.util.spec_from_file_location(f"documentation_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_pictures_of_the_idea_are_what_their_script_draws():
    idea = loaded_from("figures/idea")
    for theme, colors in idea.THEMES.items():
        for name, draw in (("idea", idea.draw_step), ("staircase", idea.draw_staircase)):
            committed = (DOCS / "images" / f"{name}-{theme}.svg").read_text(encoding="utf-8")
            assert committed == draw(colors)


def test_the_drawn_functions_meet_where_the_answer_does_not_change():
    idea = loaded_from("figures/idea")
    assert [idea.solve(cost) for cost in (-2.0, -1.5, -1.0, -0.5)] == [3, 2, 1, 0]
    assert idea.interpolated(-2.0, 0.1) == 3  # so small a λ leaves the answer
    assert idea.interpolated(-1.0, 0.35) < 1  # and this one does not
    slope = (idea.interpolated(-0.95, 0.35) - idea.interpolated(-1.0, 0.35)) / 0.05
    assert slope == pytest.approx((idea.solve(-1.0 + 0.35) - idea.solve(-1.0)) / 0.35)  # Eq. 3


@pytest.fixture(scope="module")
def gallery():
    pytest.importorskip("matplotlib")
    return loaded_from("gallery")


@pytest.fixture(scope="module")
def hooks():
    for package in ("mkdocs", "latex2mathml"):
        pytest.importorskip(package)
    return loaded_from("hooks")


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda script: script.stem)
def test_tutorials_run_and_show_their_figures(script, gallery):
    page, pictures = gallery.render(script.stem, script.read_text(encoding="utf-8"))
    assert page.startswith("# ")
    assert "```{.text .output}" in page
    assert len(pictures) >= 2
    for name, content in pictures.items():
        assert f"({name})" in page
        assert content.startswith(b"\x89PNG")


def test_cells_become_text_code_output_and_errors_of_the_right_line(gallery):
    script = "# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nx = 2\nprint(x)\n\n# %%\n1 / 0\n"
    cells = gallery.split_cells(script)
    assert [cell.is_text for cell in cells] == [True, False, False]
    assert cells[0].source == "# Title\n\nText."
    page, _ = gallery.render("good", script.partition("\n# %%\n1")[0])
    assert "```python\nx = 2\nprint(x)\n```\n\n```{.text .output}\n2\n```" in page
    with pytest.raises(ZeroDivisionError) as raised:
        gallery.render("bad", script)
    assert raised.traceback[-1].lineno + 1 == 11


def test_every_formula_of_the_pages_becomes_mathml(hooks):
    formulas = 0
    for path in DOCS.rglob("*.md"):
        text = re.sub(r"^ *```.*?^ *```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        for display, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$\s](?:[^$]*?[^$\s])?)\$", text, re.S):
            assert hooks.mathml(display or inline, bool(display)).startswith("<math")
            formulas += 1
    assert formulas > 50


def test_a_formula_that_cannot_be_drawn_is_an_error(hooks):
    with pytest.raises(ValueError, match="cannot convert to MathML"):
        hooks.mathml(r"\unknowncommand{x}", display=False)
