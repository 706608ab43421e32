"""Comparisons: direct losses, rows that change one thing, and equal wall time for the single stage."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from difflayers.panoptic import PanopticLabels
from examples.cops import reproduce, runs, study
from examples.cops.config import DRAWN
from examples.cops.data import DrawnScenes, folders
from examples.cops.data.batches import Batch, Crops
from examples.cops.direct import DirectStep
from examples.cops.targets import stage_one_targets

TINY = replace(
    DRAWN, size=(32, 48), distances=(1, 4), iterations_one=2, iterations_two=2, iterations_warm=1,
    batch_one=2, batch_two=2, batch_single=2, warm_up=1,
)  # fmt: skip


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
    target = stage_one_targets(labels, scenes.is_thing, TINY.distances)
    batch = Batch(torch.zeros(1), [labels], [], 0, 0)
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
    assert loss == pytest.approx(TINY.loss_weight * (19 / 95 + 1))


def test_direct_losses_reach_node_and_edge_costs() -> None:
    scenes = DrawnScenes("train", 0, 2)
    network = runs.build_network(TINY, len(scenes.categories))
    batch = Crops(scenes, TINY, stage=2, size=2)[0, 0]
    torch.manual_seed(0)
    loss, _ = DirectStep(network, scenes.is_thing, TINY)(batch)
    loss.backward()
    for parameter in (network.costs.node_offset, network.costs.edge_scale):
        assert parameter.grad is not None
        assert parameter.grad.abs().sum() > 0


def test_a_study_measures_each_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["N = 1", study.DIRECT, "labelled with fast"]
    results = study.study(None, tmp_path, TINY, rows)
    assert list(results) == ["stage 1", "stage 2", *rows]
    assert all(np.isfinite(list(row.values())).all() for row in results.values())
    _, config, _ = runs.load_network(tmp_path / "N---1.pt")
    assert config == replace(TINY, samples=1)

    def again(*_: object) -> None:
        raise AssertionError("a finished row was measured again")

    monkeypatch.setattr(study, "measure", again)
    assert study.study(None, tmp_path, TINY, rows) == results


@pytest.mark.slow
def test_the_single_stage_takes_about_the_seconds_it_is_given(tmp_path: Path) -> None:
    reproduce.single_stage(None, tmp_path, TINY, seconds=15.0)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures["results"]) == {"warm-up", "single stage"}
    iterations = sum(entry["stage"] == 3 for entry in figures["log"])
    assert iterations == figures["config"]["iterations_single"]
    assert sum(figures["seconds"].values()) > 0
    with pytest.raises(SystemExit, match="the warm-up alone takes"):
        reproduce.single_stage(None, tmp_path / "short", replace(TINY, iterations_warm=10**6), seconds=1.0)
