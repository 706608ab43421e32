"""Comparisons: direct losses, rows that change one thing, and equal time for the single stage."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from difflayers.panoptic import PanopticLabels
from examples.cops.config import DRAWN
from examples.cops.data import DrawnScenes, folders
from examples.cops.data.batches import Batch, Crops
from examples.cops.run import runs
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.study import single, study
from examples.cops.study.direct import DirectStep
from examples.cops.targets import stage_one_targets
from examples.cops.train import train_stage_one

TINY = DRAWN.change(
    data={"size": (32, 48)},
    network={"distances": (1, 4)},
    stage1={"iterations": 2, "batch": 2},
    stage2={"iterations": 2, "batch": 2, "warm_up": 1},
    single={"warm_iterations": 1, "batch": 2, "warm_up": 1},
)


@pytest.fixture(autouse=True)
def _two_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(folders.DRAWN_LENGTH, "train", 4)
    monkeypatch.setitem(folders.DRAWN_LENGTH, "val", 2)


def test_direct_losses_are_zero_at_the_truth_and_count_what_is_wrong() -> None:
    scenes = DrawnScenes("train", 0, 2)
    network = runs.build_network(TINY, len(scenes.categories))
    step = DirectStep(network, scenes.is_thing, TINY)
    segments = np.zeros((8, 12), dtype=np.int32)
    segments[:, 6:] = 1
    segments[0, 0] = -1
    labels = PanopticLabels(segments, np.array([0, 6]))
    target = stage_one_targets(labels, scenes.is_thing, TINY.network.distances)
    batch = Batch(torch.zeros(1), [labels], None, [0], 0, [""])
    right = torch.eye(8)[target.semantic.clamp(min=0).flatten()][None]
    cuts = torch.cat([side.flatten() for pair in target.edges for side in pair])[None]
    loss, _ = step._loss(batch, right, cuts)
    assert loss == 0
    wrong = right.clone()
    wrong[0, 1:20] = 0  # 19 of 95 known pixels lose their label; the void one does not count
    wrong[0, 0] = 0
    loss, figures = step._loss(batch, wrong, 1 - cuts)
    assert figures["wrong_labels"] == pytest.approx(19 / 95)
    assert figures["wrong_cuts"] == 1
    assert loss == pytest.approx(TINY.loss.weight * (19 / 95 + 1))


def test_direct_losses_reach_node_and_edge_costs() -> None:
    scenes = DrawnScenes("train", 0, 2)
    network = runs.build_network(TINY, len(scenes.categories))
    batch = Crops(scenes, TINY, stage=2, size=2)[0, 0]
    torch.manual_seed(0)
    loss, _ = DirectStep(network, scenes.is_thing, TINY)(batch)
    loss.backward()
    for parameter in (network.costs.node_scale, network.costs.edge_scale):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_a_study_measures_each_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["N = 1", study.DIRECT, "labeled with fast"]
    results = study.study(None, tmp_path, TINY, rows)
    assert list(results) == ["stage 1", "stage 2", *rows]
    assert all(np.isfinite(list(row.values())).all() for row in results.values())
    _, config, _ = runs.load_network(tmp_path / "N---1.pt")
    assert config == TINY.change(solver={"samples": 1})

    def again(*_: object) -> None:
        raise AssertionError("a finished row was measured again")

    monkeypatch.setattr(study, "measure", again)
    assert study.study(None, tmp_path, TINY, rows) == results


def test_the_single_stage_gets_the_iterations_that_fill_the_time_of_both_stages() -> None:
    config = TINY.change(
        stage1={"iterations": 600}, stage2={"iterations": 120}, single={"warm_iterations": 200}
    )
    seconds = {"stage 1": 2.0, "stage 2": 1.0, "single stage": 4.0}
    assert single.iterations_as_long(config, seconds) == (600 * 2 + 120 * 1 - 200 * 2) / 4
    with pytest.raises(SystemExit, match="the warm-up alone takes 1400 of 1320 s"):
        single.iterations_as_long(config.change(single={"warm_iterations": 700}), seconds)


def test_timing_the_phases_leaves_the_weights_as_they_are() -> None:
    scenes = DrawnScenes("train", 0, 4)
    network = runs.build_network(TINY, len(scenes.categories))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    seconds = single.seconds_an_iteration(network, scenes, TINY)
    assert list(seconds) == ["stage 1", "stage 2", "single stage"]
    assert min(seconds.values()) > 0
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter, before[name], rtol=0, atol=0, msg=name)


def test_a_repeated_single_stage_keeps_its_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        single, "seconds_an_iteration", lambda *_: dict.fromkeys(("stage 1", "stage 2", "single stage"), 1.0)
    )
    results = study.study(None, tmp_path, TINY, [study.SINGLE])
    assert list(results) == ["stage 1", "stage 2", study.SINGLE]
    figures = json.loads((tmp_path / "single" / "figures.json").read_text())
    assert figures["results"]["single stage"] == results[study.SINGLE]
    assert [entry["stage"] for entry in figures["log"]] == [
        1,
        3,
        3,
        3,
    ]  # 2 + 2 iterations, 1 of them to warm up
    monkeypatch.setattr(single, "seconds_an_iteration", None)  # measured once
    assert single.single_stage(None, tmp_path, TINY) == results[study.SINGLE]


def test_cpu_time_counts_what_killed_runs_spent(tmp_path: Path) -> None:
    scenes = DrawnScenes("train", 0, 4)
    path = tmp_path / "stage1.pt"

    def spent(iterations: int) -> float:
        network = runs.build_network(TINY, len(scenes.categories))
        checkpoint = Checkpoint(path)
        train_stage_one(
            network, scenes, TINY.change(stage1={"iterations": iterations}), checkpoint, progress=False
        )
        state = checkpoint.load()
        assert state is not None
        return float(state["cpu_seconds"])

    first = spent(1)
    state = Checkpoint(path).load()
    assert state is not None
    Checkpoint(path).save(**{**state, "cpu_seconds": 1000.0})
    assert 0 < first < 1000 < spent(2)
