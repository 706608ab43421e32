"""What a run tells: metrics as JSON lines, a log with the time left, evaluations, and the best state."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from examples.cops.config import DRAWN
from examples.cops.data import DrawnScenes, folders
from examples.cops.run import progress, runs
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.run.progress import Progress
from examples.cops.train import train_stage_one

TINY = DRAWN.change(
    data={"size": (32, 48)},
    network={"distances": (1, 4)},
    stage1={"iterations": 4, "batch": 2},
    stage2={"iterations": 2, "batch": 2, "warm_up": 1},
    run={"evaluate_every": 2, "evaluate_images": 1},
)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]


def trained(path: Path, qualities: list[float], **changes: Any) -> Checkpoint:
    """Stage 1 with evaluations that have these qualities."""
    network, answers = runs.build_network(TINY, 8), iter(qualities)
    checkpoint = Checkpoint(path, every=2)
    train_stage_one(
        network,
        DrawnScenes("train", 0, 4),
        TINY.change(**changes),
        checkpoint,
        progress=False,
        evaluate=lambda: {"PQ": next(answers), "PQ_th": 0.25},
    )
    return checkpoint


def test_every_iteration_and_evaluation_is_a_line_of_the_metrics(tmp_path: Path) -> None:
    checkpoint = trained(tmp_path / "stage1.pt", [0.5, float("nan")])
    state = checkpoint.load()
    assert state is not None
    found = lines(tmp_path / "stage1.metrics.jsonl")
    assert [line for line in found if "held_out" not in line] == state["log"]
    assert [line["iteration"] for line in found] == [0, 1, 1, 2, 3, 3]
    assert found[2] == {"stage": 1, "iteration": 1, "held_out": {"PQ": 0.5, "PQ_th": 0.25}}
    assert found[5]["held_out"] == {"PQ": None, "PQ_th": 0.25}


def test_the_best_state_is_kept_with_its_number_across_a_resumed_run(tmp_path: Path) -> None:
    path = tmp_path / "stage1.pt"
    trained(path, [0.3], stage1={"iterations": 2})
    assert (tmp_path / "stage1.best-000002.pt").exists()
    trained(path, [0.2])  # worse than before the run was stopped
    assert [file.name for file in tmp_path.glob("*.best-*.pt")] == ["stage1.best-000002.pt"]
    best = Checkpoint(tmp_path / "stage1.best-000002.pt").load()
    last = Checkpoint(path).load()
    assert best is not None
    assert last is not None
    assert best["held_out"] == {"PQ": 0.3, "PQ_th": 0.25}
    assert len(last["log"]) == 4
    assert any(not torch.equal(best["network"][name], value) for name, value in last["network"].items())


def test_a_resumed_run_drops_the_lines_that_it_repeats_and_one_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "stage1.metrics.jsonl"
    done = [{"stage": 1, "iteration": i, "loss": 1.0} for i in range(4)]
    path.write_text("".join(json.dumps(line) + "\n" for line in done) + '{"stage": 1, "iter')
    log = [{"stage": 1.0, "iteration": float(i), "loss": 1.0} for i in range(2)]
    report = Progress(1, 4, log, Checkpoint(tmp_path / "stage1.pt"), bars=False)
    assert lines(path) == done[:2]
    log.append({"stage": 1, "iteration": 2, "loss": 0.5})
    report.report(log[-1])
    assert [line["loss"] for line in lines(path)] == [1, 1, 0.5]


def test_the_log_tells_the_time_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, *[value for second in (160.0, 165.0, 220.0, 280.0) for value in (second, second)]])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    log: list[dict[str, float]] = []
    report = Progress(2, 100, log, Checkpoint(tmp_path / "stage2.pt"), bars=False)
    for iteration in range(2):  # 60 s and 65 s after the start; the second comes too soon for a line
        log.append({"stage": 2, "iteration": iteration, "loss": float(iteration)})
        report.report(log[-1])
    text = (tmp_path / "stage2.log").read_text()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d stage 2, iteration 1 of 100: loss 0\.000; "
        r"60\.00 s per iteration, 1:39:00 left\n",
        text,
    )


def test_run_evaluates_on_the_first_held_out_images_while_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(folders.DRAWN_LENGTH, "val", 3)
    asked = []
    whole = runs.evaluate

    def counted(*arguments: Any, **options: Any) -> Any:
        asked.append(options.get("images"))
        return whole(*arguments, **options)

    monkeypatch.setattr(runs, "evaluate", counted)
    runs.run(None, tmp_path, TINY, progress=False)
    assert asked == [1, 1, None, 1, None]  # twice in stage 1 and once in stage 2; all images after each
    held_out = [line for line in lines(tmp_path / "stage1.metrics.jsonl") if "held_out" in line]
    assert [(line["iteration"], set(line["held_out"])) for line in held_out] == [
        (1, {"PQ", "PQ_th", "PQ_st"}),
        (3, {"PQ", "PQ_th", "PQ_st"}),
    ]
    for stage in ("stage1", "stage2"):
        assert (tmp_path / f"{stage}.log").read_text().count("left") >= 1
