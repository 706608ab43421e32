"""Map a function over instances: in this process, in threads, or on any joblib backend."""

import os
import pickle
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from difflayers.solver import SolverError


class _Failure(NamedTuple):
    """An exception on its way from a worker; its traceback as text where it crosses a process border."""

    exception: Exception
    traceback: str | None


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
        function: called once an instance. With a process backend it and its arguments are pickled.
        instances: the argument tuples.
        n_jobs: 1 calls in this process and thread. More (or -1, for all cores) goes through
            `joblib.Parallel`: in threads, or on the backend of an enclosing `joblib.parallel_config`.
        names: what to call the instances in an error; "instance 0", "instance 1", … by default.
        backend: a backend from `active_backend` to use in place of the calling thread's own.

    Raises:
        SolverError: `function` raised; the message names the first failing instance, and the original
            exception is its `__cause__`. What another process raised carries its traceback there as a note.
    """
    check_jobs(n_jobs)

    def fail(index: int, exception: Exception) -> SolverError:
        name = names[index] if names is not None else f"instance {index}"
        kind = "" if isinstance(exception, SolverError) else f"{type(exception).__name__}: "
        return SolverError(f"{name}: {kind}{exception}")

    if n_jobs == 1 or len(instances) <= 1:
        results = []
        for index, instance in enumerate(instances):
            try:
                results.append(function(*instance))
            except Exception as exception:
                raise fail(index, exception) from exception
        return results

    import joblib  # here, since most users never leave n_jobs=1

    # max_nbytes: joblib would hand large arrays to other processes read-only, and solvers may write.
    results = joblib.Parallel(n_jobs=n_jobs, backend=backend or active_backend(), max_nbytes=None)(
        joblib.delayed(_guarded)(function, instance, os.getpid()) for instance in instances
    )
    for index, result in enumerate(results):
        if isinstance(result, _Failure):
            if result.traceback is not None:
                result.exception.add_note(f"In the worker process:\n{result.traceback}")
            raise fail(index, result.exception) from result.exception
    return results


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
        raise ValueError(f"n_jobs must be a positive integer, or -1 for all cores, but is {n_jobs!r}")


def _guarded(function: Callable[..., Any], instance: tuple[Any, ...], caller: int) -> Any:
    try:
        return function(*instance)
    except Exception as exception:
        if os.getpid() == caller:
            return _Failure(exception, None)
        return _Failure(_picklable(exception), traceback.format_exc())


def _picklable(exception: Exception) -> Exception:
    """Keep an exception that survives pickling; otherwise keep its text, as it would break the pool."""
    try:
        pickle.loads(pickle.dumps(exception))
    except Exception:
        return RuntimeError("".join(traceback.format_exception_only(exception)).strip())
    return exception
