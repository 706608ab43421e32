"""Pictures of labelings and of a training run, as arrays and PNG files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot: no global state, no display
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from difflayers.panoptic import PanopticLabels, draw
from difflayers.panoptic.files import Category

UNKNOWN = (40, 60, 110)
STAGE_NAMES = {3.0: "single stage"}
Entry = dict[str, float]


def overlay(
    image: np.ndarray, labels: PanopticLabels, categories: Sequence[Category], alpha: float = 0.6
) -> np.ndarray:
    """Lay the colours of a labeling over its image.

    Args:
        image: (H, W, 3) uint8.
        labels: labeling of the same size.
        categories: the classes that `labels.classes` counts.
        alpha: opacity of the colours, from 0 to 1.

    Returns:
        (H, W, 3) uint8: each class in its colour, each instance in a shade of it with a white outline; void
        keeps the image.

    Raises:
        ValueError: if image and labels differ in size.
    """
    is_thing = [category.is_thing for category in categories]
    return draw.overlay(image, labels, is_thing, [category.color for category in categories], alpha)


def panel(rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str], path: Path) -> None:
    """Save rows of images as one PNG, a title above each column.

    Args:
        rows: images (H, W, 3) uint8; each row has as many images as there are titles.
        titles: of the columns.
        path: the file; its folder is made if it is missing.

    Raises:
        ValueError: if a row is of another length than titles.
    """
    for index, row in enumerate(rows):
        if len(row) != len(titles):
            raise ValueError(f"row {index} has {len(row)} images, but there are {len(titles)} titles")
    titled = [
        [(title if number == 0 else "", image) for title, image in zip(titles, row, strict=True)]
        for number, row in enumerate(rows)
    ]
    grid(titled, path)


def grid(rows: Sequence[Sequence[tuple[str, np.ndarray]]], path: Path, width: float = 3.2) -> None:
    """Save rows of (title, image) as one PNG.

    Args:
        rows: images (H, W, 3) uint8; a shorter row leaves places empty.
        path: the file; its folder is made if it is missing.
        width: of an image in inches.
    """
    heights = [width * max(image.shape[0] / image.shape[1] for _, image in row) for row in rows]
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(width * columns, sum(heights) + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axis in axes.flat:
        axis.axis("off")
    for row, row_axes in zip(rows, axes, strict=True):
        for (title, image), axis in zip(row, row_axes, strict=False):
            axis.imshow(image, interpolation="nearest")
            axis.set_title(title, fontsize=11)
    _save(figure, path)


def draw_names(picture: np.ndarray, labels: PanopticLabels, categories: Sequence[Category]) -> np.ndarray:
    """Write the class on each segment that is large enough for its name, larger segments first.

    Args:
        picture: (H, W, 3) uint8, as `overlay` makes it; it is not changed.
        labels: labeling of the same size.
        categories: the classes that `labels.classes` counts.

    Returns:
        (H, W, 3) uint8.
    """
    drawn = Image.fromarray(picture)
    pen = ImageDraw.Draw(drawn)
    font = ImageFont.load_default(size=max(9, min(labels.shape) // 40))
    taken: list[tuple[float, float, float, float]] = []
    for segment in np.argsort(-labels.areas(), kind="stable"):
        name = categories[labels.classes[segment]].name
        _, _, wide, high = pen.textbbox((0, 0), name, font=font)
        rows, columns, depth = _deepest(labels.segments == segment)
        x = min(max(columns - wide / 2, 1), labels.shape[1] - wide - 2)
        y = min(max(rows - high / 2, 1), labels.shape[0] - high - 2)
        box = (x, y, x + wide, y + high)
        free = all(
            box[2] < other[0] or other[2] < box[0] or box[3] < other[1] or other[3] < box[1]
            for other in taken
        )
        if depth < high / 2 or not free:
            continue
        taken.append(box)
        pen.text((x, y), name, fill=(255, 255, 255), font=font, stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(drawn)


def grey(values: np.ndarray) -> np.ndarray:
    """Values (h, w) in [0, 1] as a picture (h, w, 3) uint8, 1 white; NaN in a colour of its own."""
    known = np.repeat(np.nan_to_num(255 * values).round().astype(np.uint8)[..., None], 3, axis=2)
    return np.where(np.isnan(values)[..., None], np.array(UNKNOWN, np.uint8), known)


def tinted(image: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """A darkened image (h, w, 3) uint8 with red added by a strength (h, w) in [0, 1]; NaN adds none."""
    strength = np.nan_to_num(strength)
    red = np.array([255.0, 40.0, 40.0])
    return (0.5 * image * (1 - strength[..., None]) + red * strength[..., None]).round().astype(np.uint8)


def training_curve(log: Sequence[Entry], path: Path) -> None:
    """Plot what a run logged over its iterations: the losses of each stage, and its qualities if it has any.

    Args:
        log: one dict per iteration with `stage`, `iteration` and figures; figures named `pq` or `*_pq` are
            qualities in [0, 1], all others are losses.
        path: the PNG file; its folder is made if it is missing.

    Raises:
        ValueError: if log is empty.
    """
    if not log:
        raise ValueError("log is empty, there is nothing to plot")
    plots: list[tuple[str, list[Entry], list[str]]] = []
    for stage in sorted({entry["stage"] for entry in log}):
        entries = [entry for entry in log if entry["stage"] == stage]
        names = [name for name in entries[0] if name not in ("stage", "iteration")]
        qualities = [name for name in names if name.endswith("pq")]
        losses = [name for name in names if name not in qualities]
        name = STAGE_NAMES.get(stage, f"stage {stage:g}")
        plots.append((f"{name}: losses", entries, losses))
        if qualities:
            plots.append((f"{name}: panoptic quality of the batch", entries, qualities))
    figure = Figure(figsize=(5 * len(plots), 3.6), layout="constrained")
    for axis, (title, entries, names) in zip(
        figure.subplots(1, len(plots), squeeze=False)[0], plots, strict=True
    ):
        _plot(axis, title, entries, names)
    _save(figure, path)


def _deepest(mask: np.ndarray) -> tuple[int, int, float]:
    """Row and column of a mask's pixel that is farthest from its border, and how far that is."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(depth.argmax(), depth.shape)
    return int(row), int(column), float(depth.max())


def _plot(axis: Axes, title: str, entries: list[Entry], names: list[str]) -> None:
    """Draw one curve per name: the raw values faint, their running mean strong."""
    window = max(1, len(entries) // 20)
    for name in names:
        iterations, values = (np.array([entry[key] for entry in entries]) for key in ("iteration", name))
        (line,) = axis.plot(
            iterations[window - 1 :],
            np.convolve(values, np.full(window, 1 / window), mode="valid"),
            label={"pq": "PQ", "soft_pq": "soft PQ"}.get(name, name),
            linewidth=1.8,
        )
        axis.plot(iterations, values, color=line.get_color(), alpha=0.25, linewidth=0.7)
    axis.set_title(f"{title} (mean of {window})" if window > 1 else title, fontsize=10)
    axis.set_xlabel("iteration")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=9)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
