"""Draw the picture of the idea in two parts, light and dark: python docs/figures/idea.py

First, what a training step computes. Second, one cost c and a loss on the solution that a solver finds for
it: a staircase, and the continuous functions of Eq. 3 for two λ, all computed for a solver of four solutions.
"""

from pathlib import Path

IMAGES = Path(__file__).parents[1] / "images"
# Solutions y = 0 … 3 with a fixed part of their cost; the solver minimizes c y + fixed(y), the loss is y.
FIXED = (0.0, 0.9, 2.3, 4.0)
LOW, HIGH, STEPS = -2.4, 0.0, 240


def named(*colors: str) -> dict[str, str]:
    """The colours of a theme by their use."""
    return dict(zip(("ink", "soft", "box", "edge", "one", "two"), colors, strict=True))


THEMES = {
    "light": named("#24292f", "#8b949e", "#eef1ff", "#3f51b5", "#e4572e", "#17996b"),
    "dark": named("#e6edf3", "#7d8590", "#232a45", "#8c9eff", "#ff8a65", "#4fd1a1"),
}


def solve(cost: float) -> int:
    """The solver: the solution of least cost."""
    return min(range(len(FIXED)), key=lambda y: cost * y + FIXED[y])


def interpolated(cost: float, scale: float) -> float:
    """The loss that Eq. 3 is the gradient of (Vlastelica et al. 2020, Eq. 4), of the loss L(y) = y."""
    y, moved = solve(cost), solve(cost + scale)
    return moved + (cost * moved + FIXED[moved] - cost * y - FIXED[y]) / scale


def curve(function, left: float, top: float, width: float, height: float) -> str:
    """Points of an SVG polyline."""
    costs = [LOW + (HIGH - LOW) * step / STEPS for step in range(STEPS + 1)]
    return " ".join(
        f"{left + width * (cost - LOW) / (HIGH - LOW):.1f},{top + height * (1 - function(cost) / 3):.1f}"
        for cost in costs
    )


class Drawing:
    """Shapes of an SVG in one theme."""

    def __init__(self, colors: dict[str, str]) -> None:
        self.colors, self.parts = colors, []

    def text(self, x, y, content, color="ink", size=15, anchor="middle", style='font-style="italic"'):
        fill = self.colors[color]
        where = f'x="{x}" y="{y}" fill="{fill}" font-size="{size}" text-anchor="{anchor}"'
        self.parts.append(f"<text {where} {style}>{content}</text>")

    def box(self, x, y, title, subtitle):
        shape = f'x="{x}" y="{y}" width="104" height="56" rx="8"'
        self.parts.append(f'<rect {shape} fill="{self.colors["box"]}" stroke="{self.colors["edge"]}"/>')
        self.text(x + 52, y + 25, title, size=16, style='font-weight="600"')
        self.text(x + 52, y + 44, subtitle, "soft", 12, style="")

    def line(self, path, color, width=1.8, arrow=False):
        end = f' marker-end="url(#{color})"' if arrow else ""
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{self.colors[color]}" stroke-width="{width}"{end}/>'
        )

    def svg(self, width, height):
        markers = "".join(
            f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{self.colors[name]}"/></marker>'
            for name in ("ink", "one")
        )
        size = f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
        return "\n".join([head, f"<defs>{markers}</defs>", *self.parts, "</svg>", ""])


def draw_step(colors: dict[str, str]) -> str:
    """What a training step computes."""
    drawing = Drawing(colors)
    drawing.box(10, 30, "network", "yours")
    drawing.box(194, 30, "solver W", "any, as it is")
    drawing.box(378, 30, "loss L", "on solutions")
    drawing.line("M114 58 H190", "ink", arrow=True)
    drawing.text(152, 48, "costs c")
    drawing.line("M298 58 H374", "ink", arrow=True)
    drawing.text(336, 48, "y = W(c)")
    drawing.box(194, 166, "solver W", "asked again")
    drawing.line("M430 86 V194 H302", "one", arrow=True)
    drawing.text(440, 145, "g = ∂L/∂y", "one", anchor="start")
    drawing.text(366, 185, "c + λ g", "one")
    drawing.line("M194 194 H62 V90", "one", arrow=True)
    drawing.text(72, 145, "∂L/∂c = (W(c + λ g) − W(c)) / λ", "one", anchor="start")
    drawing.text(128, 185, "the difference", "soft", 12, style="")
    return drawing.svg(520, 240)


def draw_staircase(colors: dict[str, str]) -> str:
    """The loss as a function of one cost, and what Eq. 3 is the slope of."""
    drawing = Drawing(colors)
    left, top, width, height = 14, 36, 340, 170
    drawing.line(f"M{left} {top - 14} V{top + height + 12} H{left + width + 8}", "soft", 1)
    drawing.text(left + width, top + height + 30, "cost c", "soft", 13, "end")
    drawing.text(left + 8, top - 18, "loss of the solution", "soft", 13, "start", "")
    kinds = (
        ("ink", solve, "true: flat, then jumps"),
        ("two", lambda cost: interpolated(cost, 0.35), "small λ"),
        ("one", lambda cost: interpolated(cost, 1.1), "larger λ"),
    )
    for row, (color, function, label) in enumerate(kinds):
        drawing.line("M" + curve(function, left, top, width, height), color, 2.2)
        y = top + 6 + 20 * row
        drawing.line(f"M{left + 176} {y} h22", color, 2.4)
        drawing.text(left + 204, y + 4, label, color, 13, "start", "")
    return drawing.svg(372, 240)


if __name__ == "__main__":
    for theme, colors in THEMES.items():
        (IMAGES / f"idea-{theme}.svg").write_text(draw_step(colors), encoding="utf-8")
        (IMAGES / f"staircase-{theme}.svg").write_text(draw_staircase(colors), encoding="utf-8")
