"""Graphs as edge lists: neighbourhoods of grids, and the kernels that the solvers share."""

from difflayers.graph.edges import grid_edges

__all__ = ["grid_edges"]
