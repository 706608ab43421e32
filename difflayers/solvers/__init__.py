"""Ready-made solvers: built once on a fixed structure, then called on batches of costs.

All of them minimize <costs, solution>, which their attribute `sense` says. They take NumPy arrays of shape
(B, *shape) and return solutions of that shape and dtype. So a layer takes any of them as it is:
`difflayers.BlackboxLayer(solver, batched=True)`.
"""

from difflayers.solvers.diverse_matching import DiverseMatching
from difflayers.solvers.grid_path import GridShortestPath
from difflayers.solvers.knapsack import Knapsack
from difflayers.solvers.matching import BipartiteMatching, PerfectMatching
from difflayers.solvers.max_cut import MaxCut
from difflayers.solvers.minimum_cost_multicut import MinimumCostMulticut
from difflayers.solvers.portfolio import Portfolio
from difflayers.solvers.ranking import Ranking, TopK
from difflayers.solvers.scheduling import Scheduling
from difflayers.solvers.set_cover import SetCover
from difflayers.solvers.shortest_path import ShortestPath, monotone_grid_path
from difflayers.solvers.spanning_tree import MinimumSpanningTree
from difflayers.solvers.travelling_salesman import TravellingSalesman
from difflayers.solvers.vehicle_routing import VehicleRouting

__all__ = [
    "BipartiteMatching",
    "DiverseMatching",
    "GridShortestPath",
    "Knapsack",
    "MaxCut",
    "MinimumCostMulticut",
    "MinimumSpanningTree",
    "PerfectMatching",
    "Portfolio",
    "Ranking",
    "Scheduling",
    "SetCover",
    "ShortestPath",
    "TopK",
    "TravellingSalesman",
    "VehicleRouting",
    "monotone_grid_path",
]
