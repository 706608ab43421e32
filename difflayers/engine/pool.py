"""Solutions seen so far, of which the best can stand in for an answer of the solver.

Mulamba et al., Contrastive Losses and Solution Caching for Predict-and-Optimize, IJCAI 2021, Section 5.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from difflayers._arguments import count
from difflayers.engine.fingerprint import fingerprints
from difflayers.engine.state import State, check_names, generator_to_tensor, tensor_to_generator
from difflayers.solver import Array

# One lock for all: what it guards takes microseconds, and a lock in the object could not be pickled.
_CHANGING = threading.Lock()


class Shelf:
    """The distinct solutions of one context, the oldest first.

    Attributes:
        rows: the flat solutions, each as the bytes of a float64 array (D,) without −0.0, so that solutions
            that compare as equal are one, whatever their dtype.
    """

    def __init__(self) -> None:
        self.rows: dict[bytes, None] = {}

    def add(self, row: bytes, size: int) -> None:
        """Add a solution; beyond `size` the oldest go."""
        self.rows[row] = None
        while len(self.rows) > size:
            del self.rows[next(iter(self.rows))]

    def matrix(self) -> Array:
        """Return the solutions as a float64 array (K, D)."""
        return np.frombuffer(bytearray().join(self.rows)).reshape(len(self.rows), -1)


class SolutionPool:
    """A cache of feasible solutions: option `pool` of every layer and loss.

    Each step of training, a forward call with its backward, either solves and adds what it finds to the pool,
    or takes the cheapest solution of the pool for each of its problems. A step never does both for one
    instance, so that no gradient is the difference of an exact and a cached solution.

    Solutions are reused only between instances of the same shapes and the same context. Contexts are compared
    by content, see `difflayers.engine.fingerprint.fingerprints`: equal tensors, arrays, numbers and nested
    containers of them are the same context, and a tensor is the same as the equal array. A context that was
    changed, in place too, is another one. Every context must be picklable. Solutions that are equal are one
    solution, whatever their dtype, and −0.0 equals 0.0.

    Args:
        solve_ratio: probability that a step solves. An instance without any seen solution is always solved.
        size: how many solutions to keep per context; the oldest go first.
        seed: of the generator that decides.
        contexts: how many contexts to keep; the one that was not used for the longest time goes first. A
            number at least that of the instances of the data set keeps the solutions of all.

    Solutions and generator are part of the `state_dict` of the layer.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> import difflayers
        >>> pool = SolutionPool(solve_ratio=0)
        >>> layer = difflayers.BlackboxLayer(lambda c: np.eye(len(c))[c.argmin()], pool=pool)
        >>> layer(torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))  # the pool is empty: solved
        tensor([[1., 0., 0.],
                [0., 0., 1.]])
        >>> layer(torch.tensor([[5.0, 0.0, 4.0]]))  # the cheapest of the two seen solutions
        tensor([[0., 0., 1.]])
        >>> len(pool)
        2
    """

    def __init__(
        self, solve_ratio: float = 0.1, size: int = 1000, seed: int = 0, contexts: int = 10_000
    ) -> None:
        if not 0 <= solve_ratio <= 1:
            raise ValueError(f"solve_ratio must be from 0 to 1, got {solve_ratio}")
        self.solve_ratio: float = float(solve_ratio)
        self.size: int = count("size", size)
        self.contexts: int = count("contexts", contexts)
        self._generator = np.random.default_rng(seed)
        self._shelves: dict[bytes, Shelf] = {}

    def keys(self, costs: Sequence[Any], contexts: Sequence[Any] | None) -> list[Shelf]:
        """Return where the solutions of each instance of (B, *shape) costs are filed.

        A call keeps its shelves until its backward, also if the pool has dropped them by then.
        """
        (shapes,) = fingerprints([repr([tuple(cost.shape[1:]) for cost in costs])])
        own = [bytes(16)] * len(costs[0]) if contexts is None else fingerprints(contexts)
        names = [shapes + context for context in own]
        with _CHANGING:
            found = {name: self._shelves.get(name, Shelf()) for name in dict.fromkeys(names)}
            for name, shelf in found.items():  # to the end, as the last that were used
                self._shelves.pop(name, None)
                self._shelves[name] = shelf
            while len(self._shelves) > self.contexts:
                del self._shelves[next(iter(self._shelves))]
        return [found[name] for name in names]

    def cached(self, keys: Sequence[Shelf]) -> Array:
        """Decide for one step which instances (B,) are answered from the pool."""
        with _CHANGING:
            solves = self._generator.random() < self.solve_ratio
        return np.array([not solves and bool(key.rows) for key in keys], dtype=bool)

    def best(self, keys: Sequence[Shelf], costs: Tensor) -> Tensor:
        """Return for problems with flat costs (M, D) the cheapest solutions (M, D) under their keys."""
        best = torch.empty_like(costs)
        rows: dict[Shelf, list[int]] = {}
        for row, key in enumerate(keys):
            rows.setdefault(key, []).append(row)
        for key, own in rows.items():
            seen = self.seen(key)
            assert seen is not None
            solutions, place = seen.to(costs), torch.tensor(own, device=costs.device)
            best[place] = solutions[_values(costs[place], solutions).argmin(1)]
        return best

    def add(self, keys: Sequence[Shelf], solutions: Tensor) -> None:
        """File flat solutions (M, D) under their keys."""
        values = solutions.detach().to("cpu", torch.float64) + 0.0  # makes −0.0 to 0.0
        with _CHANGING:
            for key, row in zip(keys, _rows(values.numpy().tobytes(), *values.shape), strict=True):
                key.add(row, self.size)

    def seen(self, key: Shelf) -> Tensor | None:
        """Return the flat solutions (K, D) under a key in float64, the oldest first; None for none."""
        with _CHANGING:
            return torch.from_numpy(key.matrix()) if key.rows else None

    def __len__(self) -> int:
        return sum(len(shelf.rows) for shelf in self._shelves.values())

    def state_dict(self) -> State:
        """Return generator and solutions.

        Solutions are stored as bytes, so that nothing averages them as it does weights.
        """
        with _CHANGING:
            shelves = {name: shelf.matrix() for name, shelf in self._shelves.items() if shelf.rows}
        content = b"".join(matrix.tobytes() for matrix in shelves.values())
        return {
            "generator": generator_to_tensor(self._generator),
            "contexts": _from_bytes(b"".join(shelves)).reshape(len(shelves), 32),
            "shapes": torch.tensor(
                [matrix.shape for matrix in shelves.values()], dtype=torch.int64, device="cpu"
            ).reshape(len(shelves), 2),
            "solutions": _from_bytes(content),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            ValueError: the state is not that of a pool.
        """
        check_names(state, ("generator", "contexts", "shapes", "solutions"), "a SolutionPool")
        tensor_to_generator(state["generator"], self._generator, "a SolutionPool")
        content, place, shelves = memoryview(state["solutions"].numpy(force=True).tobytes()), 0, {}
        for name, (number, width) in zip(
            state["contexts"].numpy(force=True), state["shapes"].tolist(), strict=True
        ):
            shelf = shelves[name.tobytes()] = Shelf()
            for row in _rows(content[place:], number, width):
                shelf.add(row, self.size)
            place += 8 * number * width
        with _CHANGING:
            self._shelves = shelves

    def __repr__(self) -> str:
        return f"SolutionPool({self.solve_ratio:g}, size={self.size})"


def _rows(content: bytes | memoryview, rows: int, width: int) -> list[bytes]:
    """Return the first rows of a float64 matrix of so many columns, from the bytes of all."""
    return [bytes(content[8 * width * row : 8 * width * (row + 1)]) for row in range(rows)]


def _from_bytes(content: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(bytearray(content), dtype=np.uint8))


def _values(costs: Tensor, solutions: Tensor) -> Tensor:
    """Return ⟨cost, solution⟩ for each pair; an infinite cost counts only if it is paid."""
    infinite = costs.isinf()
    if not infinite.any():
        return costs @ solutions.T
    paid = torch.where(infinite, costs.sign(), 0) @ solutions.T
    finite = torch.where(infinite, 0, costs) @ solutions.T
    return torch.where(paid == 0, finite, paid * torch.inf)
