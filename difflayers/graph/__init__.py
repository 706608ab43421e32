"""Graphs as edge lists: grids and their affinities, region graphs of label images, their edges and costs."""

from difflayers.graph.affinities import (
    affinities_from_costs,
    affinity_costs,
    affinity_positions,
    edge_maps,
    mutex_costs,
)
from difflayers.graph.costs import boundary_probabilities, edge_costs
from difflayers.graph.edges import grid_edges

__all__ = [
    "affinities_from_costs",
    "affinity_costs",
    "affinity_positions",
    "boundary_probabilities",
    "edge_costs",
    "edge_maps",
    "grid_edges",
    "mutex_costs",
]
