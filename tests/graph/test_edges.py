import numpy as np
import pytest

from difflayers.graph import grid_edges


def test_edges_come_by_distance_then_vertical_then_horizontal_in_row_major_order():
    expected = [[0, 3], [1, 4], [2, 5], [0, 1], [1, 2], [3, 4], [4, 5], [0, 2], [3, 5]]
    assert grid_edges((2, 3), [1, 2]).tolist() == expected


def test_order_of_distances_is_kept_and_a_distance_that_does_not_fit_adds_nothing():
    assert grid_edges((1, 3), [2, 9, 1]).tolist() == [[0, 2], [0, 1], [1, 2]]
    assert grid_edges((1, 1), [1]).shape == (0, 2)
    assert grid_edges((2, 2), []).dtype == np.int64


@pytest.mark.parametrize(
    ("shape", "distances", "message"),
    [
        ((0, 3), [1], "shape"),
        ((2, 3, 4), [1], "shape"),
        ((2, 3), [0], "distances"),
        ((2, 3), [1.5], "distances"),
    ],
)
def test_impossible_grids_are_refused_by_name(shape, distances, message):
    with pytest.raises(ValueError, match=message):
        grid_edges(shape, distances)
