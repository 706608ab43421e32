"""Label images of any size: overlays with names, COCO-panoptic files, and pictures of costs and cuts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from difflayers.panoptic import PanopticLabels, resize
from difflayers.panoptic.images import SUFFIXES, read_image
from difflayers.panoptic.paths import file_to_write
from examples.cops.data import Category
from examples.cops.inference import Prediction, Predictor, Solved
from examples.cops.measure.pictures import draw_names, grey, grid, overlay, tinted
from examples.cops.measure.submission import write_index, write_prediction

READABLE = 512  # pixels of the longer side that names can be read on


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    categories: Sequence[Category],
    out: Path,
    explain: bool = False,
) -> None:
    """Label images; `out` receives `panoptic.json`, `panoptic/`, `overlay/` and, with `explain`, `explain/`.

    Args:
        predictor: labels images with these categories.
        paths: image files, or folders of them.
        categories: the classes.
        out: the folder for what is written.
        explain: whether to draw also the semantic argmax, the boundary probability at each distance, and the
            edges that the solver cut.

    Raises:
        FileNotFoundError: naming the image that is missing, or the folder that holds none.
        ValueError: naming the image that cannot be read, or two whose results would have one name.
    """
    annotations = []
    for path in image_files(paths):
        image = read_image(path, upright=True)
        try:
            (prediction,) = predictor.predict([image])
        except ValueError as error:  # costs that are not finite, say
            raise ValueError(f"{path}: {error}") from error
        annotations.append(
            write_prediction(out, prediction.labels, (path.stem, f"{path.stem}.png"), categories)
        )
        large, labels = enlarged(image, prediction.labels)
        drawn = draw_names(overlay(large, labels, categories), labels, categories)
        Image.fromarray(drawn).save(file_to_write(out / "overlay", f"{path.stem}.png"))
        if explain:
            picture = file_to_write(out / "explain", f"{path.stem}.png")
            explanation(image, prediction, predictor, categories, picture)
        print(f"{path}: {len(prediction.labels.classes)} segments")
    write_index(out, annotations)


def enlarged(image: np.ndarray, labels: PanopticLabels) -> tuple[np.ndarray, PanopticLabels]:
    """Enlarge a small image and its labels until names can be read on it; leave others as they are."""
    factor = -(-READABLE // max(labels.shape))
    shape = factor * labels.shape[0], factor * labels.shape[1]
    large = Image.fromarray(image).resize(shape[::-1], Image.Resampling.BILINEAR)
    return np.asarray(large), resize(labels, shape)


def explanation(
    image: np.ndarray,
    prediction: Prediction,
    predictor: Predictor,
    categories: Sequence[Category],
    path: Path,
) -> None:
    """Draw the labeling and classes (first row), boundaries and cuts at each distance (rows below)."""
    solved, distances = prediction.solved, predictor.config.network.distances
    best = solved.node_costs.argmin(1).reshape(solved.shape)
    classes, segments = np.unique(best, return_inverse=True)
    argmax = PanopticLabels(segments.reshape(solved.shape).astype(np.int32), classes)
    small = np.asarray(Image.fromarray(image).resize(solved.shape[::-1], Image.Resampling.BILINEAR))
    stuff_colors = [category._replace(is_thing=False) for category in categories]  # no instances, no outlines
    cuts = cut_maps(solved)
    above = [
        ("image", image),
        ("labels", overlay(image, prediction.labels, categories)),
        ("cheapest class of each pixel", overlay(small, argmax, stuff_colors)),
        (f"cuts at distance {distances[0]}", tinted(small, halfway(cuts[0], solved.shape, distances[0]))),
    ]
    likely, separated = [], []
    for distance, sides, cut in zip(distances, solved.edge_costs, cuts, strict=True):
        # A cost is minus a logit, so the sigmoid of minus the cost is the probability of a boundary.
        probability = [1 / (1 + np.exp(np.clip(side, -50, 50))) for side in sides]
        likely.append((f"boundary, distance {distance}", grey(halfway(probability, solved.shape, distance))))
        separated.append((f"cut, distance {distance}", grey(halfway(cut, solved.shape, distance))))
    grid([above, likely, separated], path)


def cut_maps(solved: Solved) -> list[tuple[np.ndarray, np.ndarray]]:
    """The solver's cuts (0 or 1) for each distance, vertical (h − d, w) and horizontal (h, w − d)."""
    maps, start = [], 0
    for vertical, horizontal in solved.edge_costs:
        sides = []
        for side in (vertical, horizontal):
            sides.append(solved.solution.cuts[start : start + side.size].reshape(side.shape))
            start += side.size
        maps.append((sides[0], sides[1]))
    return maps


def halfway(sides: Sequence[np.ndarray], shape: tuple[int, int], distance: int) -> np.ndarray:
    """Draw values of pairs on the image (h, w), at the pixel half-way; the mean over both directions.

    NaN at pixels that are the middle of no pair.
    """
    total, count = np.zeros(shape), np.zeros(shape)
    for axis, side in enumerate(sides):
        where = [slice(0, size) for size in side.shape]
        where[axis] = slice(distance // 2, distance // 2 + side.shape[axis])
        total[tuple(where)] += side
        count[tuple(where)] += 1
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Return the image files among the paths and inside folders among them; no two have the same name."""
    files = []
    for path in paths:
        inside = (
            sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        )
        if not inside:
            raise FileNotFoundError(f"{path}: holds no image ({', '.join(sorted(SUFFIXES))})")
        files += inside
    named: dict[str, Path] = {}
    files = list({path.resolve(): path for path in files}.values())  # one may be named twice
    for path in files:
        if (other := named.setdefault(path.stem, path)) is not path:
            raise ValueError(f"{other} and {path} would both be written to {path.stem}.png; label them apart")
    return files
