"""Pictures of panoptic labelings: overlays as arrays, and figures with names."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from difflayers.panoptic.labels import VOID, PanopticLabels
from difflayers.pictures import new_figure, outlines, palette, segment_colors

WHITE = (255, 255, 255)
_LARGE = 400  # pixels; on smaller pictures the lines around instances would hide much


def overlay(
    image: ArrayLike | None,
    labels: PanopticLabels,
    is_thing: ArrayLike,
    colors: ArrayLike | None = None,
    alpha: float = 0.6,
    outline: tuple[int, int, int] = WHITE,
    zoom: int = 1,
) -> NDArray[np.uint8]:
    """Lay the colours of a labeling over its image.

    Args:
        image: (h, w, 3) uint8; None for black.
        labels: a labeling of the same size.
        is_thing: (K,) bool, the classes that have instances.
        colors: (K, 3) in 0 to 255, a colour per class; by default `difflayers.pictures.palette`.
        alpha: opacity of the colours, from 0 to 1.
        outline: colour of the line around instances.
        zoom: side of the square of the picture that shows one pixel of the labels. Lines are one pixel of the
            picture wide, so they hide less if `zoom` is larger.

    Returns:
        (h · zoom, w · zoom, 3) uint8: each class in its colour, each instance in a shade of this colour and
        outlined. Void pixels show the image.

    Raises:
        ValueError: on an image or colours of another size, on classes beyond `is_thing`, and on labels that
            are not those of an image.

    Examples:
        >>> from difflayers import panoptic
        >>> labels = panoptic.PanopticLabels([[0, -1]], classes=[0])
        >>> picture = panoptic.draw.overlay(None, labels, [False], colors=[(200, 100, 0)], alpha=0.5)
        >>> picture.tolist()
        [[[100, 50, 0], [0, 0, 0]]]
    """
    is_thing = np.asarray(is_thing, dtype=bool)
    if len(labels.shape) != 2:
        raise ValueError(f"labels must be of an image (h, w), got shape {labels.shape}")
    picture = np.zeros((*labels.shape, 3), np.uint8) if image is None else np.asarray(image)
    if picture.dtype != np.uint8 or picture.shape != (*labels.shape, 3):
        raise ValueError(
            f"image must be uint8 of shape {(*labels.shape, 3)}, got {picture.dtype} of shape {picture.shape}"
        )
    picture = picture.repeat(zoom, 0).repeat(zoom, 1)
    if len(labels.classes) == 0:
        return picture
    if labels.classes.max() >= len(is_thing):
        raise ValueError(f"labels has class {labels.classes.max()}, but is_thing has {len(is_thing)} entries")
    of_class = palette(len(is_thing)) if colors is None else np.asarray(colors)
    if of_class.shape != (len(is_thing), 3):
        raise ValueError(f"colors must have shape {(len(is_thing), 3)}, got {of_class.shape}")
    things = is_thing[labels.classes]
    segments = labels.segments.repeat(zoom, 0).repeat(zoom, 1)
    known = segments != VOID
    blend = picture.astype(np.float32)
    blend[known] *= 1 - alpha
    blend[known] += alpha * segment_colors(of_class[labels.classes], things)[segments[known]]
    blend[outlines(segments, np.append(things, False))] = outline
    return blend.round().astype(np.uint8)


def anchors(labels: PanopticLabels) -> NDArray[np.int64]:
    """Return the pixel of each segment that is farthest from the segment's border.

    Args:
        labels: the labeling of an image.

    Returns:
        (S, 2) int64, rows and columns.

    Examples:
        >>> from difflayers import panoptic
        >>> panoptic.draw.anchors(panoptic.PanopticLabels([[0, 0, 0, 1]], classes=[0, 1])).tolist()
        [[0, 0], [0, 3]]
    """
    found = np.zeros((len(labels.classes), 2), np.int64)
    for index, box in enumerate(ndimage.find_objects(labels.segments + 1, len(labels.classes))):
        inside = np.pad(labels.segments[box] == index, 1)
        depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1]
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        found[index] = row + box[0].start, column + box[1].start
    return found


def show(
    labels: PanopticLabels,
    is_thing: ArrayLike,
    names: Sequence[str] | None = None,
    image: ArrayLike | None = None,
    colors: ArrayLike | None = None,
    alpha: float = 0.6,
    smallest: int = 0,
    axes: Any = None,
) -> Any:
    """Draw a labeling with the names of its segments.

    Args:
        labels: the labeling of an image.
        is_thing: (K,) bool, the classes that have instances.
        names: names of the K classes; without them no names are written.
        image: (h, w, 3) uint8, drawn under the colours; None for none.
        colors: (K, 3) in 0 to 255, by default `difflayers.pictures.palette`.
        alpha: opacity of the colours, from 0 to 1.
        smallest: segments of fewer pixels get no name.
        axes: the matplotlib axes to draw into; by default those of a new figure.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: without matplotlib.
        ValueError: as `overlay`, and if `names` has another length than `is_thing`.

    Examples:
        >>> from difflayers import panoptic
        >>> labels = panoptic.PanopticLabels([[0, 0, 1]], classes=[0, 1])
        >>> figure = panoptic.draw.show(labels, [False, True], names=["road", "car"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['road', 'car']
    """
    if names is not None and len(names) != len(np.asarray(is_thing)):
        raise ValueError(f"names has {len(names)} entries, but is_thing has {len(np.asarray(is_thing))}")
    height, width = labels.shape
    zoom = max(1, _LARGE // max(height, width, 1))
    picture = overlay(image, labels, is_thing, colors, 1.0 if image is None else alpha, zoom=zoom)
    if axes is None:
        axes = new_figure(6, max(6 * height / width, 1)).subplots()
    axes.imshow(picture, interpolation="nearest", extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes.set_axis_off()
    if names is not None:
        named = labels.areas() >= smallest
        for (row, column), kind in zip(anchors(labels)[named], labels.classes[named], strict=True):
            box = {"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "boxstyle": "round,pad=0.2"}
            options = {"color": "white", "fontsize": 8, "ha": "center", "va": "center"}
            axes.text(column, row, names[kind], bbox=box, **options)
    return axes.figure
