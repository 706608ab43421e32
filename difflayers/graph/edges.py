"""Edge lists of regular grids."""

from collections.abc import Sequence

import numpy as np

from difflayers._arguments import counts


def grid_edges(shape: tuple[int, int], distances: Sequence[int]) -> np.ndarray:
    """Vertical and horizontal pixel pairs of a grid at each of several distances.

    Args:
        shape: height and width of the grid; pixel (i, j) is node ``i * width + j``.
        distances: positive distances in pixels, in the order in which their edges are wanted.

    Returns:
        (m, 2) int64. For every distance first all pairs (i, j)-(i + d, j), then all pairs (i, j)-(i, j + d),
        each in row-major order of the first pixel. A distance that does not fit contributes no edges.

    Raises:
        ValueError: if the shape is not two positive integers or a distance is not a positive integer.
    """
    height, width = counts("shape", shape, "two positive integers (height, width)", length=2)
    grid = np.arange(height * width, dtype=np.int64).reshape(height, width)
    pairs = [np.empty((0, 2), np.int64)]
    for d in counts("distances", distances, "positive integers"):
        pairs.append(np.stack([grid[:-d].ravel(), grid[d:].ravel()], axis=1))
        pairs.append(np.stack([grid[:, :-d].ravel(), grid[:, d:].ravel()], axis=1))
    return np.concatenate(pairs)
