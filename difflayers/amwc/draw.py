"""Pictures of multiway cuts whose nodes are the pixels of a grid."""

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
        problem: an AMWC of h · w nodes, in the order of the rows.
        solution: a solution of the problem.
        shape: (h, w).
        colors: (K, 3) in 0 to 255, a colour per label; by default `difflayers.pictures.palette`.
        zoom: side of the square of the image that shows one node, so that outlines hide no node.

    Returns:
        (h · zoom, w · zoom, 3) uint8. Segments of partitionable labels are outlined in white.

    Raises:
        ValueError: if the shape has another number of nodes than the problem.

    Examples:
        >>> from difflayers import amwc
        >>> from difflayers.amwc import draw
        >>> problem = amwc.AMWC([[0.0, 1.0], [1.0, 0.0]], [[0, 1]], [-1.0], [False, False])
        >>> image = draw.solution_image(problem, amwc.solve(problem), (1, 2), [(9, 9, 9), (0, 0, 0)], zoom=1)
        >>> image.tolist()
        [[[9, 9, 9], [0, 0, 0]]]
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
    """Return a map (h, w) per distance of edges: the mean cost of each node's edges at this distance.

    The distance of an edge is the larger of its distances in rows and in columns. A node without edges at a
    distance has NaN there.

    Args:
        problem: an AMWC of h · w nodes, in the order of the rows.
        shape: (h, w).

    Raises:
        ValueError: if the shape has another number of nodes than the problem.

    Examples:
        >>> from difflayers import amwc
        >>> from difflayers.amwc import draw
        >>> problem = amwc.AMWC([[0.0]] * 3, [[0, 1], [1, 2]], [1.0, -2.0], [True])
        >>> draw.edge_maps(problem, (1, 3))[1].tolist()
        [[1.0, -0.5, -2.0]]
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
    """Draw a problem: the cheapest label of every node, and the costs of its edges at each distance.

    Args:
        problem: an AMWC of h · w nodes, in the order of the rows.
        shape: (h, w).
        colors: (K, 3) in 0 to 255, by default `difflayers.pictures.palette`.

    Returns:
        The matplotlib figure. Edges that hold nodes together are blue, edges that push them apart red.

    Raises:
        ImportError: without matplotlib.
        ValueError: if the shape has another number of nodes than the problem.

    Examples:
        >>> from difflayers import amwc
        >>> from difflayers.amwc import draw
        >>> problem = amwc.AMWC([[0.0], [0.0]], [[0, 1]], [1.0], [True])
        >>> figure = draw.show_problem(problem, (1, 2))
        >>> [axes.get_title() for axes in figure.axes[:2]]
        ['cheapest label', 'edge costs at distance 1']
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
    """Draw a solution and its cost.

    Args:
        problem: an AMWC of h · w nodes, in the order of the rows.
        solution: a solution of the problem.
        shape: (h, w).
        colors: (K, 3) in 0 to 255, by default `difflayers.pictures.palette`.
        axes: the matplotlib axes to draw into; by default those of a new figure.

    Returns:
        The matplotlib figure.

    Raises:
        ImportError: without matplotlib.
        ValueError: as `solution_image`.

    Examples:
        >>> from difflayers import amwc
        >>> from difflayers.amwc import draw
        >>> problem = amwc.AMWC([[0.0], [0.0]], [[0, 1]], [-1.0], [True])
        >>> draw.show_solution(problem, amwc.solve(problem), (1, 2)).axes[0].get_title()
        '2 segments, cost -1'
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
        raise ValueError(f"shape must have {problem.num_nodes} nodes as the problem, got {tuple(shape)}")
