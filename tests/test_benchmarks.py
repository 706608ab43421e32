"""The instances that the benchmarks draw."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from difflayers import amwc
from tests.benchmarks import scenes

NAMES = sorted(path.stem for path in (Path(__file__).parent / "benchmarks").glob("*.py"))
PARTS = ("solver", "layer", "step", "iterations")
SMALL = {"shape": (24, 32), "classes": 6, "things": 2, "objects": 4, "distances": (1, 4)}


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_needs_nothing_to_be_imported(name):
    pytest.importorskip("tqdm")  # of the example that two of them measure
    importlib.import_module(f"tests.benchmarks.{name}")


def test_scenes_are_those_that_the_reference_solver_was_measured_on():
    reference = next(r for r in scenes.references() if r["preset"] == "cityscapes-crop")
    scene = scenes.preset("cityscapes-crop", reference["seed"], reference["noise"])
    assert scene.node_costs.sum() == pytest.approx(reference["node_cost_sum"], rel=1e-9)
    assert scene.edge_costs.sum() == pytest.approx(reference["edge_cost_sum"], rel=1e-9)


def test_a_scene_without_noise_is_solved_by_its_truth():
    scene = scenes.draw(**SMALL, seed=0, noise=0.0)
    problem = amwc.AMWC(*scene[:4])
    labels = scene.classes.ravel()
    objects = scene.objects.ravel()
    # One segment per object. The same class may be in two objects, whose edges are repulsive.
    assert (problem.node_costs.argmin(axis=1) == labels).all()
    same = (labels[problem.edges] == labels[problem.edges][:, :1]).all(axis=1)
    same &= objects[problem.edges[:, 0]] == objects[problem.edges[:, 1]]
    assert (problem.edge_costs == np.where(same, 2.0, -2.0)).all()
    assert (amwc.solve(problem).labels == labels).all()


def test_scenes_and_region_graphs_repeat_with_the_seed_only():
    one, again, other = (scenes.draw(**SMALL, seed=seed, noise=2.0) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one.node_costs, other.node_costs)
    (n, edges, costs), again_ = (scenes.region_graph((40, 60), 30, 5, 1.0) for _ in range(2))
    assert n == again_[0]
    assert np.array_equal(edges, again_[1])
    assert np.array_equal(costs, again_[2])


def test_a_region_graph_joins_each_touching_pair_once():
    count, edges, costs = scenes.region_graph((40, 60), 30, 0, 1.0)
    assert edges.min() >= 0
    assert edges.max() < count
    assert (edges[:, 0] < edges[:, 1]).all()
    assert len(np.unique(edges, axis=0)) == len(edges) == len(costs)
    assert (
        count - 1 <= len(edges) <= 3 * count
    )  # connected and planar, but for corners that four regions share
    assert (costs < 0).any()


@pytest.mark.slow
def test_the_gpu_script_runs_to_its_end_on_a_device_that_refuses_the_cpus_tensors(
    tmp_path, monkeypatch, capsys
):
    pytest.importorskip("tqdm")
    from tests.benchmarks import gpu
    from tests.elsewhere import elsewhere

    monkeypatch.setattr(gpu, "DATA_SETS", {"coco": "coco"})
    with elsewhere() as device:
        assert gpu.report(device, small=True, out=tmp_path / "gpu.jsonl") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]  # nothing but JSON
    assert lines == [json.loads(line) for line in (tmp_path / "gpu.jsonl").read_text().splitlines()]
    figures = {name: [line for line in lines if line["part"] == f"{name}, coco"] for name in PARTS}
    assert [line["objective_above_amwc_solve"] < 0.02 for line in figures["solver"][1:-1]] == 4 * [True]
    losses = [line["loss"] for line in figures["layer"][:-1]]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)  # two solvers
    assert {line["solver_place"] for line in figures["step"][1:-1]} <= {"cpu", "gpu"}
    assert [line["iterations"] for line in figures["iterations"][:-1]] == [2, 2]
    assert all(line["images_per_second"] > 0 for name in PARTS[2:] for line in figures[name][:-1])
