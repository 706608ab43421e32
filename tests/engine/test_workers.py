"""Solvers in threads, in processes and on a Dask cluster: sent once, in chunks, with clear errors."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import joblib
import numpy as np
import psutil
import pytest
import torch
from torch.testing import assert_close

import difflayers
from difflayers.engine.parallel import active_backend
from difflayers.engine.solving import Problems
from difflayers.engine.workers import Workers, chunks


class Noting:
    """The cheapest item; notes in a folder in which processes it is unpickled, and in which it solves."""

    def __init__(self, folder):
        self.folder = folder

    def __setstate__(self, state):
        self.__dict__.update(state)
        with open(Path(self.folder) / f"unpickled-{os.getpid()}", "a") as file:
            file.write("x")

    def __call__(self, costs):
        (Path(self.folder) / f"solved-{os.getpid()}").touch()
        time.sleep(0.01)
        return np.eye(len(costs))[costs.argmin()]


class Dying:
    """Ends its process where a cost is negative, as a crash in a C++ solver does."""

    def __call__(self, costs):
        if costs.min() < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.eye(len(costs))[costs.argmin()]


def train(layer, steps=1, size=12):
    gradients = []
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        costs = torch.rand(size, 4, generator=generator).requires_grad_()
        y = layer(costs)
        gradients.append(torch.autograd.grad(y, costs, torch.rand(size, 4, generator=generator))[0])
    return torch.stack(gradients)


def notes(folder, kind):
    return {int(path.name.split("-")[1]): path.read_text() for path in folder.glob(f"{kind}-*")}


@pytest.mark.parametrize("copied", [False, True])
def test_a_process_gets_the_solver_once_however_often_it_solves(tmp_path, copied):
    layer = difflayers.BlackboxLayer(Noting(str(tmp_path)), n_jobs=2)
    if copied:
        layer = pickle.loads(pickle.dumps(layer))
        (tmp_path / f"unpickled-{os.getpid()}").unlink()
    with joblib.parallel_config(backend="loky"):
        gradients = train(layer, steps=4)
    solved, unpickled = notes(tmp_path, "solved"), notes(tmp_path, "unpickled")
    assert os.getpid() not in solved
    assert set(unpickled) == set(solved)
    assert set(unpickled.values()) == {"x"}
    assert_close(gradients, train(difflayers.BlackboxLayer(Noting(str(tmp_path))), steps=4))


@pytest.mark.slow
def test_a_process_that_comes_later_is_sent_the_solver(tmp_path):
    from joblib.externals.loky import get_reusable_executor

    layer = difflayers.BlackboxLayer(Noting(str(tmp_path)), n_jobs=2)
    with joblib.parallel_config(backend="loky"):
        first = train(layer)
        get_reusable_executor().shutdown(wait=True)
        assert_close(train(layer), first)
    assert len(notes(tmp_path, "unpickled")) > 1
    assert set(notes(tmp_path, "unpickled").values()) == {"x"}


def test_two_layers_do_not_get_each_others_solver():
    def shifted(shift):
        return lambda costs: np.roll(np.eye(len(costs))[costs.argmin()], shift)

    costs = torch.rand(6, 4)
    layers = [difflayers.BlackboxLayer(shifted(shift), n_jobs=2) for shift in range(3)]
    with joblib.parallel_config(backend="loky"):
        for _ in range(2):
            for shift, layer in enumerate(layers):
                assert torch.equal(layer(costs), layers[0](costs).roll(shift, 1))


@pytest.mark.parametrize(
    ("seconds", "lengths"),
    [(None, [50, 50]), (1e-6, [50, 50]), (0.001, [10] * 10), (0.0009, [12] * 8 + [4]), (5.0, [1] * 100)],
)
def test_chunks_are_worth_the_trip_and_keep_every_worker_busy(seconds, lengths):
    cut = chunks(100, 2, seconds, least=0.01)
    assert [len(part) for part in cut] == lengths
    assert [row for part in cut for row in part] == list(range(100))


def test_the_time_of_a_solve_is_measured():
    def solver(costs):
        time.sleep(0.05)
        return costs

    workers = Workers()
    workers.solve(solver, Problems([np.ones((4, 3))]), False, False, True, 2, active_backend())
    assert 0.05 <= workers._seconds < 1


def test_a_batched_solver_is_given_parts_of_the_batch():
    sizes = []

    def solver(costs):
        sizes.append(len(costs))
        return np.eye(4)[costs.argmin(1)]

    layer = difflayers.BlackboxLayer(solver, batched=True, n_jobs=2)
    alone = difflayers.BlackboxLayer(lambda c: np.eye(4)[c.argmin(1)], batched=True)
    assert_close(train(layer), train(alone))
    assert sizes[:2] == [6, 6]


def test_a_process_that_dies_is_an_error_that_names_the_instances():
    layer = difflayers.BlackboxLayer(Dying(), n_jobs=2)
    costs = torch.ones(9, 3)
    costs[5] = -1
    with joblib.parallel_config(backend="loky"):
        with pytest.raises(difflayers.SolverError, match=r"one of the instances .*\b5\b.*: a worker ended"):
            layer(costs)
        assert_close(layer(costs[:5]).sum(), torch.tensor(5.0))  # new processes have taken over


def test_errors_from_other_processes_name_the_instance_and_keep_their_traceback():
    def unlucky(costs):
        if costs[0] == 7:
            raise KeyError("no such node")
        return costs

    costs = torch.arange(10.0)[:, None].expand(10, 2)
    with joblib.parallel_config(backend="loky"), pytest.raises(difflayers.SolverError) as caught:
        difflayers.BlackboxLayer(unlucky, n_jobs=2)(costs)
    assert str(caught.value) == "instance 7: KeyError: 'no such node'"
    assert "in unlucky" in "".join(caught.value.__cause__.__notes__)


@pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")
def test_an_interrupt_ends_the_workers():
    script = """
    import signal, time, joblib, torch, difflayers

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is started with it ignored

    def slow(costs):
        time.sleep(60)
        return costs

    layer = difflayers.BlackboxLayer(slow, n_jobs=2)
    with joblib.parallel_config(backend="loky"):
        layer(torch.ones(8, 3))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stderr=subprocess.PIPE, text=True
    )
    own = psutil.Process(process.pid)
    workers = []
    while len(workers) < 2 and process.poll() is None:
        time.sleep(0.1)
        workers = [child for child in own.children(recursive=True) if "loky" in " ".join(child.cmdline())]
    time.sleep(1)  # until they are at work
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert "KeyboardInterrupt" in errors
    assert not alive


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_gradients(tmp_path):
    distributed = pytest.importorskip("distributed")
    layer = difflayers.BlackboxLayer(Noting(str(tmp_path)), n_jobs=-1)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        gradients = train(layer, steps=4)
        with pytest.raises(difflayers.SolverError, match="instance 3: KeyError"):
            difflayers.BlackboxLayer(lambda c: {}[0] if c[0] == 3 else c, n_jobs=-1)(
                torch.arange(6.0)[:, None].expand(6, 2)
            )
    solved, unpickled = notes(tmp_path, "solved"), notes(tmp_path, "unpickled")
    assert len(solved) == 2
    assert os.getpid() not in solved
    assert {len(times) for pid, times in unpickled.items() if pid in solved} == {1}
    assert_close(gradients, train(difflayers.BlackboxLayer(Noting(str(tmp_path))), steps=4))
