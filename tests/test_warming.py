"""`difflayers.warmup` compiles what the first calls would compile."""

import numpy as np
import pytest
from numba.core.registry import CPUDispatcher

import difflayers
from difflayers import amwc, lifted_multicut, multicut, mutex, mwc, solvers
from difflayers.graph import grid_edges
from tests.trust.layers import REPEATABLE


def compiled():
    """Kernels of the library and the signatures that they were compiled for."""
    import sys

    kernels = {
        (module.__name__, name): value
        for module in list(sys.modules.values())
        if getattr(module, "__name__", "").startswith("difflayers")
        for name, value in vars(module).items()
        if isinstance(value, CPUDispatcher)
    }
    return {key: set(kernel.signatures) for key, kernel in kernels.items()}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_is_left_to_compile(dtype):
    difflayers.warmup(dtypes=[dtype])
    before = compiled()
    assert sum(map(len, before.values())) > 40
    rng, edges = np.random.default_rng(1), grid_edges((9, 8), [1, 3])
    for order in (np.arange(len(edges)), rng.permutation(len(edges))):
        nodes, costs = rng.normal(size=(72, 4)).astype(dtype), rng.normal(size=len(edges)).astype(dtype)
        nodes.flags.writeable = False  # as the arrays of some tensors are
        problem = amwc.AMWC(nodes, edges[order], costs, np.array([True, False, True, False]))
        cut = multicut.Multicut(72, edges[order].astype(np.int32), costs)
        for method in ("fast", "default", "best"):
            solution = amwc.solve(problem, method)
            multicut.solve(cut, method, start=multicut.solve(cut))
            mwc.solve(mwc.MWC(nodes, edges[order], costs), method, start=solution.labels)
        amwc.lower_bound(problem)
        mutex.mutex_watershed(cut)
        mutex.semantic_mutex_watershed(problem)
        lifted_multicut.solve(lifted_multicut.LiftedMulticut(72, edges, costs, edges[:9], costs[:9]), "best")
    assert {key: value - before.get(key, set()) for key, value in compiled().items() if value} == {
        key: set() for key, value in compiled().items() if value
    }


def test_the_ready_made_solvers_have_nothing_left_to_compile():
    difflayers.warmup(["solvers"])
    before = compiled()
    for name, step in REPEATABLE.items():
        if name.startswith("solver: "):
            step(0)
    solvers.MaxCut(20, grid_edges((4, 5), [1]))(np.ones((1, 31), np.float32))
    assert {key: value for key, value in compiled().items() if value != before.get(key)} == {}


def test_other_names_are_refused():
    with pytest.raises(ValueError, match=r"parts must be among 'amwc'.*got 'AMWC'"):
        difflayers.warmup(["AMWC"])
    with pytest.raises(ValueError, match="dtypes must be among 'float32', 'float64', got 'int8'"):
        difflayers.warmup(dtypes=["int8"])
