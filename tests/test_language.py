"""What can be checked of our language: one spelling, and Markdown that the site renders."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("difflayers", "docs", "examples", "tests")
FILES = [
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*.py"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*"))]
    if path.suffix in (".md", ".py") and path != Path(__file__)
]
STEMS = (
    "minim|maxim|optim|normal|vector|regular|recogn|general|initial|summar|organ|real|penal|parallel|serial|"
    "special|local|discret|binar|factor|final"
)
PER = (
    r"instance|edge|node|image|call|step|row|file|label|class|batch|line|pixel|seed|epoch|method|segment",
    r"once|twice|rows?|objects?|calls?|numbers?|bytes|ms|µs|ns|times|lines?|entry|entries|O\([^)\n]*\)",
)
RULES = {
    "one l in labeling": r"(?i)labell",
    "-ize and -ization": rf"(?i)\b(?:{STEMS})is(?:e|es|ed|er|ers|ing|ation|ations|able)\b",
    "per instance": rf"\b(?:{PER[1]}) an? (?:{PER[0]})\b",
    "Markdown, no Sphinx roles": r":(?:class|func|meth|mod|attr|data|ref|exc):`",
    "Markdown, no double ticks": r"(?<!`)``(?!`)[^`\n]+``(?!`)",
    "a section of examples is called Examples": r"(?m)^\s+Example:$",
}


@pytest.mark.parametrize("rule", RULES)
def test_every_text_keeps_to_the_rule(rule):
    found = [
        f"{path.relative_to(ROOT)}: {match[0].strip()}"
        for path in FILES
        for match in re.finditer(RULES[rule], path.read_text(encoding="utf-8"))
    ]
    assert found == []
