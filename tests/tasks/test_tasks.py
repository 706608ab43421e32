import itertools
import pickle
from pathlib import Path

import numpy as np
import pytest

from difflayers import solvers, tasks
from difflayers.tasks.maps import COLOURS, TERRAIN_COSTS

ENERGY = Path(__file__).parents[3] / "shared/data/energy/knapsack.npz"

SMALL = {
    "shortest path": lambda seed=0: tasks.shortest_path(12, seed=seed),
    "knapsack": lambda seed=0: tasks.knapsack(12, num_items=8, seed=seed),
    "tour": lambda seed=0: tasks.travelling_salesman(12, num_nodes=6, seed=seed),
    "routes": lambda seed=0: tasks.vehicle_routing(12, num_stops=5, capacity=12, seed=seed),
    "portfolio": lambda seed=0: tasks.portfolio(12, num_assets=8, seed=seed),
    "cover": lambda seed=0: tasks.set_cover(12, num_elements=5, num_sets=10, seed=seed),
    "two stages": lambda seed=0: tasks.two_stage_knapsack(12, num_items=8, seed=seed),
    "matching": lambda seed=0: tasks.diverse_matching(12, size=5, seed=seed),
    "schedule": lambda seed=0: tasks.scheduling(12, num_tasks=3, seed=seed),
    "top": lambda seed=0: tasks.top_k(12, num_items=9, k=2, seed=seed),
    "maps": lambda seed=0: tasks.maps(12, size=5, seed=seed),
}


@pytest.mark.parametrize("name", SMALL)
def test_no_prediction_decides_better_than_the_truth(name):
    task = SMALL[name]()
    assert task.regret(task.parameters) == pytest.approx(0, abs=1e-9)
    assert task.regret(task.parameters[::-1].copy()).max() > 0
    rng = np.random.default_rng(0)
    for wrong in (task.parameters[::-1], task.parameters * rng.uniform(0.5, 1.5, task.parameters.shape)):
        regrets = task.regret(wrong.astype(np.float64))
        assert regrets.min() >= -1e-9
        assert task.normalized_regret(wrong) == pytest.approx(regrets.sum() / np.abs(task.optima).sum())


@pytest.mark.parametrize("name", SMALL)
def test_a_seed_repeats_and_another_differs(name):
    task, twin, other = SMALL[name](), SMALL[name](), SMALL[name](1)
    np.testing.assert_array_equal(task.features, twin.features)
    np.testing.assert_array_equal(task.parameters, twin.parameters)
    assert not np.array_equal(task.features, other.features)
    assert (task.seed, other.seed) == (0, 1)


@pytest.mark.parametrize("name", SMALL)
def test_parts_and_pickled_tasks_decide_as_the_whole_does(name):
    task = SMALL[name]()
    before = task.split(7, 5)
    after = (task.decisions, task.split(7, 5))[1]
    copied = pickle.loads(pickle.dumps(task))
    np.testing.assert_array_equal(copied.decisions, task.decisions)
    for parts in (before, after):
        assert [len(part) for part in parts] == [7, 5]
        np.testing.assert_array_equal(np.concatenate([part.optima for part in parts]), task.optima)
        np.testing.assert_array_equal(parts[1].features, task.features[7:])


def test_impossible_splits_and_lengths_are_refused():
    task = SMALL["shortest path"]()
    with pytest.raises(ValueError, match="sizes must add up to 12 at most, got 13"):
        task.split(7, 6)
    with pytest.raises(ValueError, match="sizes must be an integer of at least 1, got 0"):
        task.split(0)
    with pytest.raises(ValueError, match="must have one length, got"):
        tasks.Task(np.zeros((2, 1)), np.zeros((3, 1)), solvers.TopK(1))
    with pytest.raises(ValueError, match="all optima are zero"):
        tasks.Task(np.zeros((2, 1)), np.zeros((2, 3)), solvers.TopK(1)).normalized_regret(np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tasks.shortest_path(0), "num_instances must be an integer of at least 1, got 0"),
        (lambda: tasks.knapsack(num_items=0), "num_items must be an integer of at least 1, got 0"),
        (lambda: tasks.travelling_salesman(noise=2), "noise must be from 0 to 1, got 2"),
        (lambda: tasks.portfolio(noise=0), "noise must be positive and finite, got 0"),
        (lambda: tasks.two_stage_knapsack(remove=0.5), "remove at least 1"),
        (lambda: tasks.two_stage_knapsack(filling=0), "filling must be positive, got 0"),
        (lambda: tasks.top_k(num_items=3, k=4), "k must be 3 at most, got 4"),
        (lambda: tasks.maps(size=1), "size must be an integer of at least 2, got 1"),
    ],
)
def test_impossible_tasks_are_refused_by_name(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_repacking_is_worth_what_the_best_of_all_repackings_is():
    rng = np.random.default_rng(0)
    two = tasks.TwoStageKnapsack(rng.integers(1, 9, 5).astype(float), 6.0, remove=1.5, add=0.5)
    packed, weights = (rng.random((20, 5)) < 0.6).astype(float), rng.uniform(0.5, 4, (20, 5))
    costs = two.objective(packed, weights)
    for first, weight, cost in zip(packed, weights, costs, strict=True):
        best = -np.inf
        for final in itertools.product([0, 1], repeat=5):
            final = np.array(final)
            if weight @ final <= 6:
                removed, added = first * (1 - final), final * (1 - first)
                best = max(best, first @ two.values + (0.5 * added - 1.5 * removed) @ two.values)
        assert -cost == pytest.approx(best)


def test_a_cover_pays_for_its_sets_and_for_every_unit_that_is_short():
    sets = solvers.SetCover([[1, 0], [0, 2]], at_most=9)
    cover = tasks.CoverWithPenalty(sets, np.array([3.0, 4.0]), np.array([10.0, 100.0]))
    taken = cover([[2, 3], [-1, 0.5]])
    assert taken.tolist() == [[2, 2], [0, 1]]
    # The first pays 2 · 3 + 2 · 4 and lacks a unit of the second element, the second lacks one of the first.
    assert cover.objective(taken, np.array([[1, 5], [1, 2]])).tolist() == [14 + 100, 4 + 10]


def test_the_features_of_a_pair_decide_on_its_link():
    task = tasks.diverse_matching(num_instances=20, degree=4)
    linked = task.parameters < 0
    assert 0.02 < linked.mean() < 0.5
    weights = np.random.default_rng(0).integers(0, 2, 8)
    score = task.features @ weights
    assert score[linked].mean() > score[~linked].mean() + 1
    similar = np.stack(task.contexts)
    share = (task.decisions * similar).sum(axis=(1, 2)) / task.decisions.sum(axis=(1, 2))
    assert share.min() >= 0.25
    assert share.max() <= 0.75


def test_images_show_the_costs():
    task = tasks.maps(20, size=6, noise=0.05)
    brightness = task.features.reshape(20, 3, 6, 8, 6, 8).mean(axis=(3, 5))
    for cost, colour in zip(TERRAIN_COSTS, COLOURS, strict=True):
        cells = np.moveaxis(brightness, 1, 3)[task.parameters == cost]
        np.testing.assert_allclose(cells.mean(axis=0), colour, atol=0.02)


def test_files_without_the_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "some.npz", weights=np.ones(48))
    with pytest.raises(ValueError, match="lacks X_1gtest, X_1gtrain, y_test, y_train"):
        tasks.energy_knapsack(tmp_path / "some.npz")
    with pytest.raises(FileNotFoundError):
        tasks.energy_knapsack(tmp_path / "none.npz")


@pytest.mark.skipif(not ENERGY.exists(), reason=f"the energy prices are not at {ENERGY}")
def test_energy_days_follow_the_protocol_with_scikit_learn():
    shuffle = pytest.importorskip("sklearn.utils").shuffle
    scaler = pytest.importorskip("sklearn.preprocessing").StandardScaler()
    with np.load(ENERGY) as file:
        first, second, weights = file["X_1gtrain"][:, 1:], file["X_1gtest"][:, 1:], file["weights"]
        values = np.concatenate([file["y_train"], file["y_test"]]).reshape(789, 48)
    scaler.fit(first)
    rows = np.concatenate([scaler.transform(first), scaler.transform(second)]).reshape(789, 48, 8)
    rows, values = shuffle(rows, values, random_state=4)
    task = tasks.energy_knapsack(ENERGY, capacity=120, seed=4)
    np.testing.assert_allclose(task.features, rows, atol=1e-9)
    np.testing.assert_array_equal(task.parameters, -values)
    assert [len(part) for part in task.split(550, 100, 139)] == [550, 100, 139]
    assert (task.decisions @ weights <= 120).all()
    prices = tasks.scheduling(5, path=ENERGY, seed=4).parameters
    np.testing.assert_allclose(prices, values[:5] / weights)
