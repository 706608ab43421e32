"""Solutions seen so far, of which the best can stand in for an answer of the solver.

Mulamba et al., Contrastive Losses and Solution Caching for Predict-and-Optimize, IJCAI 2021, Section 5.
"""

import hashlib
import pickle
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

# One lock for all: what it guards takes microseconds, and a lock in the object could not be pickled.
_CHANGING = threading.Lock()


class SolutionPool:
    """A cache of feasible solutions: option `pool` of every layer and loss.

    Each step of training, a forward call with its backward, either solves and adds what it finds to the pool,
    or takes for each of its problems the cheapest solution of the pool; never both for one instance, so that
    no gradient is the difference of an exact and a cached solution. Solutions are reused only between
    instances of the same shapes and the same context, compared by content: a context that was changed, in
    place too, is another one. That needs contexts that can be pickled.

    Args:
        solve_ratio: probability that a step solves. An instance without any seen solution is always solved.
        size: how many solutions to keep for each context; the oldest go first.
        seed: of the generator that decides.

    Solutions and generator are part of the `state_dict` of the layer.
    """

    def __init__(self, solve_ratio: float = 0.1, size: int = 1000, seed: int = 0) -> None:
        if not 0 <= solve_ratio <= 1:
            raise ValueError(f"solve_ratio must be from 0 to 1, but is {solve_ratio}")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"size must be an integer of at least 1, but is {size!r}")
        self.solve_ratio: float = float(solve_ratio)
        self.size: int = size
        self._generator = np.random.default_rng(seed)
        self._seen: dict[str, dict[bytes, Tensor]] = {}

    def keys(self, costs: Sequence[Tensor], contexts: Sequence[Any] | None) -> list[str]:
        """Return for each instance of (B, *shape) costs what its solutions are filed under."""
        shapes = [tuple(cost.shape[1:]) for cost in costs]
        if contexts is None:
            return [_digest((shapes, None))] * len(costs[0])
        return [_digest((shapes, context)) for context in contexts]

    def cached(self, keys: Sequence[str]) -> np.ndarray:
        """Decide for one step which instances (B,) are answered from the pool."""
        with _CHANGING:
            solves = self._generator.random() < self.solve_ratio
        return np.array([not solves and key in self._seen for key in keys], dtype=bool)

    def best(self, keys: Sequence[str], costs: Tensor) -> Tensor:
        """Return for problems with flat costs (M, D) the cheapest solutions (M, D) under their keys."""
        best = torch.empty_like(costs)
        for key in dict.fromkeys(keys):
            rows = torch.tensor([row for row, own in enumerate(keys) if own == key], device=costs.device)
            solutions = torch.stack(list(self._seen[key].values())).to(costs)
            best[rows] = solutions[_values(costs[rows], solutions).argmin(1)]
        return best

    def add(self, keys: Sequence[str], solutions: Tensor) -> None:
        """File flat solutions (M, D) under their keys."""
        rows = solutions.cpu()
        with _CHANGING:
            for key, row in zip(keys, rows, strict=True):
                seen = self._seen.setdefault(key, {})
                name = row.numpy().tobytes()
                if name not in seen:
                    seen[name] = row.clone()
                    if len(seen) > self.size:
                        del seen[next(iter(seen))]

    def seen(self, key: str) -> Tensor | None:
        """Return the flat solutions (K, D) that are filed under a key, the oldest first; None for none."""
        with _CHANGING:
            return torch.stack(list(self._seen[key].values())) if key in self._seen else None

    def __len__(self) -> int:
        return sum(len(seen) for seen in self._seen.values())

    def state_dict(self) -> dict[str, Any]:
        """Return solutions and generator as tensors, strings and numbers."""
        return {
            "generator": self._generator.bit_generator.state,
            "solutions": {key: torch.stack(list(seen.values())) for key, seen in self._seen.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self._generator.bit_generator.state = state["generator"]
        self._seen = {
            key: {row.numpy().tobytes(): row for row in solutions.cpu()}
            for key, solutions in state["solutions"].items()
        }

    def __repr__(self) -> str:
        return f"SolutionPool({self.solve_ratio:g}, size={self.size})"


def _digest(key: Any) -> str:
    try:
        content = pickle.dumps(key)
    except Exception as error:
        raise TypeError(f"a context must be picklable for a SolutionPool, but: {error}") from error
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _values(costs: Tensor, solutions: Tensor) -> Tensor:
    """Return <cost, solution> for each pair, where an infinite cost counts only if it is paid."""
    infinite = costs.isinf()
    if not infinite.any():
        return costs @ solutions.T
    paid = torch.where(infinite, costs.sign(), 0) @ solutions.T
    finite = torch.where(infinite, 0, costs) @ solutions.T
    return torch.where(paid == 0, finite, paid * torch.inf)
