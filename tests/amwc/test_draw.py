"""Pictures of multiway cuts on grids, pixel by pixel."""

import numpy as np
import pytest

from difflayers import amwc, graph
from difflayers.amwc import draw

SHAPE = (3, 4)
COLORS = [(200, 0, 0), (0, 0, 200)]


@pytest.fixture
def problem():
    """Label 1, which may be split, in the lower two rows, and a boundary between columns 1 and 2."""
    row, column = np.divmod(np.arange(12), 4)
    edges = graph.grid_edges(SHAPE, [1, 2])
    across = (column[edges] < 2).any(1) & (column[edges] >= 2).any(1)
    node_costs = np.stack([row > 0, row == 0], axis=1) * 9.0
    return amwc.AMWC(node_costs, edges, np.where(across, -2.0, 0.25), np.array([False, True]))


def test_solution_image_has_label_colours_and_lines_where_segments_meet(problem):
    solution = amwc.solve(problem)
    assert len(np.unique(solution.segments)) == 3
    image = draw.solution_image(problem, solution, SHAPE, COLORS, zoom=4)
    assert image.shape == (12, 16, 3)
    white = (image == 255).all(2)
    expected = np.zeros((12, 16), bool)
    expected[3] = True  # below the first row
    expected[4:, 7] = True  # between the two segments of label 1
    assert (white == expected).all()
    assert image[1, 1].tolist() == [200, 0, 0]
    assert image[9, 1].argmax() == image[9, 9].argmax() == 2
    assert (image[9, 1] != image[9, 9]).any()


def test_edge_maps_are_means_of_a_nodes_edges_at_each_distance(problem):
    maps = draw.edge_maps(problem, SHAPE)
    assert list(maps) == [1, 2]
    assert maps[1][0].tolist() == [0.25, (0.25 * 2 - 2) / 3, (0.25 * 2 - 2) / 3, 0.25]
    assert maps[2][1].tolist() == [-2, -2, -2, -2]  # the middle row has no vertical edge of distance 2


def test_nodes_without_edges_of_a_distance_are_blank():
    problem = amwc.AMWC(np.zeros((3, 1)), np.array([[0, 1]]), np.array([1.0]), np.array([True]))
    (costs,) = draw.edge_maps(problem, (1, 3)).values()
    assert costs[0, :2].tolist() == [1, 1]
    assert np.isnan(costs[0, 2])


def test_the_shape_must_have_as_many_nodes_as_the_problem(problem):
    with pytest.raises(ValueError, match=r"shape must have 12 nodes as the problem, got \(4, 4\)"):
        draw.solution_image(problem, amwc.solve(problem), (4, 4))


def test_figures_show_what_the_arrays_hold(problem):
    pytest.importorskip("matplotlib")
    figure = draw.show_problem(problem, SHAPE, COLORS)
    labels, *maps = [axes.images[0].get_array() for axes in figure.axes[:3]]
    assert (labels[0] == COLORS[0]).all()
    assert (labels[1:] == COLORS[1]).all()
    for shown, costs in zip(maps, draw.edge_maps(problem, SHAPE).values(), strict=True):
        assert (shown == costs).all()
    solution = amwc.solve(problem)
    (axes,) = draw.show_solution(problem, solution, SHAPE).axes
    assert axes.get_title() == f"3 segments, cost {solution.cost:.4g}"
    assert (axes.images[0].get_array() == draw.solution_image(problem, solution, SHAPE)).all()
