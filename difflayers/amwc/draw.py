"""Pictures of multiway cuts whose nodes are the pixels of a grid, for people to look at."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from difflayers.amwc.problem import AMWC
from difflayers.amwc.solution import Solution
from difflayers.pictures import new_figure, outlines, palette, segment_colors


def solution_image(
    problem: AMWC,
    solution: Solution,
    shape: tuple[int, int],
    colors: ArrayLike | None = None,
    zoom: int = 8,
) -> NDArray[np.uint8]:
    """Return the labels of a solution in colours, its segments in shades and with outlines.

    Args:
        problem: of h · w nodes, in the order of the rows.
        solution: of that problem.
        shape: (h, w).
        colors: (K, 3) in 0 to 255, a colour for each label; by default `difflayers.pictures.palette`.
        zoom: pixels of the image a node in each direction, so that outlines hide no node.

    Returns:
        (h · zoom, w · zoom, 3) uint8. White lines are where segments of partitionable labels meet others.

    Raises:
        ValueError: where the shape has another number of nodes than the problem.
    """
    _check_shape(problem, shape)
    of_label = palette(problem.num_labels) if colors is None else np.asarray(colors)
    first = np.unique(solution.segments, return_index=True)[1]
    labels = solution.labels[first]
    things = problem.partitionable[labels]
    segments = solution.segments.reshape(shape).repeat(zoom, 0).repeat(zoom, 1)
    image = segment_colors(of_label[labels], things)[segments]
    image[outlines(segments, things)] = 255
    return image.round().astype(np.uint8)


def edge_maps(problem: AMWC, shape: tuple[int, int]) -> dict[int, NDArray[np.float64]]:
    """Return for each distance of edges an (h, w) map: the mean cost of a node's edges of that distance.

    The distance of an edge is the larger one of its rows and columns; NaN where a node has no such edge.
    """
    _check_shape(problem, shape)
    row, column = np.divmod(problem.edges, shape[1])
    distances = np.maximum(abs(row[:, 0] - row[:, 1]), abs(column[:, 0] - column[:, 1]))
    maps = {}
    for distance in np.unique(distances).tolist():
        chosen = distances == distance
        ends = problem.edges[chosen].ravel()
        costs = problem.edge_costs[chosen].repeat(2)
        counts = np.bincount(ends, minlength=problem.num_nodes)
        with np.errstate(invalid="ignore"):  # no edges, or constraints of both kinds
            maps[distance] = (np.bincount(ends, costs, problem.num_nodes) / counts).reshape(shape)
    return maps


def show_problem(problem: AMWC, shape: tuple[int, int], colors: ArrayLike | None = None) -> Any:
    """Draw an instance: the cheapest label of every node, and the costs of its edges at each distance.

    Args:
        problem: of h · w nodes, in the order of the rows.
        shape: (h, w).
        colors: (K, 3) in 0 to 255, by default `difflayers.pictures.palette`.

    Returns:
        The matplotlib figure: blue where edges hold nodes together, red where they push them apart. Raises
        ImportError without matplotlib, and ValueError where the shape does not fit.
    """
    maps = edge_maps(problem, shape)
    of_label = palette(problem.num_labels) if colors is None else np.asarray(colors)
    width = 3.4
    figure = new_figure(width * (1 + len(maps)), width * shape[0] / shape[1] + 0.5)
    first, *others = figure.subplots(1, 1 + len(maps), squeeze=False)[0]
    first.imshow(of_label[problem.node_costs.argmin(1)].reshape(*shape, 3), interpolation="nearest")
    first.set_title("cheapest label", fontsize=10)
    for axes, (distance, costs) in zip(others, maps.items(), strict=True):
        finite = np.abs(costs[np.isfinite(costs)])
        limit = float(finite.max(initial=0)) or 1.0
        drawn = axes.imshow(costs, cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_title(f"edge costs at distance {distance}", fontsize=10)
        figure.colorbar(drawn, ax=axes, shrink=0.6)
    for axes in figure.axes[: 1 + len(maps)]:
        axes.set_axis_off()
    return figure


def show_solution(
    problem: AMWC,
    solution: Solution,
    shape: tuple[int, int],
    colors: ArrayLike | None = None,
    axes: Any = None,
) -> Any:
    """Draw a solution by `solution_image`, with its cost; arguments as there, and the axes to draw into.

    Returns:
        The matplotlib figure. Raises ImportError without matplotlib, and ValueError as `solution_image` does.
    """
    image = solution_image(problem, solution, shape, colors)
    if axes is None:
        axes = new_figure(4, 4 * shape[0] / shape[1] + 0.4).subplots()
    axes.imshow(image, interpolation="nearest")
    axes.set_axis_off()
    count = int(solution.segments.max()) + 1
    axes.set_title(f"{count} segments, cost {solution.cost:.4g}", fontsize=10)
    return axes.figure


def _check_shape(problem: AMWC, shape: tuple[int, int]) -> None:
    if len(shape) != 2 or shape[0] * shape[1] != problem.num_nodes:
        raise ValueError(f"shape is {tuple(shape)}, but the problem has {problem.num_nodes} nodes")
