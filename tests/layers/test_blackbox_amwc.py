"""The layer around the package's own solver: node and edge costs of one problem, graphs as context."""

import numpy as np
import torch
from torch.testing import assert_close

import difflayers
from difflayers import amwc, graph

PARTITIONABLE = np.array([False, True])


def segment(node_costs, edge_costs, edges):
    """AMWC as a solver in the sense of the layer: indicators of the labels, and cuts."""
    solution = amwc.solve_exact(amwc.AMWC(node_costs, edges, edge_costs, PARTITIONABLE))
    return np.eye(2)[solution.labels], solution.cuts


def test_gradients_of_node_and_edge_costs_are_equation_3():
    generator = torch.Generator().manual_seed(0)
    edges = graph.grid_edges((3, 3), distances=[1])
    # Two instances with graphs of the same size that are not the same.
    context = [edges, np.roll(edges, 1, axis=0)]
    node_costs = torch.randn(2, 9, 2, generator=generator, dtype=torch.float64).requires_grad_()
    edge_costs = torch.randn(2, len(edges), generator=generator, dtype=torch.float64).requires_grad_()
    node_incoming = torch.randn(2, 9, 2, generator=generator, dtype=torch.float64)
    edge_incoming = torch.randn(2, len(edges), generator=generator, dtype=torch.float64)
    scales = [1.5, 40.0]

    class Given:
        def draw(self):
            return np.array(scales)

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    layer = difflayers.BlackboxLayer(segment, Given())
    solutions = layer(node_costs, edge_costs, context=context)
    moved = torch.autograd.grad(solutions, (node_costs, edge_costs), (node_incoming, edge_incoming))

    for row, own_edges in enumerate(context):
        nodes, pairs = node_costs[row].detach().numpy(), edge_costs[row].detach().numpy()
        labels, cuts = segment(nodes, pairs, own_edges)
        assert_close(solutions[0][row].detach(), torch.tensor(labels))
        expected = [0.0, 0.0]
        for scale in scales:
            there = segment(
                nodes + scale * node_incoming[row].numpy(),
                pairs + scale * edge_incoming[row].numpy(),
                own_edges,
            )
            expected[0] += (there[0] - labels) / scale / len(scales)
            expected[1] += (there[1].astype(float) - cuts) / scale / len(scales)
        assert np.abs(expected[0]).sum() > 0
        assert np.abs(expected[1]).sum() > 0
        assert_close(moved[0][row], torch.tensor(expected[0]))
        assert_close(moved[1][row], torch.tensor(expected[1]))
