"""Energy-cost aware scheduling: tasks on machines, at times of low prices."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from difflayers._arguments import as_array, counts, indices
from difflayers.solver import Array
from difflayers.solvers.batch import check_threads
from difflayers.solvers.integer_programs import least, solve_programs


@dataclass(frozen=True, eq=False)
class Scheduling:
    """The power that is drawn in every time slot if tasks start on machines so that their energy costs least.

    Costs are the prices of the slots. The solution is the power drawn in each slot, the sum over all running
    tasks, so that <prices, solution> is what the energy costs. A task runs without a break on one machine.
    The resources that the tasks on a machine use together never exceed the machine's capacities. This is
    problem 059 of CSPLib (Simonis, O'Sullivan, Mehta, Hurley and De Cauwer) without idle costs, as in Mandi
    et al. (JAIR 2024). Exact: HiGHS solves an integer program per instance. HiGHS does not react to Ctrl-C
    before it ends.

    Args:
        num_slots: number T of time slots.
        durations: (J,) slots for which each task runs.
        powers: (J,) power that each task draws.
        earliest: (J,) first slot in which each task may run.
        latest: (J,) slot by the start of which each task has ended, T for the end of the day.
        usage: (J, R) how much of each resource a task uses.
        capacities: (M, R) how much of each resource a machine has.
        n_threads: number of threads that share a batch.

    Raises:
        TypeError, ValueError: an argument has the wrong form or is out of range.

    Examples:
        >>> import numpy as np
        >>> solver = Scheduling(4, [1, 2], [5, 3], [0, 0], [4, 4], usage=[[1], [1]], capacities=[[1]])
        >>> solver(np.array([[1.0, 1.0, 2.0, 3.0]]))
        array([[5., 3., 3., 0.]])
    """

    sense: ClassVar[str] = "minimize"
    num_slots: int
    durations: Array
    powers: Array
    earliest: Array
    latest: Array
    usage: Array
    capacities: Array
    n_threads: int = 1
    _program: tuple[Any, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        (num_slots,) = counts("num_slots", [self.num_slots], "a positive integer", length=1)
        check_threads(self.n_threads)
        durations = as_array("durations", self.durations)
        if durations.ndim != 1 or durations.size == 0:
            raise ValueError(f"durations must have shape (tasks,), got {durations.shape}")
        shape = durations.shape
        for name in ("durations", "earliest", "latest"):
            object.__setattr__(self, name, indices(name, getattr(self, name), shape))
        for name in ("powers", "usage", "capacities"):
            array = as_array(name, getattr(self, name))
            if array.dtype.kind not in "iuf":
                raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
            if not np.isfinite(array).all() or (array < 0).any():
                raise ValueError(f"{name} must be finite and non-negative, got {array.tolist()}")
            object.__setattr__(self, name, array)
        if self.powers.shape != shape or self.usage.shape[:1] != shape or self.usage.ndim != 2:
            raise ValueError(
                f"powers and usage must have shape ({shape[0]},) and ({shape[0]}, resources), "
                f"got {self.powers.shape} and {self.usage.shape}"
            )
        if self.capacities.ndim != 2 or self.capacities.shape[1] != self.usage.shape[1]:
            raise ValueError(
                f"capacities must have shape (machines, {self.usage.shape[1]}), got {self.capacities.shape}"
            )
        late = self.earliest + self.durations > self.latest
        if (self.durations < 1).any() or (self.earliest < 0).any() or late.any():
            raise ValueError("every task must run for a slot at least, between its earliest and latest slot")
        if (self.latest > num_slots).any():
            raise ValueError(f"latest must be {num_slots} at most, got {self.latest.tolist()}")
        object.__setattr__(self, "num_slots", num_slots)
        object.__setattr__(self, "_program", self._constraints())

    def _constraints(self) -> tuple[Any, ...]:
        """Power per slot of each choice (T, v), and the constraints: a choice is task, machine and start."""
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array

        num_machines, num_resources = self.capacities.shape
        choices = [
            (task, machine, start)
            for task in range(len(self.durations))
            for machine in range(num_machines)
            if (self.usage[task] <= self.capacities[machine]).all()
            for start in range(self.earliest[task], self.latest[task] - self.durations[task] + 1)
        ]
        power = np.zeros((self.num_slots, len(choices)))
        once = np.zeros((len(self.durations), len(choices)))
        used = np.zeros((num_machines, num_resources, self.num_slots, len(choices)))
        for choice, (task, machine, start) in enumerate(choices):
            running = slice(start, start + self.durations[task])
            power[running, choice] = self.powers[task]
            once[task, choice] = 1
            used[machine, :, running, choice] = self.usage[task][:, None]
        limits = np.repeat(self.capacities.ravel(), self.num_slots)
        return (
            power,
            LinearConstraint(csr_array(once), 1, 1),
            LinearConstraint(csr_array(used.reshape(len(limits), -1)), -np.inf, limits),
        )

    def __call__(self, costs: Any) -> Array:
        """Solve a batch.

        Args:
            costs: (B, T) prices; an infinite price forbids a slot.

        Returns:
            (B, T) power per slot, in the dtype of the costs.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or minus infinity.
            InfeasibleError: the tasks of an instance do not fit into the slots and machines.
        """
        return solve_programs(
            lambda instance, row: self._solve(row),
            costs,
            (self.num_slots,),
            failure="the tasks do not fit into the slots and machines",
            n_threads=self.n_threads,
        )

    def _solve(self, prices: Array) -> Array:
        power, *constraints = self._program
        forbidden = prices == np.inf
        costs = np.where(forbidden, 0, prices) @ power
        costs[power[forbidden].any(axis=0)] = np.inf
        return power @ least(costs, constraints)
