"""Every small example at tiny settings: what it trains is better than what it starts from."""

from pathlib import Path

import numpy as np
import pytest

from examples.clustering import __main__ as clustering
from examples.comparison import print_table, save
from examples.knapsack import __main__ as knapsack
from examples.shortest_path import __main__ as shortest_path
from examples.travelling_salesman import __main__ as travelling_salesman

PNG = b"\x89PNG"


def test_every_small_example_can_be_read_in_one_sitting() -> None:
    folder = Path(__file__).parents[2] / "examples"
    programs = [path for path in folder.glob("*/__main__.py") if path.parent.name != "cops"]
    lengths = {str(path): len(path.read_text().splitlines()) for path in programs}
    assert len(lengths) == 8
    assert max(lengths.values()) < 150, lengths


def test_a_table_has_the_mean_and_the_range_of_each_result(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("costs; shares", {"a": [(1.0, 0.5), (2.0, 0.25)], "b": [(3.0, 0.0), (3.0, 1.0)]}, digits=2)
    title, first, second = capsys.readouterr().out.splitlines()
    assert title == "costs; shares"
    assert first.split(maxsplit=1) == ["a", "1.50 (1.00–2.00)   0.38 (0.25–0.50)"]
    assert second.split(maxsplit=1) == ["b", "3.00 (3.00–3.00)   0.50 (0.00–1.00)"]


def test_shortest_paths_learned_through_the_solver_cost_less_than_those_learned_cell_by_cell(
    tmp_path: Path,
) -> None:
    table, models, maps = shortest_path.run((0,), training=100, testing=100, epochs=10)
    ratio = {name: results[0][0] for name, results in table.items()}
    assert min(ratio.values()) >= 1
    for name in ("Fenchel–Young", "structured SVM", "blackbox"):
        assert ratio[name] < ratio["cell by cell"] < ratio["untrained"]
    save(shortest_path.draw(models, maps), str(tmp_path / "maps.png"))
    assert (tmp_path / "maps.png").read_bytes().startswith(PNG)


def test_matchings_learned_through_the_solver_beat_untrained_ones(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from examples.matching import __main__ as matching

    table, models, grids = matching.run((0,), training=100, testing=100, epochs=4)
    ratio = {name: results[0][0] for name, results in table.items()}
    assert min(ratio.values()) >= 1
    for name in ("Fenchel–Young", "structured SVM", "I-MLE", "blackbox"):
        assert ratio[name] < ratio["untrained"] - 0.05
    save(matching.draw(models, grids), str(tmp_path / "grids.png"))
    assert (tmp_path / "grids.png").read_bytes().startswith(PNG)


def test_training_on_recall_raises_recall(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from examples.retrieval import __main__ as retrieval

    table, *last = retrieval.run((0,), steps=40)
    precision = {name: results[0][-1] for name, results in table.items()}
    assert precision["blackbox"] > precision["untrained"] + 5
    assert precision["blackbox"] > precision["pixels"] + 5
    save(retrieval.draw(*last), str(tmp_path / "queries.png"))
    assert (tmp_path / "queries.png").read_bytes().startswith(PNG)


def test_clusterings_learned_through_the_multicut_beat_untrained_ones(tmp_path: Path) -> None:
    table, models, clouds = clustering.run((0,), training=60, testing=60, epochs=5)
    rand = {name: results[0][0] for name, results in table.items()}
    for name in ("pair by pair", "Fenchel–Young", "structured SVM"):
        assert rand[name] > rand["untrained"] + 0.1
    save(clustering.draw(models, clouds), str(tmp_path / "clouds.png"))
    assert (tmp_path / "clouds.png").read_bytes().startswith(PNG)


def test_tours_learned_from_tours_are_shorter_than_as_the_crow_flies(tmp_path: Path) -> None:
    table, models, maps = travelling_salesman.run((0,), training=80, testing=100, epochs=8)
    ratio = {name: results[0][0] for name, results in table.items()}
    assert min(ratio.values()) >= 1
    for name in ("Fenchel–Young", "structured SVM", "blackbox"):
        assert ratio[name] < min(ratio["as the crow flies"], ratio["untrained"])
    save(travelling_salesman.draw(models, maps), str(tmp_path / "tours.png"))
    assert (tmp_path / "tours.png").read_bytes().startswith(PNG)


def test_losses_that_see_the_decision_beat_squared_error_where_the_model_cannot_be_right(
    tmp_path: Path,
) -> None:
    table, models, problems = knapsack.run((0,), training=100, testing=200, epochs=30)
    regret = {name: float(np.mean(regrets)) for name, regrets in table.items()}
    for name in ("SPO+", "Fenchel–Young"):
        assert 0 < regret[name] < regret["squared error"] < regret["untrained"]
    save(knapsack.draw(table, models, problems), str(tmp_path / "regret.png"))
    assert (tmp_path / "regret.png").read_bytes().startswith(PNG)
