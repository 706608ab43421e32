"""The ablation of the paper's appendix: losses directly on the class and edge labels of the AMWC solution.

Stage 2 as it would be without Algorithm 1 and the surrogate: plain blackbox differentiation (Eq. 4) through
the solver, whose class and edge labels are compared with the ground truth's, pixel by pixel and edge by edge.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import difflayers
from difflayers import amwc
from difflayers.graph import grid_edges
from examples.cops.config import Config
from examples.cops.data.batches import STRIDE, Batch
from examples.cops.network import CopsNetwork
from examples.cops.run.processes import solver_jobs
from examples.cops.steps import drop_costs, logits_of
from examples.cops.targets import stage_one_targets


class DirectStep(nn.Module):
    """As `SolverStep` of stage 2, with an L1 loss on class and edge labels."""

    def __init__(self, network: CopsNetwork, is_thing: np.ndarray, config: Config) -> None:
        super().__init__()
        self.network, self.is_thing, self.config = network, is_thing, config

    def forward(self, batch: Batch, trunk: Any = None) -> tuple[Tensor, dict[str, float]]:
        self.network.eval()
        costs = self.network.costs(logits_of(self.network, batch.images, self.config, trunk))
        costs = drop_costs(costs, self.config.loss.cost_dropout, batch.seeds)
        shape = costs.node.shape[2], costs.node.shape[3]
        edges = grid_edges(shape, self.config.network.distances)

        def solve(node_costs: np.ndarray, edge_costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            problem = amwc.AMWC(node_costs, edges, edge_costs, self.is_thing)
            solution = amwc.solve(problem, self.config.solver.method)
            indicators = np.eye(len(self.is_thing), dtype=node_costs.dtype)[solution.labels]
            return indicators, solution.cuts.astype(edge_costs.dtype)

        low, high = self.config.solver.scales
        scales = difflayers.UniformScales(low, high, self.config.solver.samples, seed=batch.scale_seed)
        layer = difflayers.BlackboxLayer(solve, scales=scales, n_jobs=solver_jobs())
        flat = torch.cat([side.flatten(1) for pair in costs.edge for side in pair], 1)
        labels, cuts = layer(costs.node.flatten(2).transpose(1, 2), flat)
        return self._loss(batch, labels, cuts)

    def _loss(self, batch: Batch, labels: Tensor, cuts: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Wrong labels per known pixel plus wrong cuts per known edge, times the weight of stage 2's loss."""
        targets = [
            stage_one_targets(label, self.is_thing, self.config.network.distances, STRIDE**2, 0.0)
            for label in batch.labels
        ]
        classes = torch.stack([target.semantic.flatten() for target in targets]).to(labels.device)
        known = classes >= 0
        right = labels.gather(2, classes.clamp(min=0)[..., None])[..., 0]
        wrong_labels = (1 - right)[known].sum() / known.sum().clamp(min=1)
        truth, weights = (
            torch.stack([torch.cat([side.flatten() for pair in part for side in pair]) for part in parts])
            for parts in ([t.edges for t in targets], [t.edge_weights for t in targets])
        )
        counted = (weights > 0).to(cuts.device)
        wrong_cuts = (cuts - truth.to(cuts.device)).abs()[counted].sum() / counted.sum().clamp(min=1)
        figures = {"wrong_labels": wrong_labels.item(), "wrong_cuts": wrong_cuts.item()}
        return self.config.loss.weight * (wrong_labels + wrong_cuts), figures
