"""Set multi-cover with unknown demands, and a penalty for what is not covered (Silvestri et al. 2023)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from difflayers._arguments import count, positive
from difflayers.solver import Array
from difflayers.solvers import SetCover
from difflayers.tasks.polynomial import checked, scores
from difflayers.tasks.task import Task


@dataclass(frozen=True, eq=False)
class CoverWithPenalty:
    """Decides for predicted demands, and says what that costs under the true ones.

    Args:
        sets: the solver; its demands are not used.
        costs: (s,) cost of taking a set once.
        penalties: (e,) cost per unit of demand that is not covered.

    Examples:
        >>> cover = CoverWithPenalty(SetCover([[1, 1]], at_most=9), np.array([2.0, 3.0]), np.array([10.0]))
        >>> taken = cover(np.array([[1.4]]))
        >>> taken, cover.objective(taken, np.array([[3.0]]))
        (array([[2., 0.]]), array([14.]))
    """

    sets: SetCover
    costs: Array
    penalties: Array

    def __call__(self, demands: Any) -> Array:
        """Return how often each set is taken (B, s) for demands (B, e), which are rounded up."""
        whole = np.ceil(np.maximum(np.asarray(demands, np.float64), 0)).astype(np.int64)
        return self.sets(np.tile(self.costs, (len(whole), 1)), list(whole))

    def objective(self, taken: Array, demands: Array) -> Array:
        """Return the cost (B,) of the sets taken (B, s), plus penalties under true demands (B, e)."""
        short = np.maximum(np.asarray(demands) - taken @ self.sets.members.T, 0)
        return taken @ self.costs + short @ self.penalties


def set_cover(
    num_instances: int = 500,
    num_features: int = 5,
    num_elements: int = 10,
    num_sets: int = 50,
    degree: int = 2,
    penalty: float = 2.0,
    seed: int = 0,
) -> Task:
    """The sets of least cost that cover elements as often as demanded, where the demands are predicted.

    The parameters are **demands**, which stand in the constraints. What a decision costs is known afterwards:
    the sets that were taken, and a penalty for every unit that is not covered. Demands are Poisson numbers
    whose rates are a polynomial of the features, about 1 to 10.

    Args:
        num_instances: number N of instances.
        num_features: number p of features.
        num_elements: number e of elements.
        num_sets: number s of sets.
        degree: of the polynomial that makes rates of features.
        penalty: per unit that is not covered, in units of the dearest set that has the element.
        seed: of the random numbers.

    Returns:
        A task with features (N, p) and demands (N, e). Its solver is a `CoverWithPenalty`.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> task = set_cover(num_instances=3, num_elements=4, num_sets=8)
        >>> task.regret(task.parameters)
        array([0., 0., 0.])
        >>> bool((task.regret(0 * task.parameters) > 0).all())
        True
    """
    checked(num_instances, num_features, degree, 0)
    shape = (count("num_elements", num_elements), count("num_sets", num_sets))
    rng = np.random.default_rng(seed)
    members = rng.random(shape) < 0.2
    for element in range(num_elements):  # at least two sets, or all that there are
        members[element, rng.permutation(num_sets)[:2]] = True
    costs = rng.integers(1, 101, num_sets).astype(np.float64)
    dearest = np.where(members, costs, 0).max(axis=1)
    features = rng.normal(size=(num_instances, num_features))
    weights = rng.integers(0, 2, (num_elements, num_features))
    demands = rng.poisson(5 * (scores(features, weights) / 3.5) ** degree).astype(np.float64)
    solver = CoverWithPenalty(SetCover(members, at_most=10**6), costs, positive("penalty", penalty) * dearest)
    return Task(features, demands, solver, solver.objective, seed=seed)
