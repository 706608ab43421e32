"""A killed run, several processes, parts of a batch, mixed precision: the curve stays what it was."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from difflayers.panoptic import PanopticLabels
from examples.cops.config import DRAWN, Config
from examples.cops.data import Category, DrawnScenes, Sample
from examples.cops.run import runs
from examples.cops.run.checkpoint import Checkpoint
from examples.cops.run.resume import READ, check_settings
from examples.cops.run.settings import described
from examples.cops.steps import SolverStep
from examples.cops.train import train_stage_one, train_stage_two, train_through_solver
from tests.examples.cops.answers import write_scenes

ROOT = Path(__file__).resolve().parents[4]
TINY = DRAWN.change(
    data={"size": (32, 48)},
    network={"distances": (1, 4)},
    stage1={"iterations": 4, "batch": 4},
    stage2={"iterations": 3, "batch": 4, "warm_up": 1},
    single={"iterations": 3, "batch": 4, "warm_up": 1},
)
STAGES = {1: train_stage_one, 2: train_stage_two, 3: train_through_solver}


def tiny_scenes() -> DrawnScenes:
    return DrawnScenes("train", 0, 4)


def trained(config: Config, stage: int, path: Path) -> tuple[list[dict[str, float]], torch.Tensor]:
    network = runs.build_network(config, len(tiny_scenes().categories))
    log = STAGES[stage](network, tiny_scenes(), config, Checkpoint(path / f"{stage}.pt"), progress=False)
    return log, torch.cat([value.flatten().double() for value in network.state_dict().values()])


KILLED = """
import os, signal, sys
import torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from examples.cops.run.checkpoint import Checkpoint
from tests.examples.cops.run import test_processes as this

whole_save, saves = torch.save, 0

def save(content, file):
    global saves
    saves += 1
    whole_save(content, file)
    if saves == 2:
        file.flush()
        os.truncate(file.fileno(), file.tell() // 2)  # half of it has been written
        os.kill(os.getpid(), signal.SIGKILL)

torch.save = save
stage = int(sys.argv[2])
network = this.runs.build_network(this.TINY, 8)
this.STAGES[stage](
    network, this.tiny_scenes(), this.TINY, Checkpoint(Path(sys.argv[3]), every=1), progress=False
)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_a_run_killed_in_the_middle_of_a_checkpoint_gives_the_same_curve_bit_for_bit(
    stage: int, tmp_path: Path
) -> None:
    path = tmp_path / "killed.pt"
    command = [sys.executable, "-c", KILLED, str(ROOT), str(stage), str(path)]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.with_suffix(".partial").stat().st_size < path.stat().st_size
    state = Checkpoint(path).load()
    assert state is not None
    assert len(state["log"]) == 1
    network = runs.build_network(TINY, 8)
    log = STAGES[stage](network, tiny_scenes(), TINY, Checkpoint(path, every=1), progress=False)
    whole_log, whole = trained(TINY, stage, tmp_path)
    assert log == whole_log
    assert torch.equal(
        whole, torch.cat([value.flatten().double() for value in network.state_dict().values()])
    )


@pytest.mark.slow
def test_two_processes_give_the_curves_of_one(tmp_path: Path) -> None:
    settings = (
        "[data]\nsize = [32, 48]\n[rejection]\nthing_area = 32\nstuff_area = 128\n"
        "[stage1]\nbatch = 4\niterations = 4\n"
        "[stage2]\nbatch = 4\niterations = 3\nwarm_up = 1\nlearning_rate = 1e-3\n"
        "[network]\ndistances = [1, 4]\nwidths.aspp = 16\nwidths.decoder = 16\n"
        "widths.project_res3 = 8\nwidths.project_res2 = 8\nwidths.dilations = [1, 2, 3]\n"
    )
    (tmp_path / "tiny.toml").write_text(settings)
    data = write_scenes(tmp_path / "data")
    arguments = ["-m", "examples.cops", "train", "--data", str(data), "--config", str(tmp_path / "tiny.toml")]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    logs = {}
    for name, command in (
        ("one", [*arguments, "--accumulation", "2"]),
        ("two", [*launcher, *arguments]),
        ("one, stage 2", arguments),
        ("two, stage 2", [*launcher, *arguments]),
    ):
        out = tmp_path / name
        if name.endswith("stage 2"):
            # Batch norm's running statistics are the first process's, as ever with DDP, and stage 2 reads
            # them: it is compared from the same network.
            out.mkdir()
            shutil.copy(tmp_path / "one" / "stage1.pt", out)
        done = subprocess.run(
            [sys.executable, *command, "--out", str(out)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        logs[name] = json.loads((out / "figures.json").read_text())["log"]
    for name, other, stage, iterations in (("two", "one", 1, 4), ("two, stage 2", "one, stage 2", 2, 3)):
        curves = [[entry for entry in logs[run] if entry["stage"] == stage] for run in (name, other)]
        assert len(curves[0]) == iterations
        for entry, expected in zip(*curves, strict=True):
            for figure in ("loss", "semantic", "affinity", "soft_pq"):
                if figure in expected:
                    assert entry[figure] == pytest.approx(expected[figure], rel=2e-4)
    weights = [Checkpoint(tmp_path / name / "stage2.pt").load() for name in ("one, stage 2", "two, stage 2")]
    start = Checkpoint(tmp_path / "one" / "stage1.pt").load()
    assert start is not None
    moved, apart = [], []
    for name, value in start["network"].items():
        one, two = (state["network"][name] for state in weights if state is not None)
        moved.append((one - value).double().flatten())
        apart.append((one - two).double().flatten())
    # The weights have gone the same way: λ is not multiplied by the number of processes.
    assert torch.cat(apart).norm() < 0.05 * torch.cat(moved).norm()


def test_the_solver_overlapped_with_the_next_batch_changes_nothing(tmp_path: Path) -> None:
    results = [
        trained(TINY.change(run={"overlap": overlap}), 2, tmp_path / str(overlap))
        for overlap in (True, False)
    ]
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


def test_processes_that_read_change_nothing(tmp_path: Path) -> None:
    here, there = (
        trained(TINY.change(run={"workers": workers}), 1, tmp_path / str(workers)) for workers in (0, 2)
    )
    assert here[0] == there[0]
    assert torch.equal(here[1], there[1])


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_bfloat16_starts_at_the_loss_of_float32(stage: int, tmp_path: Path) -> None:
    results = [
        trained(TINY.change(training={"precision": precision}), stage, tmp_path / precision)
        for precision in ("float32", "bfloat16")
    ]
    (log, weights), (half_log, half_weights) = results
    assert half_log[0]["loss"] == pytest.approx(log[0]["loss"], rel=0.05)
    assert not torch.equal(half_weights, weights)
    assert np.isfinite([entry["loss"] for entry in half_log]).all()


def test_the_single_stage_reaches_every_layer(tmp_path: Path) -> None:
    network = runs.build_network(TINY, 8)
    before = {name: value.clone() for name, value in network.named_parameters()}
    train_through_solver(network, tiny_scenes(), TINY, Checkpoint(tmp_path / "s.pt"), progress=False)
    changed = {
        name.split(".")[0]
        for name, value in network.named_parameters()
        if not torch.equal(value, before[name])
    }
    assert changed == {name.split(".")[0] for name in before}


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_images_without_a_segment_and_a_class_that_never_occurs_can_be_trained_on(
    stage: int, tmp_path: Path
) -> None:
    scenes = tiny_scenes()
    never = Category(9, "tram", True, (0, 0, 0))
    empty = PanopticLabels(np.full((128, 192), -1), np.zeros(0, int))

    class OneLabeled:
        categories = (*scenes.categories, never)
        is_thing = np.append(scenes.is_thing, True)

        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Sample:
            sample = scenes[index]
            return sample if index == 0 else sample._replace(labels=empty)

    network = runs.build_network(TINY, 9)
    log = STAGES[stage](network, OneLabeled(), TINY, Checkpoint(tmp_path / "1.pt"), progress=False)
    assert np.isfinite([entry["loss"] for entry in log]).all()
    assert all(value.isfinite().all() for value in network.state_dict().values())


def test_splits_of_other_classes_are_refused_with_both_files(tmp_path: Path) -> None:
    data = write_scenes(tmp_path / "data")
    path = data / "panoptic_val.json"
    content = json.loads(path.read_text())
    content["categories"][0]["name"] = "heaven"
    path.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"panoptic_val\.json lists other categories than .*panoptic_train\.json"
    ):
        runs.run(data, tmp_path / "out", TINY, progress=False)


def test_a_run_of_other_settings_is_not_taken_up(tmp_path: Path) -> None:
    config = TINY.change(stage1={"iterations": 1}, stage2={"iterations": 1})
    started = Checkpoint(
        tmp_path / "stage1.pt", about=described(config, [Category(1, "sky", False, (0, 0, 0))])
    )
    started.save()
    for free in (
        config.change(run={"workers": 2, "accumulation": 2}),
        config.change(stage2={"iterations": 9}),
    ):
        check_settings(started, free, "stage 1")
    for table, name, other in (
        ("training", "seed", 1),
        ("stage1", "iterations", 5),
        ("data", "size", (64, 48)),
    ):
        with pytest.raises(ValueError, match=rf"stage1\.pt: was trained with {table}\.{name} "):
            check_settings(started, config.change(**{table: {name: other}}), "stage 1")
    with pytest.raises(ValueError, match=r"trained with stage2\.iterations 1, now 9; choose another --out"):
        check_settings(started, config.change(stage2={"iterations": 9}), "stage 2")
    with pytest.raises(
        ValueError, match=r"stage1\.pt: was trained with the classes \['sky'\], now \['sky', "
    ):
        runs.run(None, tmp_path, config, progress=False)


def test_every_setting_decides_about_a_stage_but_how_the_machine_is_used_and_images_are_labeled() -> None:
    tables = {entry.name for entry in fields(Config)}
    assert tables - set().union(*READ.values()) == {"run", "inference"}


def test_a_setting_that_only_one_schedule_reads_is_free_in_the_other(tmp_path: Path) -> None:
    started = Checkpoint(tmp_path / "stage2.pt", about=described(TINY))
    started.save()
    check_settings(started, TINY.change(single={"learning_rate": 0.5}), "stage 2")
    with pytest.raises(ValueError, match=r"single\.learning_rate 0\.0001, now 0\.5"):
        check_settings(started, TINY.change(single={"learning_rate": 0.5}), "single stage")


def test_a_batch_that_cannot_be_split_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a batch of 4 images cannot be split into 3 equal parts"):
        trained(TINY.change(run={"accumulation": 3}), 1, tmp_path)


def test_event_files_are_written_where_tensorboard_is_installed(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the package tensorboard"
    )
    network = runs.build_network(TINY, 8)
    checkpoint = Checkpoint(tmp_path / "1.pt", events=tmp_path / "events")
    log = train_stage_one(network, tiny_scenes(), TINY, checkpoint, progress=False)
    events = accumulator.EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    written = [event.value for event in events.Scalars("stage 1/loss")]
    assert written == pytest.approx([entry["loss"] for entry in log], rel=1e-6)


def test_deterministic_algorithms_are_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[bool, bool]] = []
    monkeypatch.setattr(
        torch, "use_deterministic_algorithms", lambda on, *, warn_only: asked.append((on, warn_only))
    )
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(runs, "open_dataset", lambda *_: pytest.fail("far enough"))
    for on in (False, True):
        with pytest.raises(pytest.fail.Exception, match="far enough"):
            runs.run(None, tmp_path, DRAWN.change(training={"deterministic": on}))
        assert asked == on * [(True, True)]
        assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if on else None)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")


def test_a_resumed_run_solves_where_it_began(tmp_path: Path) -> None:
    config = TINY.change(solver={"place": "gpu"}, stage2={"iterations": 1, "batch": 2})
    network = runs.build_network(config, 8)
    checkpoint = Checkpoint(tmp_path / "stage2.pt", every=1)
    train_stage_two(network, tiny_scenes(), config, checkpoint, progress=False)
    state = checkpoint.load()
    assert state is not None
    assert state["solver_place"] == "gpu"
    more = TINY.change(stage2={"iterations": 2, "batch": 2})  # "auto", on a CPU
    resumed = SolverStep(network, tiny_scenes().is_thing, more, frozen_trunk=True)
    train_stage_two(network, tiny_scenes(), more, checkpoint, progress=False, step=resumed)
    assert resumed.place == "gpu"
