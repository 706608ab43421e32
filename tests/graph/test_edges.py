import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difflayers.graph import grid_edges


@st.composite
def grids(draw):
    """A small grid of one to four dimensions, offsets of either sign, and which pairs to keep."""
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    offset = st.tuples(*[st.integers(-3, 3)] * len(shape)).filter(any)
    offsets = draw(st.lists(offset, max_size=4))
    strides = draw(st.none() | st.tuples(*[st.integers(1, 3)] * len(shape)))
    bits = draw(st.none() | st.integers(0, 2 ** int(np.prod(shape)) - 1))
    mask = None
    if bits is not None:
        mask = np.array([bits >> i & 1 for i in range(np.prod(shape))], bool).reshape(shape)
    return shape, offsets, strides, mask


def pairs_by_hand(shape, offsets, strides, mask):
    """The definition, voxel by voxel."""
    voxels = list(itertools.product(*map(range, shape)))
    number = {voxel: i for i, voxel in enumerate(voxels)}
    pairs = []
    for offset in offsets:
        for voxel in voxels:
            other = tuple(np.add(voxel, offset))
            if other not in number or (mask is not None and not (mask[voxel] and mask[other])):
                continue
            if strides and sum(map(abs, offset)) > 1 and any(np.mod(voxel, strides)):
                continue
            pairs.append([number[voxel], number[other]])
    return pairs


def test_edges_come_by_distance_then_vertical_then_horizontal_in_row_major_order():
    expected = [[0, 3], [1, 4], [2, 5], [0, 1], [1, 2], [3, 4], [4, 5], [0, 2], [3, 5]]
    assert grid_edges((2, 3), [1, 2]).tolist() == expected


def test_order_of_distances_is_kept_and_a_distance_that_does_not_fit_adds_nothing():
    assert grid_edges((1, 3), [2, 9, 1]).tolist() == [[0, 2], [0, 1], [1, 2]]
    assert grid_edges((1, 1), [1]).shape == (0, 2)
    assert grid_edges((2, 2), []).dtype == np.int64


@settings(deadline=None)
@given(grids())
def test_offsets_join_the_pairs_that_the_definition_names(grid):
    shape, offsets, strides, mask = grid
    expected = pairs_by_hand(shape, offsets, strides, mask)
    for given_offsets in ({"offsets": offsets}, {"distances": np.array(offsets).reshape(-1, len(shape))}):
        assert grid_edges(shape, **given_offsets, strides=strides, mask=mask).tolist() == expected


def test_distances_are_offsets_along_both_axes_also_with_a_mask_and_strides():
    mask = np.random.default_rng(0).random((6, 7)) < 0.8
    offsets = [(1, 0), (0, 1), (3, 0), (0, 3)]
    kept = {"strides": (1, 2), "mask": mask}
    assert np.array_equal(grid_edges((6, 7), [1, 3], **kept), grid_edges((6, 7), offsets, **kept))


def test_a_fraction_thins_long_range_pairs_only_and_a_seed_draws_the_same_again():
    near, far = grid_edges((60, 60), [(0, -1)]), grid_edges((60, 60), [(5, 0), (-2, 2)])
    drawn = grid_edges((60, 60), [(0, -1), (5, 0), (-2, 2)], fraction=0.25, seed=3)
    assert np.array_equal(drawn[: len(near)], near)
    assert {tuple(edge) for edge in drawn[len(near) :]} <= {tuple(edge) for edge in far}
    # Six standard deviations of the binomial distribution.
    assert abs(len(drawn) - len(near) - len(far) / 4) < 6 * np.sqrt(len(far) * 0.25 * 0.75)
    again = grid_edges((60, 60), [(0, -1), (5, 0), (-2, 2)], fraction=0.25, seed=3)
    assert np.array_equal(again, drawn)
    other = grid_edges((60, 60), [(0, -1), (5, 0), (-2, 2)], fraction=0.25, seed=4)
    assert not np.array_equal(other, drawn)


@pytest.mark.parametrize(
    ("shape", "distances", "message"),
    [
        ((0, 3), [1], "shape"),
        ((2, 3, 4), [1], r"shape .*offsets such as \[\(1, 0, 0\)"),
        ((2, 3), [0], "distances"),
        ((2, 3), [1.5], "distances"),
        ((2, 3), [(1, 0, 0)], "distances must be rows of 2 integers"),
        ((2, 3), [(0, 0)], "different voxels"),
        ((2, 3), [(0.5, 1)], "distances"),
        ((2, 3), None, "either distances or offsets"),
    ],
)
def test_impossible_grids_are_refused_by_name(shape, distances, message):
    with pytest.raises(ValueError, match=message):
        grid_edges(shape, distances)


@pytest.mark.parametrize(
    ("selection", "error", "message"),
    [
        ({"strides": (2,)}, ValueError, "strides must be 2 positive integers"),
        ({"strides": (0, 1)}, ValueError, "strides"),
        ({"fraction": 0.0}, ValueError, "fraction"),
        ({"fraction": 1.5}, ValueError, "fraction"),
        ({"seed": -1}, ValueError, "seed"),
        ({"mask": np.ones((2, 3))}, TypeError, "mask must be bool"),
        ({"mask": np.ones((3, 2), bool)}, ValueError, r"mask must have shape \(2, 3\), got \(3, 2\)"),
    ],
)
def test_impossible_selections_are_refused_by_name(selection, error, message):
    with pytest.raises(error, match=message):
        grid_edges((2, 3), [(0, 1)], **selection)
