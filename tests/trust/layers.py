"""Every layer, loss and ready-made solver as a step of training that any thread or process can take."""

from collections import deque

import numpy as np
import torch

from difflayers import amwc, lifted_multicut, multicut, mutex, panoptic, solvers
from difflayers.graph import grid_edges
from tests.layers.test_estimators import ESTIMATORS, build
from tests.losses.cases import CASES
from tests.losses.polytopes import Enumeration, matchings
from tests.solvers.test_batch import SOLVERS

EDGES = grid_edges((4, 4), [1])


def _layer(name, **options):
    layer = build(name, **options)

    def step(seed):
        costs = _normal(seed, 3, 6).requires_grad_()
        y = layer(costs)
        (gradient,) = torch.autograd.grad(y, costs, _normal(seed + 1, 3, 6))
        return torch.cat([y.detach(), gradient])

    return step


def _loss(case):
    loss = case.make(Enumeration(matchings(), calls=deque(maxlen=0)))  # the test's own record would grow

    def step(seed):
        target = case.target(_normal(seed, 2, 3, 3))
        costs = _normal(seed + 1, 2, 3, 3).requires_grad_()
        value = loss(costs, **target)
        (gradient,) = torch.autograd.grad(value, costs)
        return torch.cat([value.detach().reshape(1), gradient.flatten()])

    return step


def _panoptic():
    layer = panoptic.PanopticLayer(np.array([False, True, True]), distances=(1,), scales=50.0)
    loss = panoptic.SoftPanopticQualityLoss(layer.is_thing, thing_area=1, stuff_area=1)
    rows = np.repeat([0, 0, 1, 2, 2, 2], 6).reshape(6, 6)
    target = panoptic.PanopticLabels(rows, np.array([0, 1, 2]))

    def step(seed):
        nodes = _normal(seed, 1, 3, 6, 6).requires_grad_()
        vertical, horizontal = (
            _normal(seed + 1, 1, 5, 6).requires_grad_(),
            _normal(seed + 2, 1, 6, 5).requires_grad_(),
        )
        output = layer(nodes, [(vertical, horizontal)], [target])
        value = loss(output.masks, [target])
        gradients = torch.autograd.grad(value, (nodes, vertical, horizontal))
        return torch.cat([value.detach().reshape(1).double(), *(part.flatten() for part in gradients)])

    return step


def _graph_solver(solve):
    def step(seed):
        rng = np.random.default_rng(seed)
        node_costs, edge_costs = rng.normal(size=(16, 3)), rng.normal(size=len(EDGES))
        return torch.tensor(solve(node_costs, edge_costs), dtype=torch.float64)

    return step


def _ready(solver, shape):
    def step(seed):
        costs = np.random.default_rng(seed).uniform(0.1, 1, size=(3, *shape))
        return torch.from_numpy(solver(costs))

    return step


def _normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


_PARTITIONABLE = np.array([True, False, True])
_READY = {
    # HiGHS takes 28 ms per schedule, which is too long for thousands of steps.
    **{
        name: (build_solver(), shape) for name, (build_solver, shape) in SOLVERS.items() if name != "schedule"
    },
    "bipartite, two threads": (solvers.BipartiteMatching((4, 5), n_threads=2), (4, 5)),
}
#: Steps of training that do not depend on how many were taken before.
REPEATABLE = {
    **{name: _layer(name) for name, (_, _, repeats) in ESTIMATORS.items() if repeats},
    **{case.name: _loss(case) for case in CASES if not case.keeps},
    "blackbox, two jobs": _layer("blackbox", n_jobs=2),
    **{f"solver: {name}": _ready(*ready) for name, ready in _READY.items()},
    "panoptic layer": _panoptic(),
    "amwc": _graph_solver(lambda n, e: amwc.solve(amwc.AMWC(n, EDGES, e, _PARTITIONABLE), "best").segments),
    "multicut": _graph_solver(lambda n, e: multicut.solve(multicut.Multicut(16, EDGES, e)).segments),
    "lifted multicut": _graph_solver(
        lambda n, e: (
            lifted_multicut.solve(
                lifted_multicut.LiftedMulticut(16, EDGES, e, grid_edges((4, 4), [2]), np.ones(16)), "best"
            ).segments
        )
    ),
    "mutex watershed": _graph_solver(
        lambda n, e: mutex.mutex_watershed(multicut.Multicut(16, EDGES, e)).segments
    ),
}
#: Those that draw, adapt or collect.
CHANGING = {
    **{name: _layer(name) for name, (_, _, repeats) in ESTIMATORS.items() if not repeats},
    **{case.name: _loss(case) for case in CASES if case.name not in REPEATABLE},
}
