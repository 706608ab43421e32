"""Regions, features, cuts and measures against values worked out by hand."""

from math import log2

import numpy as np
import pytest

pytest.importorskip("skimage", reason="needs the extra `examples`")

from difflayers import graph
from examples.neurons.network import NEIGHBOURS, OFFSETS, true_affinities
from examples.neurons.segment import (
    Errors,
    boundary_map,
    by_multicut,
    by_mutex_watershed,
    by_threshold,
    edge_features,
    errors,
    problem,
    true_cuts,
)

# Two cells of 20 x 14 pixels with a membrane of 4 columns between them.
CELLS = np.repeat([[1] * 14 + [0] * 4 + [2] * 14], 20, axis=0)


def sure_logits(cells: np.ndarray) -> np.ndarray:
    return np.nan_to_num(10 * true_affinities(cells) - 5, nan=0.0).astype(np.float32)


def test_affinities_are_one_inside_of_a_cell_and_zero_at_membranes() -> None:
    found = true_affinities(np.array([[1, 1, 0, 2]]))
    near = found[OFFSETS.index((0, -1))]  # with the left neighbour
    np.testing.assert_array_equal(near, [[np.nan, 1, 0, 0]])
    assert np.isnan(found[OFFSETS.index((-1, 0))]).all()  # nothing lies above
    other = true_affinities(np.array([[1], [1], [2]]))[OFFSETS.index((-1, 0))]
    np.testing.assert_array_equal(other, [[np.nan], [1], [0]])


def test_the_boundary_is_the_chance_that_a_neighbour_is_apart() -> None:
    affinities = np.zeros((8, 1, 1))
    affinities[:NEIGHBOURS, 0, 0] = (0.9, 0.5)
    assert boundary_map(affinities).tolist() == [[pytest.approx(0.3)]]


def test_the_first_feature_is_the_mean_logit_across_the_border_of_two_regions() -> None:
    regions = graph.region_graph(np.array([[0, 1], [0, 1], [2, 2]]))
    logits = np.zeros((8, 3, 2), np.float32)
    logits[OFFSETS.index((0, -1))] = [[9, 1], [9, 2], [9, 9]]
    logits[OFFSETS.index((-1, 0))] = [[9, 9], [9, 9], [3, 4]]
    features = edge_features(logits, regions)
    assert regions.edges.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert features[:, 0].tolist() == [1.5, 3, 4]
    assert features[:, 1].tolist() == [1, 3, 4]  # least
    assert features[:, 2].tolist() == [2, 3, 4]  # largest
    np.testing.assert_allclose(np.exp(features[:, -3:]), [[2, 2, 2], [1, 2, 2], [1, 2, 2]], rtol=1e-6)


def test_a_border_is_cut_where_its_regions_belong_to_two_cells() -> None:
    cells = np.array([[1, 1, 1, 0, 2, 2]])
    regions = graph.region_graph(np.array([[0, 1, 1, 1, 2, 3]]))  # the membrane is part of region 1
    assert true_cuts(cells, regions).tolist() == [0, 1, 0]


def test_every_method_finds_the_cells_of_sure_affinities() -> None:
    logits = sure_logits(CELLS)
    seen = problem(logits, CELLS)
    by_costs = by_multicut(seen.regions, seen.features[:, 0])
    for found in (by_costs, by_threshold(logits, 0), by_mutex_watershed(logits, 0)):
        assert errors(found, CELLS).merges < 1e-9
        assert errors(found, CELLS).rand < 0.1
    assert errors(by_costs, CELLS) == pytest.approx((0, 0, 0, 0), abs=1e-9)
    assert seen.cuts.sum() >= 1
    assert ((seen.features[:, 0] < 0) == seen.cuts).all()


def test_a_large_bias_leaves_one_cell() -> None:
    seen = problem(sure_logits(CELLS), CELLS)
    assert len(np.unique(by_multicut(seen.regions, seen.features[:, 0] + 100))) == 1
    assert len(np.unique(by_threshold(sure_logits(CELLS), 100))) == 1


def test_measures_are_those_of_a_case_by_hand() -> None:
    # Of 4 pixels in two cells, 3 are found together: 1 pair is right of 2 true and 3 found ones. A membrane
    # of the truth does not count.
    found = errors(np.array([[1, 1, 1, 2, 7]]), np.array([[1, 1, 2, 2, 0]]))
    rand = 1 - 2 * 1 / (2 + 3)
    splits = 2 / 4 * 1  # half of the pixels lie in a cell that is halved
    merges = 3 / 4 * (log2(3) - 2 / 3)  # entropy of 2/3 and 1/3
    assert found == pytest.approx(Errors(rand, splits + merges, splits, merges))


def test_a_perfect_segmentation_has_no_error_whatever_its_numbers() -> None:
    assert errors(np.where(CELLS == 1, 9, 4), CELLS) == pytest.approx((0, 0, 0, 0), abs=1e-12)
