"""`difflayers.warmup` compiles what the first calls would compile."""

import numpy as np
import pytest
from numba.core.registry import CPUDispatcher

import difflayers
from difflayers import amwc, graph, lifted_multicut, multicut, mutex, mwc, solvers
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


def newly_compiled(before):
    return {
        key: value - before.get(key, set())
        for key, value in compiled().items()
        if value - before.get(key, set())
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_graphs_of_volumes_have_nothing_left_to_compile(dtype):
    difflayers.warmup(["graph"], [dtype])
    before = compiled()
    rng, offsets = np.random.default_rng(2), [(-1, 0, 0), (0, 3, -2), (0, 0, 5)]
    for integers in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64):
        labels = rng.integers(0, 90, (5, 6, 7)).astype(integers)
        labels.flags.writeable = False
        graph.region_graph(labels, background=3)
        graph.label_image(labels[:, ::2].T)
    graph.region_graph(labels * np.uint64(10**17))  # numbers with large gaps
    regions = graph.region_graph(labels)
    maps, n = rng.random((3, *labels.shape)).astype(dtype), regions.num_nodes
    maps.flags.writeable = False
    for quantiles in ((), (0.1, 0.9)):
        graph.boundary_features(regions, maps[0], quantiles)
        graph.affinity_features(regions, maps, offsets, quantiles)
        graph.region_features(regions, maps[0], quantiles)
        lifted, features = graph.lifted_affinity_features(regions, maps, offsets, quantiles)
    costs = graph.edge_costs(graph.boundary_features(regions, maps[0]).mean).astype(dtype)
    graph.class_lifted_edges(n, regions.edges.astype(np.int32), 3, np.full((n, 2), 0.5, dtype))
    graph.affinities_from_costs(graph.affinity_costs(maps, offsets)[1], labels.shape, offsets)
    for linkage in ("average", "sum", "min", "max", "absolute maximum"):
        for cannot_link in (False, True):
            graph.agglomerate(n, regions.edges, costs, linkage, cannot_link=cannot_link)
    problem = lifted_multicut.LiftedMulticut(n, regions.edges, costs, lifted, features.mean.astype(dtype))
    segments = np.arange(n) // 3
    difflayers.contract(problem, segments)
    difflayers.contract(multicut.Multicut(n, regions.edges[::-1], costs), segments)
    difflayers.contract(mwc.MWC(np.zeros((n, 2), dtype), regions.edges, costs), segments)
    assert newly_compiled(before) == {}


def test_blocks_have_nothing_left_to_compile():
    dask = pytest.importorskip("dask")
    from difflayers import blockwise

    difflayers.warmup(["amwc", "graph", "lifted_multicut", "mutex"], ["float64"])
    before = compiled()
    rng, offsets = np.random.default_rng(3), [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, 0, 5)]
    affinities = rng.random((4, 8, 9, 9))
    with dask.config.set(scheduler="synchronous"):
        labels = blockwise.supervoxels(affinities, offsets, (4, 5, 5)).persist()
        for lifted in (False, True):
            blockwise.multicut(labels, affinities, (4, 5, 5), offsets=offsets, lifted=lifted).to_voxels(
                labels
            )
        blockwise.multicut(labels, affinities[0], (4, 5, 5), method="best")
    assert newly_compiled(before) == {}


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
