"""Capacitated vehicle routing: routes of least cost from a depot through all stops."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from difflayers._arguments import as_array, count
from difflayers.solver import Array
from difflayers.solvers.batch import batch_size, check_threads, checked_contexts, solve_batch
from difflayers.solvers.integer_programs import solve_programs
from difflayers.solvers.route_columns import routes_by_columns
from difflayers.solvers.route_tables import routes_by_table

# The table of Held and Karp has 2^n n entries: 160 MiB at 20 stops.
MAX_STOPS = 20
# 3^n / 2 pairs of sets are compared, 22 million at this size.
MAX_TABLE = 16


@dataclass(frozen=True, eq=False)
class VehicleRouting:
    """The round trips of least cost from a depot that visit every stop once, within the vehicles' capacity.

    Exact, up to 20 stops. Dynamic programmes find the best route through every set of stops and, up to 16
    stops, the best partition into routes, in O(3^n) per instance. Beyond that, HiGHS chooses among the routes
    whose reduced costs allow them to be in an optimal solution. HiGHS does not react to Ctrl-C before it
    ends.

    Args:
        demands: (n,) non-negative numbers, the demand of each stop.
        capacity: what one vehicle carries. Sums may exceed the capacity by a relative 1e-9, because numbers
            such as 0.1 are rounded.
        vehicles: the greatest number of routes; by default as many as are needed.
        n_threads: number of threads that share a batch.

    Attributes:
        edges: (m, 2) int32, the m = n (n + 1) / 2 pairs of nodes (0, 1), (0, 2), … to which the costs belong.
            Node 0 is the depot and node i is stop i − 1.

    Raises:
        TypeError, ValueError: an argument has the wrong form, is negative or not finite.

    Examples:
        >>> import numpy as np
        >>> solver = VehicleRouting(demands=[2, 1, 1], capacity=2)
        >>> solver.edges.tolist()
        [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
        >>> solver(np.array([[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]))
        array([[2., 1., 1., 0., 0., 1.]])
    """

    sense: ClassVar[str] = "minimize"
    demands: Array
    capacity: float
    vehicles: int | None = None
    n_threads: int = 1
    edges: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_threads(self.n_threads)
        demands, capacity = as_array("demands", self.demands), as_array("capacity", self.capacity)
        for name, array in (("demands", demands), ("capacity", capacity)):
            if array.dtype.kind not in "iuf":
                raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
            if not np.isfinite(array).all() or (array < 0).any():
                raise ValueError(f"{name} must be finite and non-negative, got {array.tolist()}")
        if demands.ndim != 1 or not 1 <= demands.size <= MAX_STOPS:
            raise ValueError(
                f"demands must have shape (n,) with n from 1 to {MAX_STOPS}, got {demands.shape}"
            )
        if capacity.shape != () or capacity == 0:
            raise ValueError(f"capacity must be a positive number, got {self.capacity!r}")
        if self.vehicles is not None:
            object.__setattr__(self, "vehicles", count("vehicles", self.vehicles))
        object.__setattr__(self, "demands", demands.astype(np.float64))
        object.__setattr__(self, "capacity", float(capacity))
        pairs = np.stack(np.triu_indices(len(demands) + 1, 1), axis=1).astype(np.int32)
        object.__setattr__(self, "edges", pairs)

    def __call__(self, costs: Any, contexts: Sequence[Any] | None = None) -> Array:
        """Solve a batch.

        Args:
            costs: (B, m) numbers, in the order of `edges`; infinity forbids an edge.
            contexts: per instance its demands (n,), in place of the demands that the solver was built with.

        Returns:
            (B, m) in the costs' dtype: how often each edge is used. This is 2 for the edge between the depot
            and a stop that has a route of its own.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or minus infinity, or demands are negative.
            InfeasibleError: an instance has no routes of finite cost within the capacity.
        """
        demands = checked_contexts(contexts, batch_size(costs), self.demands)
        wrong = ~((demands >= 0) & (demands < np.inf)).all(axis=1)
        if wrong.any():
            instance = int(wrong.argmax())
            raise ValueError(
                f"demands must be finite and non-negative, got {demands[instance].tolist()} "
                f"for instance {instance}"
            )
        demands = demands / (self.capacity * (1 + 1e-9))
        num_stops = demands.shape[1]
        vehicles = num_stops if self.vehicles is None else min(self.vehicles, num_stops)
        shape, failure = (len(self.edges),), "no routes of finite cost within the capacity"
        if num_stops <= MAX_TABLE:
            return solve_batch(
                routes_by_table,
                costs,
                shape,
                (vehicles,),
                failure=failure,
                n_threads=self.n_threads,
                per_instance=(demands,),
            )
        return solve_programs(
            lambda instance, row: routes_by_columns(row, demands[instance], vehicles),
            costs,
            shape,
            failure=failure,
            n_threads=self.n_threads,
        )
