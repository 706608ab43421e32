"""Tasks of decision-focused learning: predict parameters from features, then decide with a solver.

Every function returns a `Task`. The generators of shortest paths, knapsacks, tours and portfolios draw the
same numbers as PyEPO for the same seed. No task needs torch, and no function downloads anything.
"""

from difflayers.tasks.diverse_matching import diverse_matching
from difflayers.tasks.energy_knapsack import energy_knapsack
from difflayers.tasks.knapsack import knapsack
from difflayers.tasks.maps import maps
from difflayers.tasks.portfolio import portfolio
from difflayers.tasks.scheduling import scheduling
from difflayers.tasks.set_cover import CoverWithPenalty, set_cover
from difflayers.tasks.shortest_path import shortest_path
from difflayers.tasks.task import Task, linear
from difflayers.tasks.top_k import top_k
from difflayers.tasks.travelling_salesman import travelling_salesman
from difflayers.tasks.two_stage_knapsack import TwoStageKnapsack, two_stage_knapsack
from difflayers.tasks.vehicle_routing import vehicle_routing

__all__ = [
    "CoverWithPenalty",
    "Task",
    "TwoStageKnapsack",
    "diverse_matching",
    "energy_knapsack",
    "knapsack",
    "linear",
    "maps",
    "portfolio",
    "scheduling",
    "set_cover",
    "shortest_path",
    "top_k",
    "travelling_salesman",
    "two_stage_knapsack",
    "vehicle_routing",
]
