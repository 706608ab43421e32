# pyright: strict
"""A program in strict types that uses every part of the interface once, for `make types`; nothing is run."""

from typing import Any

import numpy as np
import torch

import difflayers
from difflayers import amwc, functional, graph, losses, multicut, mutex, mwc, panoptic, solvers
from difflayers.lifted_multicut import LiftedMulticut
from difflayers.lifted_multicut import solve as solve_lifted


def cheapest(costs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.eye(len(costs))[costs.argmin()]


def layers_and_losses(costs: torch.Tensor, target: torch.Tensor) -> list[torch.Tensor]:
    def loss(y: torch.Tensor) -> torch.Tensor:
        return (y - target).square().mean()

    layer = difflayers.BlackboxLayer(cheapest, scales=5.0, n_jobs=2, on_failure="skip")
    found = difflayers.diagnose(layer, costs, loss=loss)
    if found.suggested is not None:
        layer.scales = difflayers.UniformScales(*found.suggested, samples=5, seed=0)
    grid = solvers.GridShortestPath((12, 12), clip_negative=True)
    fenchel_young = losses.FenchelYoungLoss(grid, sigma=0.3, samples=5, batched=True)
    spo_plus = losses.SPOPlusLoss(cheapest, reduction="sum")
    return [
        layer(costs),
        functional.blackbox(cheapest, costs, scales=1.0),
        difflayers.IdentityLayer(cheapest)(costs),
        difflayers.PerturbedLayer(cheapest, samples=3)(costs),
        fenchel_young(torch.ones(2, 12, 12), true_solutions=torch.ones(2, 12, 12)),
        spo_plus(costs, true_costs=target),
    ]


def cuts() -> tuple[float, float, np.ndarray[Any, Any]]:
    edges = graph.grid_edges((4, 5), distances=[1, 4])
    nothing, none = np.zeros(len(edges)), np.zeros((20, 2))
    problem = amwc.AMWC(none, edges, nothing, partitionable=np.array([False, True]))
    solution = amwc.solve(problem, method="fast")
    costs = [
        amwc.solve_exact(problem, time_limit=1.0).cost,
        mwc.solve(mwc.MWC(none, edges, nothing)).cost,
        multicut.solve(multicut.Multicut(20, edges, nothing)).cost,
        mutex.mutex_watershed(multicut.Multicut(20, edges, nothing)).cost,
        solve_lifted(LiftedMulticut(20, edges, nothing, edges, nothing)).cost,
    ]
    return min(costs), amwc.lower_bound(problem), solution.segments


def panoptic_quality(node_costs: torch.Tensor, edge_costs: tuple[torch.Tensor, torch.Tensor]) -> float:
    is_thing = np.array([False, True])
    truth = panoptic.PanopticLabels(np.zeros((2, 2), np.int32), classes=np.array([0]))
    output = panoptic.PanopticLayer(is_thing, distances=[1], scales=50.0)(node_costs, [edge_costs], [truth])
    loss: torch.Tensor = panoptic.SoftPanopticQualityLoss(is_thing)(output.masks, [truth])
    quality = panoptic.PanopticQuality(2, is_thing)
    quality.update(output.labels[0], truth)
    return quality.compute().pq - loss.item()
