"""Map over instances: in this process, in threads, or on any joblib backend."""

import functools
import os
import pickle
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from difflayers.solver import SolverError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


class _Raised(NamedTuple):
    """An exception on its way from a worker."""

    exception: Exception


def map_instances(
    function: Callable[..., Any],
    instances: Sequence[tuple[Any, ...]],
    n_jobs: int = 1,
    *,
    names: Sequence[str] | None = None,
    backend: Any = None,
) -> list[Any]:
    """Call `function(*instance)` for each instance and return the results in order.

    Args:
        function: called once per instance. A process backend pickles it and its arguments.
        instances: the argument tuples.
        n_jobs: 1 calls in this process and thread. More (or -1, for all cores) goes through
            `joblib.Parallel`: in threads, or on the backend of an enclosing `joblib.parallel_config`.
        names: what to call the instances in an error; "instance 0", "instance 1", … by default.
        backend: a backend from `active_backend` to use in place of the calling thread's own.

    Raises:
        SolverError: `function` raised; the message names the first failing instance, and the original
            exception is its `__cause__`. What another process raised carries its traceback there as a note.
            Also where a worker process ended; the message then names the instances that were not done.
    """
    check_jobs(n_jobs)
    names = [f"instance {index}" for index in range(len(instances))] if names is None else names

    def fail(index: int, exception: Exception) -> SolverError:
        kind = "" if isinstance(exception, SolverError) else f"{type(exception).__name__}: "
        return SolverError(f"{names[index]}: {kind}{exception}")

    results: list[Any] = [None] * len(instances)
    if n_jobs == 1 or len(instances) <= 1:
        for index, instance in enumerate(instances):
            try:
                results[index] = function(*instance)
            except Exception as exception:
                raise fail(index, exception) from exception
        return results

    try:
        tasks = [(_guarded, function, instance, os.getpid()) for instance in instances]
        for index, result in run_tasks(tasks, n_jobs, backend):
            results[index] = result
    except WorkerEnded as ended:
        raise SolverError(f"{', '.join(names[i] for i in ended.unfinished)}: {ended}") from ended
    for index, result in enumerate(results):
        if isinstance(result, _Raised):
            raise fail(index, result.exception) from result.exception
    return results


class WorkerEnded(Exception):
    """A worker process died, or its results could not be fetched.

    Attributes:
        unfinished: the tasks without a result, among which is the one that did it.
    """

    def __init__(self, unfinished: list[int], cause: Exception) -> None:
        super().__init__(f"a worker ended without a result ({type(cause).__name__}: {cause})")
        self.unfinished = unfinished


def run_tasks(
    tasks: Sequence[tuple[Any, ...]], n_jobs: int, backend: Any = None
) -> Iterator[tuple[int, Any]]:
    """Call `task[0](*task[1:])` for each task on a joblib backend; yield (index, result) as they come.

    Interrupted, or left early, it ends processes at once, and threads after their present task. Raises
    WorkerEnded where a task has no result.
    """
    import joblib  # here, since most users never leave n_jobs=1

    backend = backend or active_backend()
    if isinstance(backend, joblib.parallel.ThreadingBackend):
        yield from _run_in_threads(tasks, max(1, backend.effective_n_jobs(n_jobs)))
        return
    unfinished = set(range(len(tasks)))
    # max_nbytes: joblib would hand large arrays to other processes read-only, and solvers may write.
    # batch_size: joblib's own batches grow with every call that was fast, up to 0.2 s a batch.
    returned = "generator_unordered" if backend.supports_return_generator else "list"
    parallel = joblib.Parallel(
        n_jobs=n_jobs, backend=backend, max_nbytes=None, batch_size=1, pre_dispatch="all", return_as=returned
    )
    results: Any = None
    try:
        results = parallel(joblib.delayed(_numbered)(index, task) for index, task in enumerate(tasks))
        for index, result in results:
            unfinished.discard(index)
            yield index, result
    except Exception as error:
        raise WorkerEnded(sorted(unfinished), error) from error
    finally:
        if unfinished and hasattr(results, "close"):
            results.close()


def _run_in_threads(tasks: Sequence[tuple[Any, ...]], workers: int) -> Iterator[tuple[int, Any]]:
    """As `run_tasks`, in threads that stay: joblib starts new ones at each call, which takes milliseconds."""
    if getattr(_HERE, "is_worker", False):  # waiting for one's own pool could take forever
        for index, task in enumerate(tasks):
            yield index, task[0](*task[1:])
        return
    threads = _threads(os.getpid(), workers)
    futures = [threads.submit(_numbered, index, task) for index, task in enumerate(tasks)]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


_HERE = threading.local()


@functools.lru_cache(maxsize=8)
def _threads(process: int, workers: int) -> "ThreadPoolExecutor":
    """Return the threads of a process; one that was forked has none of its parent's."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(workers, "difflayers", initializer=setattr, initargs=(_HERE, "is_worker", True))


def active_backend() -> Any:
    """Return the joblib backend that the calling thread would use now: threads unless configured otherwise.

    `joblib.parallel_config` holds for one thread, but autograd runs the backward pass of a GPU's tensors in
    a thread of its own; a layer therefore takes the backend in forward and hands it to the backward.
    """
    import joblib

    backend, _ = joblib.parallel.get_active_backend(prefer="threads")
    return backend


def check_jobs(n_jobs: int) -> None:
    """Raise ValueError unless n_jobs is a number of workers that joblib understands."""
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs == 0:
        raise ValueError(f"n_jobs must be a positive integer, or -1 for all cores, got {n_jobs!r}")


def portable(exception: Exception) -> Exception:
    """Prepare an exception for another process: with its traceback as a note, and only if it survives it."""
    note = f"In the worker process:\n{''.join(traceback.format_exception(exception))}"
    try:
        pickle.loads(pickle.dumps(exception))
    except Exception:
        exception = RuntimeError("".join(traceback.format_exception_only(exception)).strip())
    exception.add_note(note)
    return exception


def _guarded(function: Callable[..., Any], instance: tuple[Any, ...], caller: int) -> Any:
    try:
        return function(*instance)
    except Exception as error:
        return _Raised(error if os.getpid() == caller else portable(error))


def _numbered(index: int, task: tuple[Any, ...]) -> tuple[int, Any]:
    return index, task[0](*task[1:])
