"""What a task is: features, true parameters, a solver, and what its decisions cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from difflayers._arguments import count
from difflayers.solver import Array


def linear(decisions: Array, parameters: Array) -> Array:
    """Return <parameters, decisions> per instance (B,): the objective if the parameters are costs.

    Examples:
        >>> linear(np.array([[1.0, 0.0]]), np.array([[3.0, 2.0]]))
        array([3.])
    """
    return np.einsum("bi,bi->b", _flat(decisions), _flat(parameters))


@dataclass(frozen=True, eq=False)
class Task:
    """Instances of one problem: what is known, what must be predicted, and what follows from a prediction.

    Args:
        features: (N, …) what is known of every instance.
        parameters: (N, …) the true parameters, which are to be predicted from the features. They are costs,
            which are minimized, except where a task says otherwise.
        solver: a callable from parameters (B, …) to decisions (B, …), with the contexts as second argument if
            there are any. A layer takes it with `batched=True`.
        objective: a callable from decisions and true parameters to what the decisions cost (B,).
        contexts: one object per instance, which the solver gets beside the parameters.
        seed: what the instances were drawn with.

    Raises:
        ValueError: the numbers of features, parameters and contexts differ.

    Examples:
        >>> from difflayers import solvers
        >>> costs = np.array([[1.0, 2.0], [4.0, 3.0]])
        >>> task = Task(features=costs + 1, parameters=costs, solver=solvers.TopK(1))
        >>> task.regret(np.array([[1.0, 2.0], [1.0, 2.0]]))
        array([0., 1.])
        >>> train, test = task.split(1, 1)
        >>> test.optima
        array([3.])
    """

    features: Array
    parameters: Array
    solver: Callable[..., Array]
    objective: Callable[[Array, Array], Array] = linear
    contexts: Sequence[Any] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        lengths = [len(self.features), len(self.parameters)]
        if self.contexts is not None:
            lengths.append(len(self.contexts))
        if len(set(lengths)) > 1:
            raise ValueError(f"features, parameters and contexts must have one length, got {lengths}")

    def __len__(self) -> int:
        return len(self.features)

    def decide(self, parameters: Array) -> Array:
        """Return the decisions for parameters (N, …), predicted or true, one row per instance of the task."""
        if self.contexts is None:
            return self.solver(parameters)
        return self.solver(parameters, self.contexts)

    @cached_property
    def decisions(self) -> Array:
        """The decisions for the true parameters, which are solved for once."""
        return self.decide(self.parameters)

    @cached_property
    def optima(self) -> Array:
        """What the decisions for the true parameters cost (N,)."""
        return self.objective(self.decisions, self.parameters)

    def regret(self, parameters: Array) -> Array:
        """Return (N,) what decisions for predicted parameters (N, …) cost beyond the best ones."""
        return self.objective(self.decide(parameters), self.parameters) - self.optima

    def normalized_regret(self, parameters: Array) -> float:
        """Return the sum of the regrets over the sum of the absolute optima.

        Raises:
            ValueError: all optima are zero.
        """
        total = float(np.abs(self.optima).sum())
        if total == 0:
            raise ValueError("all optima are zero: regret cannot be normalized by them")
        return float(self.regret(parameters).sum()) / total

    def split(self, *sizes: int) -> list["Task"]:
        """Return consecutive parts of the task with so many instances, such as train, validation and test.

        Raises:
            ValueError: a size is not a positive integer, or the sizes exceed the number of instances.
        """
        ends = np.cumsum([0, *(count("sizes", size) for size in sizes)]).tolist()
        if ends[-1] > len(self):
            raise ValueError(f"sizes must add up to {len(self)} at most, got {ends[-1]}")
        return [self._part(slice(begin, end)) for begin, end in pairwise(ends)]

    def _part(self, rows: slice) -> "Task":
        contexts = None if self.contexts is None else self.contexts[rows]
        part = replace(
            self, features=self.features[rows], parameters=self.parameters[rows], contexts=contexts
        )
        if "decisions" in self.__dict__:  # not solved for again
            part.__dict__["decisions"] = self.decisions[rows]
        return part


def _flat(values: Array) -> Array:
    return np.asarray(values).reshape(len(values), -1)
