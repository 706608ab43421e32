"""Label images of any size: overlays with names, COCO-panoptic files, and pictures of costs and cuts."""

import json
from collections.abc import Mapping, Sequence
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
from examples.cops.run.processes import gathered, rank, world

CITYSCAPES = "_leftImg8bit"  # the end of the names of its images
READABLE = 512  # pixels of the longer side that names can be read on


def predict_files(
    predictor: Predictor,
    paths: Sequence[Path],
    categories: Sequence[Category],
    out: Path,
    explain: bool = False,
    pictures: bool = True,
    listed: Path | None = None,
    batch: int = 1,
) -> None:
    """Label images; `out` receives `panoptic.json`, `panoptic/`, `overlay/` and, with `explain`, `explain/`.

    A file in a subfolder of a folder keeps its place below these. Under torchrun, each process takes a part
    of the images.

    Args:
        predictor: labels images with these categories.
        paths: image files, or folders of them.
        categories: the classes.
        out: the folder for what is written.
        explain: whether to draw also the semantic argmax, the boundary probability at each distance, and the
            edges that the solver cut.
        pictures: whether to draw. Without pictures, as for a submission, images are not turned upright.
        listed: JSON with an entry `images`, such as COCO's `image_info_test-dev2017.json`: only these images
            are labeled, under their ids. Without a list the ids are those of `image_ids`.
        batch: how many images are read at a time; those of one padded size form a batch of the network.

    Raises:
        FileNotFoundError: naming the image that is missing, or the folder that holds none.
        ValueError: naming the image that cannot be read, or two whose results would have one name.
    """
    named = named_images(paths, out)
    ids = image_ids([*named]) if listed is None else listed_ids(listed, named)
    own = [*ids][rank() :: world()]
    annotations = []
    for start in range(0, len(own), batch):
        names = own[start : start + batch]
        images = [read_image(named[name], upright=pictures) for name in names]
        try:
            predictions = predictor.predict(images)
        except ValueError as error:  # costs that are not finite, say
            raise ValueError(f"{', '.join(str(named[name]) for name in names)}: {error}") from error
        for name, image, prediction in zip(names, images, predictions, strict=True):
            file_ids = ids[name], f"{name}.png"
            annotations.append(write_prediction(out, prediction.labels, file_ids, categories))
            if pictures:
                large, labels = enlarged(image, prediction.labels)
                drawn = draw_names(overlay(large, labels, categories), labels, categories)
                Image.fromarray(drawn).save(file_to_write(out / "overlay", f"{name}.png"))
            if explain:
                picture = file_to_write(out / "explain", f"{name}.png")
                explanation(image, prediction, predictor, categories, picture)
            print(f"{named[name]}: {len(prediction.labels.classes)} segments")
    parts = gathered(annotations)
    if rank() == 0:
        write_index(out, [entry for part in parts for entry in part])


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
    """Return the image files among the paths and inside folders among them, as `named_images`."""
    return [*named_images(paths).values()]


def named_images(paths: Sequence[Path], out: Path | None = None) -> dict[str, Path]:
    """Find the image files among the paths and, at any depth, inside folders among them.

    Args:
        paths: files and folders.
        out: a folder that is passed over, because it holds what was written before.

    Returns:
        Each file under its name without suffix; a file in a subfolder with the way there, such as `a/street`.

    Raises:
        FileNotFoundError: naming the folder that holds none.
        ValueError: if two files have one name.
    """
    found: dict[Path, tuple[str, Path]] = {}  # a file may be named twice
    for path in paths:
        inside = [path]
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if out is not None and path.resolve() != out.resolve():
                inside = [p for p in inside if not p.resolve().is_relative_to(out.resolve())]
        if not inside:
            raise FileNotFoundError(f"{path}: holds no image ({', '.join(sorted(SUFFIXES))})")
        for file in inside:
            place = file.relative_to(path) if path.is_dir() else Path(file.name)
            found.setdefault(file.resolve(), (place.with_suffix("").as_posix(), file))
    named: dict[str, Path] = {}
    for name, file in found.values():
        if (other := named.setdefault(name, file)) is not file:
            raise ValueError(f"{other} and {file} would both be written to {name}.png; label them apart")
    return named


def image_ids(names: Sequence[str]) -> dict[str, int | str]:
    """The ids that the evaluators of COCO and Cityscapes expect, for images of these names.

    COCO's `000000000139` is 139; Cityscapes' `berlin/berlin_000000_000019_leftImg8bit` is
    `berlin_000000_000019`. Other names are ids themselves, and so are all if two ids would be the same.
    """
    ids: dict[str, int | str] = {}
    for name in names:
        stem = name.split("/")[-1]
        if stem.isascii() and stem.isdecimal():
            ids[name] = int(stem)
        else:
            ids[name] = stem.removesuffix(CITYSCAPES) if stem.endswith(CITYSCAPES) else name
    return ids if len(set(ids.values())) == len(names) else {name: name for name in names}


def listed_ids(path: Path, named: Mapping[str, Path]) -> dict[str, int | str]:
    """The ids of the images that a JSON file lists.

    Raises:
        FileNotFoundError: naming the file that is missing, or images of its that are not among those named.
        ValueError: naming the file, if it lists no images.
    """
    try:
        images = {str(entry["file_name"]): entry["id"] for entry in json.loads(path.read_text())["images"]}
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: lists no images by 'id' and 'file_name' ({error})") from error
    ids = {name: images[file.name] for name, file in named.items() if file.name in images}
    if missing := sorted(images.keys() - {named[name].name for name in ids}):
        raise FileNotFoundError(f"{path}: {len(missing)} of its images are not there, such as {missing[0]}")
    return ids
