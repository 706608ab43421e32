"""Graphs as edge lists: grids and their affinities, region graphs of label images, their edges and costs."""

from difflayers.graph.affinities import (
    affinities_from_costs,
    affinity_costs,
    affinity_positions,
    edge_maps,
    mutex_costs,
)
from difflayers.graph.agglomeration import agglomerate
from difflayers.graph.costs import boundary_probabilities, edge_costs
from difflayers.graph.edges import grid_edges
from difflayers.graph.features import (
    Features,
    affinity_features,
    boundary_features,
    lifted_affinity_features,
    region_features,
)
from difflayers.graph.lifted_edges import class_lifted_edges, lifted_edges
from difflayers.graph.regions import RegionGraph, label_image, region_graph

__all__ = [
    "Features",
    "RegionGraph",
    "affinities_from_costs",
    "affinity_costs",
    "affinity_features",
    "affinity_positions",
    "agglomerate",
    "boundary_features",
    "boundary_probabilities",
    "class_lifted_edges",
    "edge_costs",
    "edge_maps",
    "grid_edges",
    "label_image",
    "lifted_affinity_features",
    "lifted_edges",
    "mutex_costs",
    "region_features",
    "region_graph",
]
