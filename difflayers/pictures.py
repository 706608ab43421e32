"""Colours and outlines of label maps as NumPy arrays, and figures of matplotlib."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = 0.618034
_LEVELS_END = 384
_MOST_COLORS = 100_000


def palette(count: int) -> NDArray[np.uint8]:
    """Return distinct colours, of which those with close numbers look unlike.

    Args:
        count: the number of colours, at most 100 000. A larger palette begins with the smaller ones.

    Returns:
        (count, 3) uint8.

    Raises:
        ValueError: if `count` is negative or too large.

    Examples:
        >>> from difflayers import pictures
        >>> pictures.palette(2).tolist()
        [[80, 158, 230], [127, 153, 15]]
    """
    if not 0 <= count <= _MOST_COLORS:
        raise ValueError(f"count must lie in [0, {_MOST_COLORS}], got {count}")
    colors = _candidates(2 * count)
    first = np.sort(np.unique(colors, axis=0, return_index=True)[1])
    return colors[first[:count]]


def _candidates(count: int) -> NDArray[np.uint8]:
    """Colours (count, 3) in a fixed order, of which more than half differ."""
    index = np.arange(count)
    # Hues in steps of the golden ratio never repeat; three levels tell apart hues that come close.
    hue = (0.58 + index * _GOLDEN) % 1
    saturation, value = np.array(((0.65, 0.9), (0.9, 0.6), (0.4, 0.75)))[index % 3].T
    # Three levels have some 2 000 colours, so later ones spread over all levels, by two more ratios.
    spread = index >= _LEVELS_END
    saturation[spread] = 0.3 + 0.7 * (index[spread] * 0.7548776662 % 1)
    value[spread] = 0.4 + 0.6 * (index[spread] * 0.5698402910 % 1)
    sector = (np.array([[5], [3], [1]]) + 6 * hue) % 6
    channels = value * (1 - saturation * np.minimum(sector, 4 - sector).clip(0, 1))
    return (channels.T * 255).round().astype(np.uint8)


def segment_colors(colors: ArrayLike, is_thing: ArrayLike) -> NDArray[np.float32]:
    """Give every segment the colour of its class, and every instance a shade of this colour.

    Args:
        colors: (S, 3) in 0 to 255, the colour of each segment's class.
        is_thing: (S,) bool, which segments are instances.

    Returns:
        (S, 3) float32.

    Examples:
        >>> from difflayers import pictures
        >>> pictures.segment_colors([[200, 100, 0]] * 2, [False, True]).round().tolist()
        [[200.0, 100.0, 0.0], [206.0, 118.0, 30.0]]
    """
    colors = np.asarray(colors, dtype=np.float32).reshape(-1, 3)
    # Steps of the golden ratio: segments of close numbers, often neighbours, get distant shades.
    steps = np.arange(len(colors), dtype=np.float32)[:, None] * np.float32(_GOLDEN) % 1
    toward = np.where(steps < 0.5, 0.0, 255.0)
    shades = colors + (toward - colors) * np.abs(steps - 0.5)
    return np.where(np.asarray(is_thing, dtype=bool)[:, None], shades, colors).astype(np.float32)


def outlines(segments: NDArray[np.integer], outlined: ArrayLike) -> NDArray[np.bool_]:
    """Mark the pixels whose lower or right neighbour belongs to another segment.

    Args:
        segments: (h, w) integer; -1 reads the last entry of `outlined`.
        outlined: bool, one entry per segment. A border is marked if one of its two sides is outlined.

    Returns:
        (h, w) bool.

    Examples:
        >>> import numpy as np
        >>> from difflayers import pictures
        >>> pictures.outlines(np.array([[0, 0, 1]]), [False, True]).tolist()
        [[False, True, False]]
    """
    outlined = np.asarray(outlined, dtype=bool)
    marked = np.zeros(segments.shape, dtype=bool)
    rows, columns = (slice(None, -1), slice(None)), (slice(None), slice(None, -1))
    for here, there in ((rows, (slice(1, None), slice(None))), (columns, (slice(None), slice(1, None)))):
        first, second = segments[here], segments[there]
        marked[here] |= (first != second) & (outlined[first] | outlined[second])
    return marked


def new_figure(width: float, height: float) -> Any:
    """Return an empty matplotlib figure without display or global state.

    Args:
        width: in inches.
        height: in inches.

    Raises:
        ImportError: without matplotlib.

    Examples:
        >>> from difflayers import pictures
        >>> pictures.new_figure(4, 3).get_size_inches().tolist()
        [4.0, 3.0]
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install matplotlib") from error
    return Figure(figsize=(width, height), layout="constrained")
