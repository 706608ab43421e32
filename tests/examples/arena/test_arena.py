"""The arena: the protocol chooses by validation data, resumes, and every method learns."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from examples.arena import report
from examples.arena.__main__ import RESULTS, main
from examples.arena.field import FIELDS, field, model, parts
from examples.arena.methods import METHODS
from examples.arena.training import Job, Protocol, Record, Result, regret, run


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Tasks of few instances."""
    for name, own in FIELDS.items():
        monkeypatch.setitem(
            FIELDS,
            name,
            own._replace(draw=lambda seed, draw=own.draw: draw(seed), training=24, validation=8, testing=8),
        )
    parts.cache_clear()
    yield
    parts.cache_clear()


def result(job, validation, test=0.5):
    return Result(job, validation, test, 0.1)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_shorter_paths_than_first_weights(method, monkeypatch):
    monkeypatch.setitem(FIELDS, "shortest path", FIELDS["shortest path"]._replace(training=128, testing=128))
    settings = METHODS[method].settings
    job = Job("shortest path", method, settings[len(settings) // 2], 0.1, 1, epochs=8, batch=16)
    training, _, test = parts("shortest path", 1)
    untrained = np.median([regret(model(training), test) for _ in range(9)])
    assert run(job).test < untrained


@pytest.mark.parametrize("task", [name for name, own in FIELDS.items() if not own.slow])
def test_every_task_trains_with_every_kind_of_parameter(task):
    method = "SPO+" if FIELDS[task].costs else "score function"
    found = run(Job(task, method, METHODS[method].settings[0], 0.1, 0, epochs=1, batch=8))
    assert np.isfinite(found.test)
    assert found.seconds_per_epoch > 0


def test_a_training_repeats_to_the_last_bit():
    job = Job("shortest path", "perturbed Fenchel–Young", 0.3, 0.1, 2, epochs=2)
    assert run(job).test == run(job).test


def test_the_protocol_chooses_by_validation_data_of_seed_0_only():
    protocol = Protocol(["shortest path"], ["blackbox"], seeds=3, epochs=2)
    jobs = list(protocol.tuning())
    assert {job.seed for job in jobs} == {0}
    assert {(job.setting, job.rate) for job in jobs} == {
        (s, r) for s in (0.1, 1.0, 10.0) for r in (0.01, 0.1)
    }
    results = [
        result(job, validation=1 + abs(index - 3), test=0 if index == 0 else 1)
        for index, job in enumerate(jobs)
    ]
    other = result(dataclasses.replace(jobs[0], seed=1), validation=0)
    assert protocol.chosen([*results, other])["shortest path", "blackbox"] == jobs[3]
    assert [job.seed for job in protocol.testing(results)] == [0, 1, 2]


def test_methods_for_costs_stay_out_of_tasks_with_parameters_in_constraints():
    protocol = Protocol(["set cover", "portfolio"], list(METHODS))
    assert {job.method for job in protocol.tuning() if job.task == "set cover"} == {
        "squared error",
        "score function",
    }
    assert not protocol.fits("portfolio", "structured SVM")  # shares of a portfolio are no zeros and ones
    assert protocol.fits("portfolio", "SPO+")


def test_a_killed_run_goes_on_where_it_was(tmp_path, capsys):
    arguments = ["--out", str(tmp_path), "--tasks", "shortest path", "--methods", "SPO+", "squared error"]
    arguments += ["--seeds", "2", "--epochs", "1"]
    main(arguments)
    lines = (tmp_path / RESULTS).read_text().splitlines()
    assert len(lines) == 6  # two rates of two methods, and seed 1 of each
    cut = "\n".join(lines[:-1]) + "\n" + lines[-1][:30]
    (tmp_path / RESULTS).write_text(cut)
    capsys.readouterr()
    main(arguments)
    assert "testing 1 of 1" in capsys.readouterr().out
    again = [Result.parse(line) for line in (tmp_path / RESULTS).read_text().splitlines()]
    assert [(r.job, r.test) for r in again] == [(Result.parse(x).job, Result.parse(x).test) for x in lines]
    assert (tmp_path / "arena.png").stat().st_size > 1000
    assert "| SPO+ |" in (tmp_path / "table.md").read_text()


def test_two_runs_are_compared_training_by_training(tmp_path):
    first, second = (Job("top-k", "SPO+", 0.0, 0.1, seed, 1) for seed in (0, 1))
    a = [Result(first, 0.1, 0.25, 1.0), Result(second, 0.1, 0.5, 1.0)]
    b = [Result(first, 0.1, 0.25, 2.0), Result(second, 0.1, 0.51, 2.0)]
    text = report.comparison(a, b)
    assert "2 trainings are in both files; 1 have the same regret" in text
    assert "1.000 points" in text
    assert "2.00 times as long" in text
    assert "no training" in report.comparison(a[:1], b[1:])


def test_a_record_keeps_one_result_per_training(tmp_path):
    record, job = Record(tmp_path / RESULTS), Job("top-k", "SPO+", 0.0, 0.1, 0, 1)
    record.add(result(job, 0.3))
    again = Record(tmp_path / RESULTS)
    assert again.results == {job: result(job, 0.3)}
    assert again.missing([job, dataclasses.replace(job, seed=4), dataclasses.replace(job, seed=4)]) == [
        dataclasses.replace(job, seed=4)
    ]


def test_the_energy_task_needs_its_file(capsys):
    with pytest.raises(ValueError, match="energy must be the path"):
        field("energy")
    with pytest.raises(SystemExit):
        main(["--tasks", "energy"])
    assert "--energy FILE" in capsys.readouterr().err
