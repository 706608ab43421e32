"""map_instances in this process, in threads and in other processes."""

import multiprocessing
import os
import threading
import traceback

import joblib
import numpy as np
import pytest
import torch

import difflayers
from difflayers.engine.parallel import active_backend, map_instances


class NeedsTwoArguments(Exception):
    """Breaks when unpickled, as many exceptions with a constructor of their own do."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def divide(number, divisor):
    return number / divisor


def raise_unpicklable(number):
    raise NeedsTwoArguments("lost", number)


@pytest.mark.parametrize("n_jobs", [1, 3, -1])
def test_results_keep_the_order_of_the_instances(n_jobs):
    assert map_instances(divide, [(n, 2) for n in range(50)], n_jobs) == [n / 2 for n in range(50)]
    assert map_instances(divide, [], n_jobs) == []


def test_one_job_stays_in_this_thread_and_more_take_others():
    here = threading.get_ident()
    assert set(map_instances(threading.get_ident, [()] * 4)) == {here}
    assert here not in map_instances(threading.get_ident, [()] * 4, n_jobs=2)
    assert set(map_instances(os.getpid, [()] * 4, n_jobs=2)) == {os.getpid()}


def test_a_configured_backend_takes_over():
    with joblib.parallel_config(backend="loky"):
        assert os.getpid() not in map_instances(os.getpid, [()] * 4, n_jobs=2)


def test_a_backend_handed_on_holds_in_a_thread_without_configuration():
    # The backward pass of GPU tensors runs in a thread of autograd's.
    with joblib.parallel_config(backend="loky"):
        backend = active_backend()
    processes = []
    thread = threading.Thread(
        target=lambda: processes.extend(map_instances(os.getpid, [()] * 4, n_jobs=2, backend=backend))
    )
    thread.start()
    thread.join()
    assert len(processes) == 4
    assert os.getpid() not in processes


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_first_failure_is_raised_with_index_cause_and_traceback(n_jobs):
    with pytest.raises(difflayers.SolverError, match="instance 2: ZeroDivisionError") as caught:
        map_instances(divide, [(1, 1), (1, 2), (1, 0), (1, 0)], n_jobs)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "in divide" in "".join(traceback.format_exception(caught.value))


def test_a_failure_in_another_process_keeps_its_traceback_as_a_note():
    with joblib.parallel_config(backend="loky"):
        with pytest.raises(difflayers.SolverError, match="instance 1: ZeroDivisionError") as caught:
            map_instances(divide, [(1, 1), (1, 0)], n_jobs=2)
        assert "in divide" in "".join(traceback.format_exception(caught.value))
        with pytest.raises(difflayers.SolverError, match=r"instance 0: .*lost 0") as caught:
            map_instances(raise_unpicklable, [(0,), (1,)], n_jobs=2)
        assert "in raise_unpicklable" in "".join(traceback.format_exception(caught.value))


def test_names_replace_the_numbering_in_errors():
    with pytest.raises(difflayers.SolverError, match=r"^image a\.png: ZeroDivisionError"):
        map_instances(divide, [(1, 0)], names=["image a.png"])


def test_interrupts_are_not_taken_for_a_solvers_failure():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_instances(interrupted, [()])


def test_large_costs_stay_writable_in_other_processes():
    def solver(costs):
        costs.sort()
        return (costs > 0).astype(np.float64)

    costs = torch.randn(2, 300_000, generator=torch.Generator().manual_seed(0))
    layer = difflayers.BlackboxLayer(solver, n_jobs=2)
    with joblib.parallel_config(backend="loky"):
        y = layer(costs)
    assert torch.equal(y, (costs.sort(dim=1).values > 0).float())


def test_threads_may_map_in_turn():
    def outer(number):
        return sum(map_instances(divide, [(number, 1), (number, 2)], n_jobs=2))

    assert map_instances(outer, [(n,) for n in range(6)], n_jobs=2) == [1.5 * n for n in range(6)]


def test_a_forked_process_starts_threads_of_its_own():
    map_instances(divide, [(1, 1)] * 4, n_jobs=2)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        result = pool.apply_async(map_instances, (divide, [(1, 2)] * 4, 2))
        assert result.get(timeout=60) == [0.5] * 4
