"""Bipartite matching with shares of similar and of different pairs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from difflayers._arguments import as_array
from difflayers.solver import Array
from difflayers.solvers.batch import batch_size, check_threads, checked_contexts
from difflayers.solvers.integer_programs import least, solve_programs


@dataclass(frozen=True, eq=False)
class DiverseMatching:
    """The cheapest pairs of rows and columns, of which given shares are similar and different.

    A row or column is in one pair at most, and only pairs of negative cost help, so hand in −probability as
    cost. Of all pairs taken, at least the share `least_similar` is similar, and at least the share
    `least_different` is not (Ferber et al., AAAI 2020; Mandi et al., JAIR 2024, section 5). Exact: HiGHS
    solves an integer program per instance. HiGHS does not react to Ctrl-C before it ends.

    Args:
        similar: (rows, columns) booleans.
        least_similar: share of similar pairs, from 0 to 1.
        least_different: share of different pairs; both shares add up to 1 at most.
        n_threads: number of threads that share a batch.

    Raises:
        TypeError, ValueError: an argument has the wrong form or is out of range.

    Examples:
        >>> import numpy as np
        >>> solver = DiverseMatching([[True, False], [True, False]], least_different=0.5)
        >>> solver(-np.array([[[0.9, 0.2], [0.8, 0.7]]]))
        array([[[1., 0.],
                [0., 1.]]])
    """

    sense: ClassVar[str] = "minimize"
    similar: Array
    least_similar: float = 0.0
    least_different: float = 0.0
    n_threads: int = 1
    _ends: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_threads(self.n_threads)
        similar = as_array("similar", self.similar)
        if similar.dtype != bool:
            raise TypeError(f"similar must be booleans, got dtype {similar.dtype}")
        if similar.ndim != 2 or similar.size == 0:
            raise ValueError(f"similar must have shape (rows, columns), got {similar.shape}")
        object.__setattr__(self, "similar", similar)
        for name in ("least_similar", "least_different"):
            share = getattr(self, name)
            if not (isinstance(share, int | float) and 0 <= share <= 1):
                raise ValueError(f"{name} must be from 0 to 1, got {share!r}")
        if self.least_similar + self.least_different > 1:
            raise ValueError(
                "least_similar and least_different must add up to 1 at most, "
                f"got {self.least_similar} and {self.least_different}"
            )
        rows, columns = similar.shape
        ends = [np.kron(np.eye(rows), np.ones(columns)), np.kron(np.ones(rows), np.eye(columns))]
        object.__setattr__(self, "_ends", np.concatenate(ends))

    def __call__(self, costs: Any, contexts: Sequence[Any] | None = None) -> Array:
        """Solve a batch.

        Args:
            costs: (B, rows, columns) numbers; infinity forbids a pair.
            contexts: per instance which pairs are similar, in place of `similar`.

        Returns:
            (B, rows, columns) in the costs' dtype: 1 for matched pairs, 0 elsewhere.

        Raises:
            ValueError: the costs have a wrong shape, a NaN or minus infinity.
        """
        similar = checked_contexts(contexts, batch_size(costs), self.similar)
        return solve_programs(
            lambda instance, row: self._solve(row, similar[instance].ravel()),
            costs,
            self.similar.shape,
            failure="no solution",
            n_threads=self.n_threads,
        )

    def _solve(self, costs: Array, similar: Array) -> Array:
        """Solve one instance of costs (rows · columns,)."""
        from scipy.optimize import LinearConstraint
        from scipy.sparse import csr_array

        shares = np.stack([self.least_similar - similar, self.least_different - ~similar])
        ends = LinearConstraint(csr_array(self._ends), -np.inf, 1)
        return least(costs, [ends, LinearConstraint(shares, -np.inf, 1e-9)])
